"""Say in which line of a TOML text a key stands."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping

from covey.apps.config.tables import Path

_MOST_PARSED = 1 << 20


class Patience:
    """How many characters may still be parsed to find the lines of one file's problems."""

    def __init__(self, left: int = _MOST_PARSED) -> None:
        self.left = left


def find_line(text: str, path: Path, patience: Patience | None = None) -> int | None:
    """Return the line, from 1, of the statement that first defines `path` in valid TOML.

    Every statement ends at a line's end and leaves a valid document before it, and what is
    defined stays defined, so its end is found by halving. None for what is not there, or costs
    too much to find in a text that was made to be slow.
    """
    search = _Search(text, path, patience or Patience())
    low, top = 0, len(search.lines)
    if not search.defines(top):
        return None
    while top - low > 1:
        middle = (low + top) // 2
        end, found = search.next_boundary(middle, top)
        if search.patience.left <= 0:
            return None
        if found is False:
            low = end
        else:
            top = middle
    return low + 1


class _Search:
    def __init__(self, text: str, path: Path, patience: Patience) -> None:
        self.lines = text.split("\n")
        self.patience = patience
        self._path = path

    def next_boundary(self, start: int, stop: int) -> tuple[int, bool | None]:
        """Find the first whole beginning of the text from `start` lines on, below `stop`."""
        for end in range(start, stop):
            found = self.defines(end)
            if found is not None:
                return end, found
        return stop, None

    def defines(self, end: int) -> bool | None:
        """Whether the first `end` lines define the path; None if they are no whole document."""
        if self.patience.left <= 0:
            return None
        text = "\n".join(self.lines[:end])
        self.patience.left -= len(text) + 1
        try:
            return _contains(tomllib.loads(text), self._path)
        except (tomllib.TOMLDecodeError, RecursionError):
            return None


def _contains(found: object, path: Path) -> bool:
    for part in path:
        match part, found:
            case int(), list() if part < len(found):
                found = found[part]
            case str(), Mapping() if part in found:
                found = found[part]
            case _:
                return False
    return True
