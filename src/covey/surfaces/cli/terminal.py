"""What the terminal can show: its width, its colours, and text that cannot take it over."""

from __future__ import annotations

import os
import re
import shutil
import unicodedata
from collections.abc import Mapping
from typing import IO

NARROW = 80
"""Columns that are assumed for a terminal that does not tell."""

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")
_STYLES = {
    "bold": "1",
    "dim": "2",
    "red": "31",
    "green": "32",
    "yellow": "33",
    "cyan": "36",
}


def wants_colour(stream: IO[str], environ: Mapping[str, str] = os.environ) -> bool:
    """Whether to colour: on a terminal only, and not against NO_COLOR (no-color.org)."""
    return stream.isatty() and not environ.get("NO_COLOR") and environ.get("TERM") != "dumb"


def width_of(stream: IO[str]) -> int | None:
    """Return the terminal's columns, or None when the output goes elsewhere and has no width."""
    if not stream.isatty():
        return None
    return max(shutil.get_terminal_size((NARROW, 24)).columns, 20)


def paint(text: str, style: str, *, colour: bool) -> str:
    """Wrap text in a style's escape sequence."""
    return f"\x1b[{_STYLES[style]}m{text}\x1b[0m" if colour else text


def printable(text: str) -> str:
    """Return text with the control characters shown instead of obeyed; tabs and newlines stay."""
    return _CONTROL.sub(lambda match: repr(match[0])[1:-1], text)


def one_line(text: str) -> str:
    """Return text that stays on one line of a table."""
    return printable(text).replace("\n", "\\n").replace("\t", "\\t")


def display_width(text: str) -> int:
    """Return how many columns a text takes, with wide and combining characters."""
    if text.isascii():
        return len(text)
    total = 0
    for char in text:
        if unicodedata.combining(char):
            continue
        total += 2 if unicodedata.east_asian_width(char) in {"W", "F"} else 1
    return total


def fit(text: str, columns: int) -> str:
    """Cut text to a number of columns, with an ellipsis for what is gone."""
    if display_width(text) <= columns:
        return text
    kept, used = [], 0
    for char in text:
        used += display_width(char)
        if used > columns - 1:
            break
        kept.append(char)
    return "".join(kept) + "…"


def pad(text: str, columns: int) -> str:
    """Fill text with spaces to a number of columns."""
    return text + " " * (columns - display_width(text))
