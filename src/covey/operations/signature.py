"""From a typed function to its wire form: argument struct, locations, result type."""

from __future__ import annotations

import collections.abc
import functools
import inspect
import re
import types
import typing
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import msgspec

from covey.operations.patterns import strict_patterns

END_KEY = "end"
"""The message `{"end": null}` ends a stream of items, in either direction."""

_BODYLESS = frozenset({"GET", "DELETE", "HEAD"})


class Location(StrEnum):
    """Where a parameter stands in the HTTP request."""

    PATH = "path"
    QUERY = "query"
    BODY = "body"


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter; `positional` makes it a CLI argument, else it is an option."""

    name: str
    annotation: Any
    location: Location
    positional: bool
    required: bool
    default: Any


@dataclass(frozen=True, slots=True)
class InputStream:
    """The parameter that a duplex operation reads its input from, and the type of one item."""

    name: str
    item: Any


@dataclass(frozen=True)
class Signature:
    """An operation's parameters and what comes back.

    When `streams` is true, `result` is the type of one streamed item. An operation with an
    `input` is duplex: its caller sends items while it runs. `parameters` leaves the input out.
    """

    title: str
    parameters: tuple[Parameter, ...]
    result: Any
    streams: bool
    input: InputStream | None = None

    @functools.cached_property
    def arguments(self) -> type[msgspec.Struct]:
        """The struct that holds the arguments; made for the first call, for most see none."""
        return _arguments(f"{self.title}Arguments", self.parameters)


def read_signature(function: Callable[..., Any], *, name: str, method: str, path: str) -> Signature:
    """Derive the wire form of an operation; raises `TypeError` for a parameter without a type."""
    hints = typing.get_type_hints(function, include_extras=True)
    in_path = set(re.findall(r"\{(\w+)\}", path))
    parameters: list[Parameter] = []
    given: InputStream | None = None
    for item in list(inspect.signature(function).parameters.values())[1:]:
        if item.name not in hints:
            raise TypeError(f"{name}: parameter {item.name} has no type")
        if typing.get_origin(hints[item.name]) is collections.abc.AsyncIterator:
            if given is not None:
                raise TypeError(f"{name}: there is one input stream, {given.name}, already")
            given = _read_input(item, hints[item.name], name)
            continue
        if item.name in in_path:
            location = Location.PATH
        else:
            location = Location.QUERY if method in _BODYLESS else Location.BODY
        required = item.default is inspect.Parameter.empty
        parameters.append(
            Parameter(
                name=item.name,
                annotation=strict_patterns(hints[item.name]),
                location=location,
                positional=item.kind is not inspect.Parameter.KEYWORD_ONLY,
                required=required,
                default=None if required else item.default,
            )
        )
    missing = in_path - {parameter.name for parameter in parameters}
    if missing:
        raise TypeError(f"{name}: the path names {sorted(missing)}, which is no parameter")
    result, streams = _read_result(hints.get("return"), name)
    title = "".join(part.capitalize() for part in re.split(r"[._-]", name))
    return Signature(title, tuple(parameters), result, streams, given)


def _read_input(item: inspect.Parameter, annotation: Any, name: str) -> InputStream:
    kind = typing.get_args(annotation)[0]
    if (
        item.kind is not inspect.Parameter.KEYWORD_ONLY
        or item.default is not inspect.Parameter.empty
    ):
        raise TypeError(f"{name}: the input stream {item.name} must be keyword-only and required")
    inner = typing.get_args(kind)[0] if typing.get_origin(kind) is typing.Annotated else kind
    union = typing.get_origin(inner) in {typing.Union, types.UnionType}
    for member in typing.get_args(inner) if union else (inner,):
        if not (isinstance(member, type) and issubclass(member, msgspec.Struct)):
            raise TypeError(f"{name}: the items of {item.name} must be structs")
        if member.__struct_config__.tag is None and END_KEY in member.__struct_encode_fields__:
            raise TypeError(f"{name}: a field {END_KEY!r} reads like the end of {item.name}")
    return InputStream(item.name, kind)


def _read_result(annotation: Any, name: str) -> tuple[Any, bool]:
    if annotation is None:
        raise TypeError(f"{name}: the result has no type")
    if typing.get_origin(annotation) is collections.abc.AsyncIterator:
        return typing.get_args(annotation)[0], True
    return annotation, False


def _arguments(title: str, parameters: tuple[Parameter, ...]) -> type[msgspec.Struct]:
    fields: list[tuple[str, Any] | tuple[str, Any, Any]] = []
    for item in parameters:
        if item.required:
            fields.append((item.name, item.annotation))
        else:
            fields.append((item.name, item.annotation, item.default))
    return msgspec.defstruct(title, fields, kw_only=True, frozen=True, forbid_unknown_fields=True)
