"""The grammar of an expandable value.

`${NAME}` is another variable, `${NAME:-default}` falls back when it is unset or empty, and `$${`
is a literal `${`. Every other character, a single `$` included, stands for itself. A value that
begins with `op://`, `file:` or `cmd:` is a reference to the outside.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from covey.env.model import MAX_VALUE_BYTES

_TOKEN = re.compile(r"\$?\$\{")
_TOKEN_IN_DEFAULT = re.compile(r"\$?\$\{|\}")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_MAX_DEPTH = 32

Find = Callable[[str], str | None]
"""Returns another variable's value, or None if there is none."""


class ExpansionError(Exception):
    """A value cannot be had; the text completes "NAME has no value: …" and never quotes values."""


class Scheme(StrEnum):
    """Where a reference points."""

    ONEPASSWORD = "op://"
    FILE = "file:"
    COMMAND = "cmd:"


@dataclass(frozen=True, slots=True)
class Reference:
    """A value kept elsewhere; `arguments` is one path or address, or a command's words."""

    scheme: Scheme
    arguments: tuple[str, ...]


class ReferenceResolver(Protocol):
    """Looks references up; raises `ExpansionError`, whose text never holds what was found."""

    async def resolve(self, reference: Reference) -> str:
        """Return the value that a reference points to, without its last newline."""


def looks_expandable(text: str) -> bool:
    """Whether a value would mean something else if it were expanded."""
    return "${" in text or any(text.startswith(scheme) for scheme in Scheme)


def expand(text: str, find: Find) -> str:
    """Replace every `${…}`; raises `ExpansionError` for what is malformed, missing or too long."""
    value, _ = _until(text, 0, find, 0)
    if len(value.encode()) > MAX_VALUE_BYTES:
        raise ExpansionError(f"it expands to more than {MAX_VALUE_BYTES} bytes")
    return value


def check_expandable(text: str) -> None:
    """Raise `ExpansionError` if an expandable value is malformed, whatever it refers to."""
    if read_reference(text, _skip) is None:
        expand(text, _skip)


def read_reference(text: str, find: Find) -> Reference | None:
    """Return the reference that a value is, with the variables in it replaced, or None.

    A command is split into words before its variables are replaced: no value adds a word.
    """
    scheme = next((one for one in Scheme if text.startswith(one)), None)
    if scheme is None:
        return None
    rest = text[len(scheme) :]
    if scheme is not Scheme.COMMAND:
        if not rest:
            raise ExpansionError(f"nothing follows {scheme.value}")
        return Reference(scheme, (expand(rest, find),))
    try:
        words = shlex.split(rest)
    except ValueError as error:
        raise ExpansionError(f"its command cannot be read: {error}".lower()) from error
    if not words:
        raise ExpansionError("cmd: names no command")
    return Reference(scheme, (words[0], *(expand(word, find) for word in words[1:])))


def _until(text: str, start: int, find: Find, depth: int) -> tuple[str, int]:
    """Expand from `start` to the end, or to the `}` that closes a default (depth over 0)."""
    if depth > _MAX_DEPTH:
        raise ExpansionError("its defaults are nested too deeply")
    parts: list[str] = []
    size = 0
    at = start
    while size <= MAX_VALUE_BYTES:
        token = (_TOKEN_IN_DEFAULT if depth else _TOKEN).search(text, at)
        part = text[at : token.start() if token else len(text)]
        parts.append(part)
        if token is None:
            if depth:
                raise ExpansionError("a ${ is not closed; write $${ for a literal one")
            return "".join(parts), len(text)
        at = token.end()
        match token.group():
            case "}":
                return "".join(parts), at
            case "$${":
                value = "${"
            case _:
                value, at = _reference(text, at, find, depth)
        parts.append(value)
        size += len(part) + len(value)
    raise ExpansionError(f"it expands to more than {MAX_VALUE_BYTES} bytes")


def _reference(text: str, start: int, find: Find, depth: int) -> tuple[str, int]:
    """Expand what follows `${`; returns the value and the position after the closing brace."""
    name = _NAME.match(text, start)
    if name is None:
        raise ExpansionError("a ${ is not followed by a name; write $${ for a literal one")
    value = find(name.group())
    end = name.end()
    if text.startswith("}", end):
        if value is None:
            raise ExpansionError(f"it refers to {name.group()}, which is not set")
        return value, end + 1
    if text.startswith(":-", end):
        default, after = _until(text, end + 2, _skip if value else find, depth + 1)
        return value or default, after
    raise ExpansionError("a ${NAME is not followed by } or :-; write $${ for a literal one")


def _skip(_name: str) -> str:
    """Stand in for variables whose value is not needed."""
    return ""
