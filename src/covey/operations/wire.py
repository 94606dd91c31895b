"""An operation's arguments as an HTTP request carries them: path, query and body apart."""

from __future__ import annotations

import types
import typing
from dataclasses import dataclass
from typing import Any

import msgspec

from covey.operations.registry import Operation
from covey.operations.signature import Location, Parameter

IF_VERSION = "if_version"
"""The parameter that the header If-Match fills."""

VERSION = "version"
"""The field of a result that the header ETag carries."""


@dataclass(frozen=True, slots=True)
class Wire:
    """The structs of the three parts of a request, and what the headers mean for it.

    `message` holds every parameter outside the path: the first message on a WebSocket. `lists`
    names the query parameters that may be repeated. `body_required` says that an empty body
    cannot do.
    """

    path: type[msgspec.Struct]
    query: type[msgspec.Struct]
    body: type[msgspec.Struct] | None
    message: type[msgspec.Struct]
    lists: frozenset[str]
    body_required: bool
    conditional: bool
    versioned: bool


def wire_of(operation: Operation) -> Wire:
    """Derive the HTTP form of an operation; raises `TypeError` for a query that cannot be one."""
    title = operation.signature.title
    parts: dict[Location, list[Parameter]] = {location: [] for location in Location}
    for item in operation.signature.parameters:
        parts[item.location].append(item)
    body = parts[Location.BODY]
    return Wire(
        path=_struct(f"{title}Path", parts[Location.PATH]),
        query=_struct(f"{title}Query", parts[Location.QUERY]),
        body=_struct(f"{title}Body", body) if body else None,
        message=_struct(f"{title}Message", parts[Location.QUERY] + body),
        lists=frozenset(item.name for item in parts[Location.QUERY] if _is_list(item.annotation)),
        body_required=any(item.required for item in body),
        conditional=any(item.name == IF_VERSION for item in operation.signature.parameters),
        versioned=_is_versioned(operation.signature.result),
    )


def _struct(title: str, parameters: list[Parameter]) -> type[msgspec.Struct]:
    fields: list[tuple[str, Any] | tuple[str, Any, Any]] = [
        (item.name, item.annotation)
        if item.required
        else (item.name, item.annotation, item.default)
        for item in parameters
    ]
    return msgspec.defstruct(title, fields, kw_only=True, frozen=True, forbid_unknown_fields=True)


def _is_list(annotation: Any) -> bool:
    origin = typing.get_origin(annotation)
    if origin is typing.Annotated:
        return _is_list(typing.get_args(annotation)[0])
    if origin in {typing.Union, types.UnionType}:
        return any(_is_list(choice) for choice in typing.get_args(annotation))
    return origin in {list, tuple, set, frozenset}


def _is_versioned(result: Any) -> bool:
    """Whether a result is one record with a text field `version`."""
    if not (isinstance(result, type) and issubclass(result, msgspec.Struct)):
        return False
    return any(item.name == VERSION and item.type is str for item in msgspec.structs.fields(result))
