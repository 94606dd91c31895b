"""The JSON Schema of `covey.app.toml`, and its keys as rows for the reference."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgspec
from msgspec import inspect

from covey.apps.config.forms import Form, show
from covey.apps.config.model import SHORTHANDS, HealthCheck, Limits
from covey.apps.config.tables import bare_type, description, fields_of, form_at, root

DIALECT = "https://json-schema.org/draft/2020-12/schema"


@dataclass(frozen=True, slots=True)
class Row:
    """One key: its value in words, its default as TOML, and what it means."""

    key: str
    value: str
    default: str
    meaning: str


@dataclass(frozen=True, slots=True)
class Section:
    """One table of the file: its header as written in TOML, what it is, and its keys."""

    header: str
    about: str
    rows: tuple[Row, ...]


def app_file_schema() -> dict[str, Any]:
    """Return the schema, of draft 2020-12."""
    return {
        "$schema": DIALECT,
        "title": "covey.app.toml",
        **_schema(root()),
        "description": "How Covey builds, runs and serves an app.",
    }


def sections() -> Iterator[Section]:
    """Yield the tables of the file, each after the one that it is in."""
    yield from _sections(root(), "", "")


def _schema(node: inspect.Type) -> dict[str, Any]:
    form = form_at(node)
    if form is not None:
        return dict(form.schema)
    match bare_type(node):
        case inspect.StructType() as table:
            return _struct(table)
        case inspect.DictType() as table:
            names = form_at(table.key_type)
            return {
                "type": "object",
                "additionalProperties": _schema(table.value_type),
                **({} if names is None else {"propertyNames": dict(names.schema)}),
            }
        case inspect.VarTupleType() as sequence:
            return {"type": "array", "items": _schema(sequence.item_type)}
        case other:
            raise TypeError(f"a schema of {other} is not known")


def _struct(node: inspect.StructType) -> dict[str, Any]:
    fields = fields_of(node)
    properties = {}
    for name, item in fields.items():
        about = description(item.type)
        properties[name] = {**_schema(item.type), "description": about, **_default(item)}
    required = [name for name, item in fields.items() if item.required]
    found: dict[str, Any] = {
        "type": "object",
        "properties": properties,
        "additionalProperties": False,
    }
    if required:
        found["required"] = required
    if node.cls is HealthCheck:
        found["oneOf"] = [{"required": [name]} for name in ("path", "command", "tcp")]
    short = SHORTHANDS.get(node.cls)
    if short is None:
        return found
    return {"anyOf": [_schema(fields[short].type), found]}


def _default(item: inspect.Field) -> dict[str, Any]:
    form = form_at(item.type)
    if form is None or item.default is None or item.default is msgspec.NODEFAULT:
        return {}
    return {"default": _told(form, item.default)}


def _told(form: Form, value: object) -> object:
    told = form.tell(value)
    return str(told) if isinstance(told, str) else told


def _sections(node: inspect.StructType, header: str, about: str) -> Iterator[Section]:
    path = header.strip("[]")
    rows, below = [], []
    for name, item in fields_of(node).items():
        here = f"{path}.{name}" if path else name
        rows.append(_row(name, item))
        inner = bare_type(item.type)
        match inner:
            case inspect.StructType() if inner.cls is not Limits or not path:
                below.append((inner, f"[{here}]"))
            case inspect.DictType(value_type=value):
                table = bare_type(value)
                if isinstance(table, inspect.StructType):
                    below.append((table, f"[{here}.NAME]"))
            case inspect.VarTupleType(item_type=value):
                table = bare_type(value)
                if isinstance(table, inspect.StructType):
                    below.append((table, f"[[{here}]]"))
            case _:
                pass
    yield Section(header, about, tuple(rows))
    for table, inner_header in below:
        yield from _sections(table, inner_header, (table.cls.__doc__ or "").strip())


def _row(name: str, item: inspect.Field) -> Row:
    form = form_at(item.type)
    default = ""
    if item.required:
        default = "needed"
    elif form is not None and item.default is not None and item.default is not msgspec.NODEFAULT:
        default = show(_told(form, item.default))
    value = form.label if form is not None else _words(bare_type(item.type))
    return Row(name, value, default, description(item.type))


def _words(node: inspect.Type) -> str:
    match node:
        case inspect.StructType(cls=kind):
            return "text, or a table" if kind in SHORTHANDS else "a table"
        case inspect.DictType(value_type=value):
            form = form_at(value)
            told = form.label if form is not None else _words(bare_type(value))
            return f"a table of names, each with {told}"
        case inspect.VarTupleType(item_type=item):
            form = form_at(item)
            told = form.label if form is not None else _words(bare_type(item))
            return f"a list, each item {told}"
        case _:
            return ""
