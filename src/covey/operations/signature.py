"""From a typed function to its wire form: argument struct, locations, result type."""

from __future__ import annotations

import collections.abc
import inspect
import re
import typing
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import msgspec

from covey.operations.patterns import strict_patterns

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
class Signature:
    """An operation's parameters, the struct that holds them, and what comes back.

    When `streams` is true, `result` is the type of one streamed item.
    """

    parameters: tuple[Parameter, ...]
    arguments: type[msgspec.Struct]
    result: Any
    streams: bool


def read_signature(function: Callable[..., Any], *, name: str, method: str, path: str) -> Signature:
    """Derive the wire form of an operation; raises `TypeError` for a parameter without a type."""
    hints = typing.get_type_hints(function, include_extras=True)
    in_path = set(re.findall(r"\{(\w+)\}", path))
    parameters: list[Parameter] = []
    for item in list(inspect.signature(function).parameters.values())[1:]:
        if item.name not in hints:
            raise TypeError(f"{name}: parameter {item.name} has no type")
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
    return Signature(tuple(parameters), _arguments(name, parameters), result, streams)


def _read_result(annotation: Any, name: str) -> tuple[Any, bool]:
    if annotation is None:
        raise TypeError(f"{name}: the result has no type")
    if typing.get_origin(annotation) is collections.abc.AsyncIterator:
        return typing.get_args(annotation)[0], True
    return annotation, False


def _arguments(name: str, parameters: list[Parameter]) -> type[msgspec.Struct]:
    fields: list[tuple[str, Any] | tuple[str, Any, Any]] = []
    for item in parameters:
        if item.required:
            fields.append((item.name, item.annotation))
        else:
            fields.append((item.name, item.annotation, item.default))
    title = "".join(part.capitalize() for part in re.split(r"[._-]", name)) + "Arguments"
    return msgspec.defstruct(title, fields, kw_only=True, frozen=True, forbid_unknown_fields=True)
