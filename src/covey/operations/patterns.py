r"""Patterns that end where the text ends: Python's `$` also matches before a last line feed."""

from __future__ import annotations

import types
import typing
from functools import reduce
from operator import or_
from typing import Annotated, Any

import msgspec

_END = "$"
_NO_LINE_FEED = r"(?!\n)"


def strict_patterns(annotation: Any) -> Any:
    """Return a parameter's type with every `pattern` that ends in `$` made strict."""
    origin = typing.get_origin(annotation)
    if origin is None or origin is typing.Literal:
        return annotation
    parts = typing.get_args(annotation)
    if origin is Annotated:
        return Annotated[(strict_patterns(parts[0]), *(_strict(item) for item in parts[1:]))]
    strict = tuple(strict_patterns(item) for item in parts)
    if origin in {typing.Union, types.UnionType}:
        return reduce(or_, strict)
    return origin[strict]


def _strict(item: Any) -> Any:
    if not isinstance(item, msgspec.Meta) or item.pattern is None:
        return item
    if not item.pattern.endswith(_END) or item.pattern.endswith((r"\$", _NO_LINE_FEED + _END)):
        return item
    given = {name: value for name, value in item.__rich_repr__() if value is not None}
    return msgspec.Meta(**{**given, "pattern": item.pattern + _NO_LINE_FEED})


def plain_patterns(schema: Any) -> Any:
    """Return a JSON Schema with the patterns as they were written: there, `$` is the end."""
    match schema:
        case dict():
            return {
                name: item.replace(_NO_LINE_FEED, "")
                if name == "pattern" and isinstance(item, str)
                else plain_patterns(item)
                for name, item in schema.items()
            }
        case list() | tuple():
            return [plain_patterns(item) for item in schema]
        case _:
            return schema
