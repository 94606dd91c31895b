"""Every operation's arguments and results survive each way that they travel."""

from __future__ import annotations

import asyncio
import json
from functools import cache
from typing import Any

import jsonschema_rs
import msgspec
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from starlette.types import Message

from covey.client.request import Request, build_request
from covey.errors import InvalidRequestError
from covey.operations.codec import encode_hook, from_json, from_msgpack, to_json, to_msgpack
from covey.operations.commands import command_of
from covey.operations.registry import Operation
from covey.operations.signature import Location
from covey.operations.wire import wire_of
from covey.surfaces.http.decode import decode_text, read_arguments
from covey.surfaces.http.messages import JsonMessages, MsgpackMessages
from tests.operations.every_operation import NAMES, OPERATIONS
from tests.operations.type_strategies import schema_of, values_of

known = cache(values_of)
few = settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
every = pytest.mark.parametrize("operation", OPERATIONS, ids=NAMES)


@every
@given(data=st.data())
@few
def test_arguments_survive_json_and_fit_their_schema(operation: Operation, data: st.DataObject):
    kind = operation.signature.arguments
    arguments = data.draw(known(kind))
    encoded = to_json(arguments)
    assert from_json(encoded, kind) == arguments
    jsonschema_rs.validate(schema_of(kind), json.loads(encoded))


@every
@given(data=st.data())
@few
def test_arguments_and_results_survive_msgpack(operation: Operation, data: st.DataObject):
    for kind in (operation.signature.arguments, operation.signature.result):
        value = data.draw(known(kind))
        assert from_msgpack(to_msgpack(value), kind) == value


duplex = [item for item in OPERATIONS if item.duplex]


@pytest.mark.parametrize("operation", duplex, ids=[item.name for item in duplex])
@given(data=st.data())
@few
def test_input_items_survive_both_forms_and_are_never_the_end(
    operation: Operation, data: st.DataObject
):
    assert operation.signature.input is not None
    kind = operation.signature.input.item
    item = data.draw(known(kind))
    assert from_json(to_json(item), kind) == item
    assert from_msgpack(to_msgpack(item), kind) == item
    jsonschema_rs.validate(schema_of(kind), json.loads(to_json(item)))
    text: Message = {"type": "websocket.receive", "text": to_json(item).decode()}
    assert JsonMessages(None).item(kind, text) == item
    binary: Message = {"type": "websocket.receive", "bytes": to_msgpack(item)}
    assert MsgpackMessages().item(kind, binary) == item


@every
@given(data=st.data())
@few
def test_results_survive_json_and_fit_their_schema(operation: Operation, data: st.DataObject):
    kind = operation.signature.result
    result = data.draw(known(kind))
    encoded = to_json(result)
    assert from_json(encoded, kind) == result
    jsonschema_rs.validate(schema_of(kind), json.loads(encoded))


@every
@given(data=st.data())
@few
def test_arguments_survive_the_way_from_the_command_line_over_http(
    operation: Operation, data: st.DataObject
):
    arguments = data.draw(known(operation.signature.arguments))
    values = msgspec.to_builtins(arguments, enc_hook=encode_hook)
    for item in operation.signature.parameters:
        given_value = values[item.name]
        if item.location is not Location.BODY:
            # An address holds neither NUL nor the difference between none and no items.
            assume("\0" not in str(given_value) and given_value not in ("", []))
        assume(given_value is not None or item.default is None)
    request = build_request(command_of(operation), values)
    assert asyncio.run(receive(operation, request)) == arguments


async def receive(operation: Operation, request: Request) -> msgspec.Struct:
    """Read a request as the server does."""
    path, _, query = request.target.partition("?")
    names = operation.route.path.split("/")
    found = path.split("/")
    params = {
        name[1:-1]: decode_text(part.encode())
        for name, part in zip(names, found, strict=True)
        if name.startswith("{")
    }
    scope: dict[str, Any] = {
        "type": "http",
        "query_string": query.encode(),
        "headers": [
            (name.lower().encode(), value.encode()) for name, value in request.headers.items()
        ],
    }

    async def body() -> Message:
        return {"type": "http.request", "body": request.body or b"", "more_body": False}

    return await read_arguments(operation, wire_of(operation), params, scope, body, 2**30)


@every
def test_what_is_not_asked_for_is_refused(operation: Operation):
    with pytest.raises(InvalidRequestError):
        from_json(b'{"no_such_parameter": 1}', operation.signature.arguments)


@every
def test_every_parameter_is_explained_and_every_operation_summed_up(operation: Operation):
    command = command_of(operation)
    assert command.summary.endswith(".")
    unexplained = [item.name for item in command.params if not item.help]
    assert not unexplained


@every
def test_no_pattern_lets_a_line_feed_in_at_the_end(operation: Operation):
    for item in operation.signature.parameters:
        schema = schema_of(item.annotation)
        for pattern in patterns(schema):
            assert not pattern.endswith("$") or pattern.endswith(("\\$", r"(?!\n)$"))


def patterns(schema: Any) -> list[str]:
    match schema:
        case dict():
            own = [schema["pattern"]] if isinstance(schema.get("pattern"), str) else []
            return own + [found for item in schema.values() for found in patterns(item)]
        case list():
            return [found for item in schema for found in patterns(item)]
        case _:
            return []
