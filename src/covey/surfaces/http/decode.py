"""From an HTTP request to an operation's arguments, strictly and within limits."""

from __future__ import annotations

import asyncio
import json
import math
import re
from collections.abc import Callable
from typing import Any, NoReturn
from urllib.parse import unquote_to_bytes

import msgspec
from starlette.datastructures import Headers
from starlette.types import Receive, Scope

from covey.errors import (
    CoveyError,
    DeadlineExceededError,
    InvalidRequestError,
    TooLargeError,
)
from covey.operations.codec import convert, from_json
from covey.operations.registry import Operation
from covey.operations.wire import IF_VERSION, Wire

_BODY_TIMEOUT = 30.0
_DISCARD_TIMEOUT = 5.0
_DISCARD_BYTES = 64 * 1024 * 1024
_ENTITY_TAG = re.compile(r'"([!#-~]+)"\Z|([!#-+\--~]+)\Z')
_JSON = "application/json"


class UnsupportedMediaTypeError(InvalidRequestError):
    """The body is in a format that is not read here."""

    code = "unsupported_media_type"
    http_status = 415


class SlowRequestError(DeadlineExceededError):
    """The body did not arrive in time."""

    code = "request_timeout"
    http_status = 408


class ClientGoneError(CoveyError):
    """The client closed the connection before its request was complete; nobody reads this."""

    code = "client_gone"
    http_status = 400


async def read_arguments(
    operation: Operation,
    wire: Wire,
    path: dict[str, str],
    scope: Scope,
    receive: Receive,
    max_body: int,
) -> msgspec.Struct:
    """Read and check the whole request; raises `CoveyError` for what it does wrong."""
    headers = Headers(scope=scope)
    body = await read_body(headers, receive, max_body)
    values = read_lax(path, wire.path) | read_query(scope["query_string"], wire)
    values |= read_json_body(body, headers, wire)
    expected = read_if_match(headers)
    if expected is not None:
        if not wire.conditional:
            raise InvalidRequestError(
                f"{operation.name} has no versions to compare, so If-Match cannot be honoured.",
                hint="Send the request without the header If-Match.",
            )
        values[IF_VERSION] = expected
    return operation.signature.arguments(**values)


def read_message(
    operation: Operation, wire: Wire, path: dict[str, str], data: str
) -> msgspec.Struct:
    """Read a WebSocket's first message: every parameter that is not in the path, as JSON."""
    values = read_lax(path, wire.path) | fields_of(from_json(check_json(data), wire.message))
    return operation.signature.arguments(**values)


def read_lax(values: dict[str, Any], kind: type[msgspec.Struct]) -> dict[str, Any]:
    """Read values that came as text; infinite numbers and NaN are refused, as in JSON."""
    found = fields_of(convert(values, kind, lax=True))
    for name, value in found.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise InvalidRequestError(f"The request is not valid: {name} must be finite.")
    return found


def fields_of(struct: msgspec.Struct) -> dict[str, Any]:
    """Return a struct's own fields, not converted."""
    return {name: getattr(struct, name) for name in struct.__struct_fields__}


async def read_body(headers: Headers, receive: Receive, max_body: int) -> bytes:
    """Read the body; the limit holds for what arrives, whatever Content-Length says.

    Raises `TooLargeError`, `SlowRequestError` or `ClientGoneError`.
    """
    declared = headers.get("content-length", "")
    if declared.isdecimal() and int(declared[:18]) > max_body:
        if "expect" not in headers:
            await _discard(receive)
        _too_large(max_body)
    parts: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(_BODY_TIMEOUT):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise ClientGoneError("The client closed the connection.")
                part = message.get("body", b"")
                size += len(part)
                if size > max_body:
                    if message.get("more_body", False):
                        await _discard(receive)
                    _too_large(max_body)
                parts.append(part)
                if not message.get("more_body", False):
                    return b"".join(parts)
    except TimeoutError as error:
        raise SlowRequestError(
            f"The request's body did not arrive within {_BODY_TIMEOUT:.0f} s."
        ) from error


async def _discard(receive: Receive) -> None:
    """Read on for a while: a client that is cut while it sends may never see the answer."""
    size = 0
    try:
        async with asyncio.timeout(_DISCARD_TIMEOUT):
            while size < _DISCARD_BYTES:
                message = await receive()
                if not message.get("more_body", False):
                    return
                size += len(message.get("body", b""))
    except TimeoutError:
        return


def _too_large(max_body: int) -> NoReturn:
    raise TooLargeError(
        f"The request's body is over the limit of {max_body} bytes.",
        hint="Send less at once, or raise api.max_body_bytes in covey.toml.",
        details={"limit": max_body},
    )


def read_query(raw: bytes, wire: Wire) -> dict[str, Any]:
    """Read the query string; raises `InvalidRequestError` for what is unknown or given twice."""
    found: dict[str, Any] = {}
    for pair in filter(None, raw.split(b"&")):
        name, _, value = pair.partition(b"=")
        key, text = decode_text(name, plus=True), decode_text(value, plus=True)
        if key in wire.lists:
            found.setdefault(key, []).append(text)
        elif key in found:
            raise InvalidRequestError(f"The query gives {key} more than once.")
        else:
            found[key] = text
    return read_lax(found, wire.query)


def decode_text(raw: bytes, *, plus: bool = False) -> str:
    """Undo percent-encoding; raises `InvalidRequestError` for what is not UTF-8 or holds NUL."""
    try:
        text = unquote_to_bytes(raw.replace(b"+", b" ") if plus else raw).decode()
    except UnicodeDecodeError as error:
        raise InvalidRequestError("The request's address is not valid UTF-8.") from error
    if "\0" in text:
        raise InvalidRequestError("The request's address holds a NUL character.")
    return text


def read_json_body(body: bytes, headers: Headers, wire: Wire) -> dict[str, Any]:
    """Read the body's fields; raises `InvalidRequestError` or `UnsupportedMediaTypeError`."""
    if wire.body is None:
        if body:
            raise InvalidRequestError("This operation takes no body.")
        return {}
    if not body and not wire.body_required:
        body = b"{}"
    elif not body:
        raise InvalidRequestError(
            "The request has no body.", hint="Send a JSON object with the operation's parameters."
        )
    elif headers.get("content-type", "").partition(";")[0].strip().lower() != _JSON:
        raise UnsupportedMediaTypeError(
            "The body is not declared as JSON.", hint=f"Send the header Content-Type: {_JSON}"
        )
    elif headers.get("content-encoding", "identity").lower() != "identity":
        raise UnsupportedMediaTypeError(
            "A compressed body is not read here.", hint="Send it without Content-Encoding."
        )
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        raise InvalidRequestError("The body is not valid UTF-8.") from error
    return fields_of(from_json(check_json(text), wire.body))


def check_json(text: str) -> bytes:
    """Encode JSON unless it holds what parsers disagree on: repeated keys, deep nesting."""
    try:
        json.loads(text, object_pairs_hook=_unique, parse_int=_ignore, parse_float=_ignore)
    except RecursionError as error:
        raise InvalidRequestError("The JSON is nested too deeply.") from error
    except json.JSONDecodeError as error:
        raise InvalidRequestError(
            f"This is not valid JSON: {error.msg} at character {error.pos}."
        ) from error
    return text.encode()


_ignore: Callable[[str], None] = lambda _: None  # noqa: E731 - C speed matters for large bodies


def _unique(pairs: list[tuple[str, Any]]) -> None:
    seen = set()
    for key, _ in pairs:
        if key in seen:
            raise InvalidRequestError(f"The JSON gives {key[:80]!r} more than once.")
        seen.add(key)


def read_if_match(headers: Headers) -> str | None:
    """Return the one version that If-Match names, or None for none and for `*` (RFC 9110, 13.1.1).

    The quotes of an ETag may be left out. Raises `InvalidRequestError` for anything else.
    """
    values = headers.getlist("if-match")
    if not values or values == ["*"]:
        return None
    found = _ENTITY_TAG.match(values[0])
    if len(values) > 1 or found is None:
        raise InvalidRequestError(
            "If-Match must be one version, as an ETag gave it.",
            hint='For example: If-Match: "3f2a9c1d.42"',
        )
    return found[1] or found[2]
