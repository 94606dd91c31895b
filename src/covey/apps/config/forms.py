"""The forms that a value of `covey.app.toml` may take: how it is read, described and checked."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import msgspec

from covey.apps.config.units import (
    format_duration,
    format_size,
    parse_cpu,
    parse_duration,
    parse_size,
)

_EXTRA = "form"


@dataclass(frozen=True, slots=True)
class Form:
    """One form of value: its name for users, its reader (raises `ValueError`), its JSON Schema.

    `from_text` reads the same from a command line, `tell` writes a kept value for people.
    """

    label: str
    read: Callable[[object], object]
    schema: Mapping[str, Any]
    from_text: Callable[[str], object]
    tell: Callable[[Any], object] = lambda value: value


def key(description: str, form: Form | None = None, **examples: object) -> msgspec.Meta:
    """Describe a field: what it means, and the form of its value unless its type says that."""
    extra: dict[str, object] = {} if form is None else {_EXTRA: form}
    extra.update(examples)
    return msgspec.Meta(description=description, extra=extra)


def form_of(meta: msgspec.Meta) -> Form | None:
    """Return the form that `key` was given."""
    found = (meta.extra or {}).get(_EXTRA)
    return found if isinstance(found, Form) else None


def text(
    check: Callable[[str], str], label: str, *, max_length: int = 4096, **schema: object
) -> Form:
    """Accept text that `check` returns, perhaps normalized."""

    def read(value: object) -> str:
        if not isinstance(value, str):
            raise ValueError(f"{show(value)} is not text in quotes")  # noqa: TRY004
        if len(value) > max_length:
            raise ValueError(f"it has {len(value)} characters; at most {max_length} are allowed")
        if "\0" in value:
            raise ValueError("it contains a NUL character")
        return check(value)

    return Form(label, read, {"type": "string", "maxLength": max_length, **schema}, read)


def pattern(expression: str, label: str, *, max_length: int = 4096) -> Form:
    """Accept text that as a whole matches a regular expression (one that JSON Schema knows)."""
    compiled = re.compile(expression, re.ASCII)

    def check(value: str) -> str:
        if not compiled.fullmatch(value):
            raise ValueError(f"{show(value)} is not {label}")
        return value

    return text(check, label, max_length=max_length, pattern=f"^(?:{expression})$")


def line(label: str, *, max_length: int = 4096) -> Form:
    """Accept any text that is not empty."""

    def check(value: str) -> str:
        if not value.strip():
            raise ValueError("it is empty")
        return value

    return text(check, label, max_length=max_length, minLength=1)


def choice(options: type[StrEnum]) -> Form:
    """Accept one of a few words."""
    words = [str(item) for item in options]
    listed = ", ".join(words[:-1]) + f" or {words[-1]}"

    def check(value: str) -> str:
        if value not in words:
            raise ValueError(f"{show(value)} is not {listed}")
        return value

    form = text(check, listed)
    return Form(listed, form.read, {"enum": words}, form.from_text)


def flag() -> Form:
    """Accept true or false."""

    def read(value: object) -> bool:
        if not isinstance(value, bool):
            raise ValueError(f"{show(value)} is not true or false")  # noqa: TRY004
        return value

    def from_text(value: str) -> bool:
        if value not in {"true", "false"}:
            raise ValueError(f"{show(value)} is not true or false")
        return value == "true"

    return Form("true or false", read, {"type": "boolean"}, from_text)


def whole(low: int, high: int) -> Form:
    """Accept a whole number within bounds."""
    label = f"a whole number, {low} to {high}"

    def read(value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            if isinstance(value, str) and re.fullmatch(r"\d{1,18}", value, re.ASCII):
                raise ValueError(f"{show(value)} is text; write {value} without quotes")
            raise ValueError(f"{show(value)} is not a whole number")  # noqa: TRY004
        return int(_within(value, low, high, str))

    def from_text(value: str) -> int:
        if not re.fullmatch(r"[+-]?\d{1,18}", value, re.ASCII):
            raise ValueError(f"{show(value)} is not a whole number")
        return read(int(value))

    return Form(label, read, {"type": "integer", "minimum": low, "maximum": high}, from_text)


def duration(low: str, high: str) -> Form:
    """Accept a number of seconds or text such as `30s`; kept as seconds."""
    bounds = parse_duration(low), parse_duration(high)
    label = f'seconds, or such as "30s" or "5m"; {low} to {high}'

    def read(value: object) -> float:
        seconds = parse_duration(value) if isinstance(value, str) else _number(value, label)
        if not bounds[0] <= seconds <= bounds[1]:
            raise ValueError(f"{show(value)} is outside {low} to {high}")
        return seconds

    schema = _number_or_text(r"^\s*[0-9][0-9.smhd\s]*$")
    return Form(label, read, schema, read, format_duration)


def size(low: str, high: str) -> Form:
    """Accept a number of bytes or text such as `256mb`; kept as bytes."""
    bounds = parse_size(low), parse_size(high)
    label = f'a size such as "256mb" or "1.5g", {low} to {high}'

    def read(value: object) -> int:
        found = parse_size(value) if isinstance(value, str) else round(_number(value, label))
        if not bounds[0] <= found <= bounds[1]:
            unit = "" if isinstance(value, str) else " bytes"
            raise ValueError(f"{show(value)}{unit} is outside {low} to {high}")
        return found

    schema = _number_or_text(r"^\s*[0-9.]+\s*(?:[kKmMgGtT]?[iI]?[bB]?)\s*$")
    return Form(label, read, schema, read, format_size)


def cpu() -> Form:
    """Accept a number of CPUs, or text such as `500m`."""
    label = 'a number of CPUs such as "0.5" or "500m"'

    def read(value: object) -> float:
        found = parse_cpu(value) if isinstance(value, str) else _number(value, label)
        return _within(found, 0.01, 1024, lambda _number: show(value))

    return Form(label, read, _number_or_text(r"^\s*[0-9.]+m?\s*$"), read)


def show(value: object) -> str:
    """Name a value in a message; long texts are cut."""
    longest = 60
    match value:
        case bool():
            return str(value).lower()
        case str():
            cut = value if len(value) <= longest else value[: longest - 1] + "…"
            return f'"{cut}"' if cut.isprintable() else ascii(cut)
        case list() | tuple():
            return "A list"
        case dict():
            return "A table"
        case None:
            return "null"
        case _:
            return str(value)[:longest]


def _number(value: object, label: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{show(value)} is not {label.partition(';')[0]}")  # noqa: TRY004
    limit = 1e18
    if not 0 <= value <= limit:
        raise ValueError(f"{show(value)} is out of range")
    return float(value)


def _within(value: float, low: float, high: float, told: Callable[[float], str]) -> float:
    if not low <= value <= high:
        raise ValueError(f"{told(value)} is outside {low} to {high}")
    return value


def _number_or_text(expression: str) -> dict[str, object]:
    return {"type": ["number", "string"], "minimum": 0, "pattern": expression}
