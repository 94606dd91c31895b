"""What commands and the API set wins over the file; the result, and where each value is from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Any

import msgspec
from msgspec import inspect

from covey.apps.config.checks import find_problems, find_warnings
from covey.apps.config.load import AppFile
from covey.apps.config.model import WEB, AppConfig
from covey.apps.config.problems import invalid
from covey.apps.config.tables import (
    Path,
    Problem,
    bare_type,
    description,
    dotted,
    fields_of,
    form_at,
    parse_key,
    read_tables,
    read_text,
    root,
)
from covey.errors import InvalidRequestError, NotFoundError

_NONE: Mapping[str, object] = {}
_KINDS_OF_CHECK = ("path", "command", "tcp")
_KEYS_OF_KINDS = (*_KINDS_OF_CHECK, "port", "status")


Tables = Mapping[str, object]
"""Overrides: sparse tables in the shape of the file, in kept forms, as `override` returns them.

None takes back what the file says.
"""


def override(overrides: Tables, more: Tables) -> dict[str, object]:
    """Add values, as tables of the file's shape, to overrides; raises `InvalidRequestError`."""
    found, problems = read_tables(more)
    if problems:
        raise invalid(problems)
    return merge_tables(overrides, found, keep_none=True)


def override_text(overrides: Tables, key: str, text: str) -> dict[str, object]:
    """Set one dotted key to a value as it is typed; raises `InvalidRequestError`."""
    found, problems = read_text(_path(key), text)
    if problems:
        raise invalid(problems)
    return merge_tables(overrides, found, keep_none=True)


def without_override(overrides: Tables, key: str) -> dict[str, object]:
    """Let the file's value count again; raises `NotFoundError` if it was not overridden."""
    path = _path(key)
    if not _has(overrides, path):
        raise NotFoundError(
            f"{key} is not overridden: the file's value or the default counts already.",
            hint="See where each value is from: covey apps show APP",
        )
    return _removed(overrides, path)


class Origin(StrEnum):
    """Where a value is from."""

    DEFAULT = "default"
    FILE = "file"
    OVERRIDE = "override"


class EffectiveValue(msgspec.Struct, frozen=True):
    """One value that counts, and where it is from."""

    key: str
    value: Any
    origin: Origin


class Effective(msgspec.Struct, frozen=True):
    """The configuration that counts, and what looks like a mistake in it."""

    config: AppConfig
    warnings: tuple[str, ...] = ()


def effective(file: AppFile, overrides: Tables = _NONE) -> Effective:
    """Put the overrides over the file, and check that all fits together.

    Raises `InvalidRequestError` that names the lines, or the overrides, of all problems.
    """
    merged = merge_tables(file.tables, overrides)
    overridden = [path for path, _ in _leaves(overrides, ())]
    problems = list(_missing(root(), merged, ()))
    if problems:
        raise invalid(problems, name=file.name, text=file.text, overridden=overridden)
    try:
        config = msgspec.convert(merged, AppConfig)
    except msgspec.ValidationError as error:
        # Overrides of another version of Covey, or ones that `override` did not see.
        raise InvalidRequestError(
            f"A setting of the app that wins over its file is not valid: {error}.",
            hint="See what is set: covey apps show APP",
        ) from error
    problems = find_problems(config)
    if problems:
        raise invalid(problems, name=file.name, text=file.text, overridden=overridden)
    warnings = tuple(
        f"{item.sentence[:1].upper()}{item.sentence[1:]} {item.hint or ''}".rstrip()
        for item in find_warnings(config)
    )
    return Effective(config, warnings)


def explain(file: AppFile, overrides: Tables = _NONE) -> list[EffectiveValue]:
    """List every value that counts, in the order of the reference page. Hashes are left out."""
    config = effective(file, overrides).config
    merged = merge_tables(file.tables, overrides)
    found: list[EffectiveValue] = []
    for path, value in _values(root(), msgspec.to_builtins(config), ()):
        if _has(merged, path):
            origin = Origin.OVERRIDE if _is_set(overrides, path) else Origin.FILE
        else:
            origin = Origin.OVERRIDE if _is_taken_back(overrides, path) else Origin.DEFAULT
        found.append(EffectiveValue(dotted(path), value, origin))
    return found


def merge_tables(
    under: Mapping[str, Any], over: Mapping[str, Any], *, keep_none: bool = False
) -> dict[str, Any]:
    """Put sparse tables over others: tables merge, values and lists replace, None removes.

    A health check of another kind replaces the old kind, and of the two keys for the replicas of
    web the newer one counts.
    """
    base = {name: value for name, value in under.items() if value is not None or keep_none}
    check: Path = ("deploy", "healthcheck")
    kinds = [kind for kind in _KINDS_OF_CHECK if _get(over, (*check, kind))]
    if kinds and not any(_get(base, (*check, kind)) for kind in kinds):
        for name in _KEYS_OF_KINDS:
            base = _removed(base, (*check, name))
    synonyms: tuple[Path, Path] = ("deploy", "replicas"), ("processes", WEB, "replicas")
    for one, other in (synonyms, synonyms[::-1]):
        if _get(over, one) is not None and _get(over, other) is None:
            base = _removed(base, other)
    return _merge(base, over, keep_none=keep_none)


def _merge(under: Mapping[str, Any], over: Mapping[str, Any], *, keep_none: bool) -> dict[str, Any]:
    merged = dict(under)
    for name, value in over.items():
        if value is None and not keep_none:
            merged.pop(name, None)
        elif isinstance(value, Mapping):
            below = merged.get(name)
            kept = below if isinstance(below, Mapping) else {}
            merged[name] = _merge(kept, value, keep_none=keep_none)
        else:
            merged[name] = value
    return merged


def _missing(node: inspect.Type, value: object, path: Path) -> Iterator[Problem]:
    match bare_type(node), value:
        case inspect.StructType() as table, Mapping():
            for name, item in fields_of(table).items():
                if name in value:
                    yield from _missing(item.type, value[name], (*path, name))
                elif item.required:
                    hint = f"It is: {description(item.type)}"
                    yield Problem(path, f"{dotted((*path, name))} is missing.", hint)
        case inspect.DictType() as table, Mapping():
            for name, item in value.items():
                yield from _missing(table.value_type, item, (*path, name))
        case inspect.VarTupleType() as sequence, list():
            for position, item in enumerate(value):
                yield from _missing(sequence.item_type, item, (*path, position))
        case _:
            pass


def _values(node: inspect.Type, value: Any, path: Path) -> Iterator[tuple[Path, object]]:
    match bare_type(node), value:
        case inspect.StructType() as table, dict():
            for name, item in fields_of(table).items():
                yield from _values(item.type, value[name], (*path, name))
        case inspect.DictType() as table, dict() if value:
            for name, item in value.items():
                hidden = path == ("proxy", "basic_auth")
                kept = "(a password's hash)" if hidden else item
                yield from _values(table.value_type, kept, (*path, name))
        case inspect.VarTupleType() as sequence, list() | tuple() if value:
            for position, item in enumerate(value):
                yield from _values(sequence.item_type, item, (*path, position))
        case _:
            yield path, _told(node, value)


def _told(node: inspect.Type, value: object) -> object:
    form = form_at(node)
    return value if form is None or value is None else form.tell(value)


def _leaves(value: object, path: Path) -> Iterator[tuple[Path, object]]:
    if isinstance(value, Mapping) and value:
        for name, item in value.items():
            yield from _leaves(item, (*path, name))
    elif path:
        yield path, value


def _path(key: str) -> Path:
    try:
        return parse_key(key)
    except ValueError as error:
        raise InvalidRequestError(
            f"{error}.", hint="All keys: docs/reference/app-file.md"
        ) from error


def _get(tables: object, path: Sequence[str | int]) -> object:
    for part in path:
        match part, tables:
            case str(), Mapping():
                tables = tables.get(part)
            case int(), list() | tuple() if part < len(tables):
                tables = tables[part]
            case _:
                return None
    return tables


def _has(tables: object, path: Path) -> bool:
    if not path:
        return True
    parent = _get(tables, path[:-1])
    last = path[-1]
    if isinstance(parent, Mapping):
        return last in parent
    return isinstance(parent, list | tuple) and isinstance(last, int) and last < len(parent)


def _is_set(tables: object, path: Path) -> bool:
    """Whether a value, or the list that it is in, stands in these tables."""
    return _has(tables, path) or any(
        isinstance(_get(tables, path[:length]), list | tuple) for length in range(1, len(path))
    )


def _is_taken_back(tables: object, path: Path) -> bool:
    """Whether these tables say None for a value or for a table that it is in."""
    return any(
        _has(tables, path[:length]) and _get(tables, path[:length]) is None
        for length in range(1, len(path) + 1)
    )


def _removed(tables: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """Return the tables without what is at `path`, and without tables that this leaves empty."""
    name, *rest = path
    kept = dict(tables)
    if not rest:
        kept.pop(str(name), None)
    elif isinstance(kept.get(str(name)), Mapping):
        below = _removed(kept[str(name)], tuple(rest))
        if below:
            kept[str(name)] = below
        else:
            del kept[str(name)]
    return kept
