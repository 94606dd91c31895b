"""Values from the command line, checked against the command document."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from typing import Any

import click
import msgspec

from covey.operations.command_document import CommandParameter

_JSON_FILE = "@"
_STDIN = "-"
_CHOICES_WIDTH = 40

SCOPE_PARAMETERS = ("scope", "source", "target")
SHORT_SCOPES = frozenset({"project", "environment", "host"})
"""Words for a scope that the working directory completes."""


class ParameterValue(click.ParamType[Any]):
    """Reads one value of a described parameter."""

    def __init__(self, param: CommandParameter) -> None:
        self.param = param
        self.name = param.type

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Convert text; fails with what is expected."""
        if not isinstance(value, str):
            return value
        try:
            return read_value(self.param, value)
        except ValueError as error:
            self.fail(str(error), param, ctx)

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str | None:
        """Show the choices, or the kind of value."""
        del param, ctx
        if self.param.choices:
            return self.param.name.upper() if has_many(self.param) else "|".join(self.param.choices)
        return _METAVARS[self.param.type]


_UNBOUNDED = 999_999_999


class WholeNumber(click.ParamType[int]):
    """Reads a whole number from `least` to `most`."""

    name = "N"

    def __init__(self, least: int = 0, most: int = _UNBOUNDED) -> None:
        self._least = least
        self._most = most

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Convert text; fails with what is expected."""
        if isinstance(value, int):
            return value
        whole = re.fullmatch(r"\d{1,9}", value, re.ASCII) is not None
        if not whole or not self._least <= int(value) <= self._most:
            until = "" if self._most == _UNBOUNDED else f" to {self._most}"
            self.fail(f"{value!r} is not a whole number from {self._least}{until}.", param, ctx)
        return int(value)


def has_many(param: CommandParameter) -> bool:
    """Whether a parameter's choices are too many for a column of a help page."""
    return len("|".join(param.choices)) > _CHOICES_WIDTH


_METAVARS = {
    "string": "TEXT",
    "integer": "N",
    "number": "N",
    "boolean": "yes|no",
    "mapping": "KEY=VALUE",
    "json": "JSON|@FILE",
}


def read_value(param: CommandParameter, text: str) -> Any:
    """Read one value; raises `ValueError` that says what is expected."""
    match param.type:
        case "string":
            _check_text(param, text)
            return text
        case "integer":
            return _read_number(param, text, r"[+-]?\d{1,18}", "a whole number", int)
        case "number":
            return _read_number(
                param, text, r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", "a number", float
            )
        case "boolean":
            if text.lower() not in _BOOLEANS:
                raise ValueError(f"{text!r} is neither yes nor no.")
            return _BOOLEANS[text.lower()]
        case "mapping":
            key, equals, value = text.partition("=")
            if not equals or not key:
                raise ValueError(f"{text!r} is not of the form KEY=VALUE.")
            return key, value
        case "json":
            return _read_json(text)


def _read_number(
    param: CommandParameter, text: str, form: str, wanted: str, kind: Callable[[str], float]
) -> float:
    if re.fullmatch(form, text, re.ASCII) is None:
        raise ValueError(f"{text!r} is not {wanted}.")
    value = kind(text)
    _check_bounds(param, value)
    return value


_BOOLEANS = {"yes": True, "true": True, "1": True, "no": False, "false": False, "0": False}


def _check_text(param: CommandParameter, text: str) -> None:
    shown = text if len(text) <= 60 else text[:60] + "…"  # noqa: PLR2004 - one line of a message
    if param.choices and text not in param.choices:
        raise ValueError(f"{shown!r} is not one of {', '.join(param.choices)}.")
    if param.max_length is not None and len(text) > param.max_length:
        raise ValueError(f"{shown!r} is longer than {param.max_length} characters.")
    if param.min_length is not None and len(text) < param.min_length:
        least = param.min_length
        wanted = "It must not be empty." if least == 1 else f"It needs {least} characters."
        raise ValueError(f"{shown!r} is too short. {wanted}")
    if text in SHORT_SCOPES and param.name in SCOPE_PARAMETERS:
        return
    if param.pattern is not None and re.search(param.pattern, text) is None:
        about = f" It takes: {param.help}" if param.help else f" It must match {param.pattern}"
        raise ValueError(f"{shown!r} is not valid.{about}")


def _check_bounds(param: CommandParameter, value: float) -> None:
    low, high = param.minimum, param.maximum
    if (low is not None and value < low) or (high is not None and value > high):
        if low is None:
            raise ValueError(f"{value} is over the maximum, {high:g}.")
        if high is None:
            raise ValueError(f"{value} is under the minimum, {low:g}.")
        raise ValueError(f"{value} is outside {low:g} to {high:g}.")


def _read_json(text: str) -> Any:
    if text == _STDIN:
        text = sys.stdin.read()
    elif text.startswith(_JSON_FILE):
        try:
            with click.open_file(text[1:], encoding="utf-8") as file:
                text = file.read()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
            raise ValueError(f"{text[1:]} cannot be read: {reason}.") from error
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError as error:
        raise ValueError(f"This is not JSON: {error}.") from error
