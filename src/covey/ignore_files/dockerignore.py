"""What a .dockerignore or .containerignore leaves out of a build's context.

As Docker's patternmatcher has it: a pattern also matches all that is below what it matches, and
the last pattern that matches decides.
"""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class _Pattern:
    text: str
    matches: re.Pattern[str]
    keeps: bool


class DockerIgnore:
    """The patterns of one file."""

    def __init__(self, content: str) -> None:
        self._patterns = tuple(
            pattern for line in content.split("\n") if (pattern := _parse(line)) is not None
        )

    def leaves_out(self, path: str) -> bool:
        """Tell whether a path, relative to the context and with slashes, is left out."""
        out = False
        parts = path.split("/")
        above = ["/".join(parts[: count + 1]) for count in range(len(parts))]
        for pattern in self._patterns:
            if pattern.keeps == out and any(pattern.matches.fullmatch(one) for one in above):
                out = not pattern.keeps
        return out

    def may_keep_below(self, path: str) -> bool:
        """Tell whether something in a directory that is left out may be kept by a `!` pattern."""
        return any(
            pattern.keeps
            and (pattern.text.startswith(f"{path}/") or any(c in pattern.text for c in "*?[\\"))
            for pattern in self._patterns
        )


def _parse(line: str) -> _Pattern | None:
    text = line.removeprefix("\ufeff")
    if text.startswith("#"):
        return None
    text = text.strip()
    keeps = text.startswith("!")
    text = text.removeprefix("!").strip()
    if not text:
        return None
    text = posixpath.normpath(text).lstrip("/")
    if text in {"", "."}:
        return None
    try:
        return _Pattern(text, re.compile(_expression(text), re.DOTALL), keeps)
    except re.error:
        return None


def _expression(text: str) -> str:
    found = []
    at = 0
    while at < len(text):
        letter = text[at]
        at += 1
        if text.startswith("**", at - 1):
            at += 1
            if text.startswith("/", at):
                at += 1
                found.append("(?:.*/)?")
            else:
                found.append(".*" if at == len(text) else "(?:.*/)?")
        elif letter == "*":
            found.append("[^/]*")
        elif letter == "?":
            found.append("[^/]")
        elif letter == "[" and (end := text.find("]", at + 1)) >= 0:
            inside = text[at:end]
            at = end + 1
            found.append(f"[{inside}]")
        elif letter == "\\" and at < len(text):
            found.append(re.escape(text[at]))
            at += 1
        else:
            found.append(re.escape(letter))
    return "".join(found)
