"""What every format's reader returns, and the errors that readers and writers share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from covey.errors import InvalidRequestError
from covey.shellkit.names import is_variable_name

_SHOWN = 80


@dataclass(frozen=True, slots=True)
class Entry:
    """One variable in a file: `template` is its expandable form where the file's own rules expand.

    `line` counts from 1.
    """

    name: str
    value: str
    line: int
    template: str | None = None


def malformed(what: str, line: int, cause: str, hint: str | None = None) -> InvalidRequestError:
    """Return the error for a line that cannot be read; never pass it a value."""
    return InvalidRequestError(
        f"The {what} file cannot be read: line {line}: {cause}.",
        hint=hint or "Correct that line; nothing was imported.",
        details={"line": line},
    )


def unfit(what: str, name: str, cause: str, hint: str) -> InvalidRequestError:
    """Return the error for a variable that a format cannot hold."""
    return InvalidRequestError(
        f"{what} cannot hold {name}: {cause}.", hint=hint, details={"name": name}
    )


def check_entry_name(what: str, name: str, line: int) -> str:
    """Return the name, or raise `InvalidRequestError` naming the line."""
    if not is_variable_name(name):
        shown = name[:_SHOWN] if name.isprintable() else "what stands there"
        raise malformed(what, line, f"{shown!r} is not a variable name")
    return name


def sorted_items(values: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return the variables in the order in which they are written."""
    return sorted(values.items())
