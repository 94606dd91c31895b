"""Read the tables of a file or of overrides into the forms of `AppConfig`, and find what is wrong.

The result is as sparse as what was given: nested dicts of plain values, without any default.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import msgspec
from msgspec import inspect

from covey.apps.config.forms import Form, form_of, show
from covey.apps.config.model import SHORTHANDS, AppConfig
from covey.settings_values import nearest

Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong at a path; `sentence` goes on from the place, `hint` says what to do."""

    path: Path
    sentence: str
    hint: str | None = None


@dataclass(slots=True)
class Reading:
    """Collects the problems of one reading."""

    problems: list[Problem] = field(default_factory=list)

    def bad(self, path: Path, reason: str, hint: str | None = None) -> None:
        """Note a value that cannot be taken."""
        hint = None if hint and hint.removeprefix("It wants: ").rstrip(".") in reason else hint
        self.problems.append(Problem(path, f"{dotted(path)} is not valid: {reason}.", hint))


def read_tables(tables: Mapping[str, object]) -> tuple[dict[str, Any], list[Problem]]:
    """Return the values in their kept forms, and all problems.

    None stays None: as an override it takes back what the file says.
    """
    reading = Reading()
    found = _read(root(), tables, (), reading)
    return (found if isinstance(found, dict) else {}), reading.problems


def read_text(path: Path, text: str) -> tuple[dict[str, Any], list[Problem]]:
    """Read one value as it is given on a command line, as tables that hold nothing else."""
    reading = Reading()
    node: inspect.Type = root()
    for position, name in enumerate(path):
        found = _child(node, str(name))
        if found is None:
            return {}, [_unknown(path[: position + 1], node)]
        node = found
    given: object = text
    form = form_at(node)
    if form is not None:
        try:
            given = form.from_text(text)
        except ValueError as error:
            reading.bad(path, str(error), _wants(form))
            return {}, reading.problems
    else:
        try:
            given = tomllib.loads(f"value = {text}")["value"]
        except (tomllib.TOMLDecodeError, RecursionError):
            given = text
    return read_tables(_nested(path, given))


def parse_key(key: str) -> Path:
    """Split a dotted key as TOML does; raises `ValueError`."""
    try:
        table: object = tomllib.loads(f"{key} = 0") if "\n" not in key else None
    except (tomllib.TOMLDecodeError, RecursionError):
        table = None
    path: list[str] = []
    while isinstance(table, dict) and len(table) == 1:
        name, table = next(iter(table.items()))
        path.append(name)
    if not path or table != 0:
        raise ValueError(f"{show(key)} is not a key such as deploy.replicas")
    return tuple(path)


def dotted(path: Path) -> str:
    """Write a path as users do, such as `domains[0].host`."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            name = part if _is_bare(part) else show(part)
            text += f".{name}" if text else name
    return text


def fields_of(node: inspect.StructType) -> dict[str, inspect.Field]:
    """Return the fields of a table by their names in TOML."""
    return {item.encode_name: item for item in node.fields}


def field_names(node: inspect.Type) -> tuple[str, ...]:
    """Return the keys that a table may have; none for what has free names."""
    bare = bare_type(node)
    return tuple(fields_of(bare)) if isinstance(bare, inspect.StructType) else ()


def bare_type(node: inspect.Type) -> inspect.Type:
    """Return a type without its description and without `None`."""
    while True:
        if isinstance(node, inspect.Metadata):
            node = node.type
        elif isinstance(node, inspect.UnionType):
            node = next(item for item in node.types if not isinstance(item, inspect.NoneType))
        else:
            return node


def form_at(node: inspect.Type) -> Form | None:
    """Return the form of a value; None for tables and lists."""
    if isinstance(node, inspect.Metadata):
        return form_of(msgspec.Meta(extra=node.extra)) or form_at(node.type)
    return None


def description(node: inspect.Type) -> str:
    """Return what `key` was told about a field or name."""
    found = node.extra_json_schema if isinstance(node, inspect.Metadata) else None
    return str((found or {}).get("description", ""))


@cache
def root() -> inspect.StructType:
    """Return the description of `AppConfig`."""
    found = inspect.type_info(AppConfig)
    assert isinstance(found, inspect.StructType)  # noqa: S101 - tells the type checker
    return found


@cache
def all_keys() -> tuple[str, ...]:
    """Return the dotted names of all keys that have fixed names."""
    return tuple(_keys(root(), ()))


def _keys(node: inspect.StructType, path: Path) -> Iterator[str]:
    for name, item in fields_of(node).items():
        yield dotted((*path, name))
        inner = bare_type(item.type)
        if isinstance(inner, inspect.StructType):
            yield from _keys(inner, (*path, name))


def _read(node: inspect.Type, value: object, path: Path, reading: Reading) -> object:
    if value is None:
        return None
    form = form_at(node)
    if form is not None:
        try:
            return form.read(value)
        except ValueError as error:
            reading.bad(path, str(error), _wants(form))
            return None
    match bare_type(node):
        case inspect.StructType() as table:
            return _read_struct(table, value, path, reading)
        case inspect.DictType() as table:
            return _read_names(table, value, path, reading)
        case inspect.VarTupleType() as sequence:
            return _read_list(sequence, value, path, reading)
        case other:
            raise TypeError(f"{dotted(path)} has no form for {other}")


def _read_struct(
    node: inspect.StructType, value: object, path: Path, reading: Reading
) -> dict[str, Any] | None:
    fields = fields_of(node)
    short = SHORTHANDS.get(node.cls)
    if short is not None and isinstance(value, str):
        value = {short: value}
    if not isinstance(value, Mapping):
        wanted = f"a table with {', '.join(fields)}"
        reading.bad(path, f"{show(value)} is not {'text or ' if short else ''}{wanted}")
        return None
    found: dict[str, Any] = {}
    for name, item in value.items():
        here = (*path, str(name))
        if name not in fields:
            reading.problems.append(_unknown(here, node))
            continue
        found[name] = _read(fields[name].type, item, here, reading)
    return found


def _read_names(
    node: inspect.DictType, value: object, path: Path, reading: Reading
) -> dict[str, Any] | None:
    if not isinstance(value, Mapping):
        reading.bad(path, f"{show(value)} is not a table; write [{dotted(path)}]")
        return None
    form = form_at(node.key_type)
    found: dict[str, Any] = {}
    for name, item in value.items():
        here = (*path, str(name))
        try:
            kept = str(form.read(name)) if form is not None else str(name)
        except ValueError as error:
            reading.bad(here, str(error), description(node.key_type))
            continue
        found[kept] = _read(node.value_type, item, here, reading)
    return found


def _read_list(
    node: inspect.VarTupleType, value: object, path: Path, reading: Reading
) -> list[Any] | None:
    if not isinstance(value, list | tuple):
        item = bare_type(node.item_type)
        text = not isinstance(item, inspect.StructType) or item.cls in SHORTHANDS
        shape = "a list in square brackets" if text else f"a list; write [[{dotted(path)}]]"
        reading.bad(path, f"{show(value)} is not {shape}")
        return None
    found: list[Any] = []
    for position, item in enumerate(value):
        here = (*path, position)
        if item is None:
            reading.bad(here, "null is not a value of a list")
        kept = _read(node.item_type, item, here, reading)
        if isinstance(kept, dict):
            kept = {name: part for name, part in kept.items() if part is not None}
        found.append(kept)
    return found


def _unknown(path: Path, node: inspect.Type) -> Problem:
    name, known = str(path[-1]), field_names(node)
    bare = bare_type(node)
    below = _keys(bare, path[:-1]) if isinstance(bare, inspect.StructType) else ()
    owners = [item for item in (*below, *all_keys()) if item.rpartition(".")[2] == name]
    guess = nearest(name, known)
    meant = owners[0] if owners else dotted((*path[:-1], guess)) if guess else None
    if meant is not None:
        hint = f"Did you mean {meant}?"
    elif known:
        where = dotted(path[:-1])
        hint = f"{f'[{where}]' if where else 'The top level'} has: {', '.join(known)}."
    else:
        hint = "All keys: docs/reference/app-file.md"
    return Problem(path, f"there is no key {dotted(path)}.", hint)


def _wants(form: Form) -> str:
    return f"It wants: {form.label}."


def _child(node: inspect.Type, name: str) -> inspect.Type | None:
    match bare_type(node):
        case inspect.StructType() as table:
            found = fields_of(table).get(name)
            return None if found is None else found.type
        case inspect.DictType() as table:
            return table.value_type
        case _:
            return None


def _nested(path: Path, value: object) -> dict[str, object]:
    for name in reversed(path):
        value = {str(name): value}
    return value if isinstance(value, dict) else {}


def _is_bare(name: str) -> bool:
    plain = name.replace("-", "").replace("_", "")
    return plain.isalnum() and plain.isascii()
