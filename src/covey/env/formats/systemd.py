"""systemd's EnvironmentFile (systemd.exec(5)), read by the state machine of systemd itself."""

from __future__ import annotations

import re
from collections.abc import Mapping

from covey.env.formats.entry import Entry, check_entry_name, malformed, sorted_items, unfit

_WHAT = "systemd EnvironmentFile"
_NEED_ESCAPE = '"\\`$'
_ENDS = "\n\r"
_BLANK = " \t\n\r"
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
_HEAD = re.compile(r"([^=\n\r]*)=")


def parse(text: str) -> list[Entry]:
    """Read an EnvironmentFile; raises `InvalidRequestError` naming the line."""
    entries: list[Entry] = []
    at = 0
    while at < len(text):
        if text[at] in _BLANK:
            at += 1
            continue
        line = text.count("\n", 0, at) + 1
        if text[at] in "#;":
            at = _comment_end(text, at)
            continue
        head = _HEAD.match(text, at)
        if head is None:
            raise malformed(_WHAT, line, "it has no =")
        name = check_entry_name(_WHAT, head.group(1).strip(" \t"), line)
        value, at = _value(text, head.end(), line)
        entries.append(Entry(name, value, line))
    return entries


def write(values: Mapping[str, str]) -> str:
    """Write an EnvironmentFile; refuses values that systemd would drop."""
    lines = []
    for name, value in sorted_items(values):
        if _CONTROL.search(value):
            raise unfit(
                "A systemd EnvironmentFile",
                name,
                "its value has control characters, which systemd refuses",
                "Export it as json, or leave it out of the file.",
            )
        escaped = re.sub(r'["\\`$]', lambda found: "\\" + found.group(), value)
        lines.append(f'{name}="{escaped}"\n')
    return "".join(lines)


def _comment_end(text: str, at: int) -> int:
    """Return the position after a comment; a backslash takes the next line into it."""
    while at < len(text) and text[at] not in _ENDS:
        at += 2 if text[at] == "\\" else 1
    return at + 1


def _value(text: str, at: int, line: int) -> tuple[str, int]:
    parts: list[str] = []
    while at < len(text):
        char = text[at]
        if char in _ENDS:
            return "".join(parts), at + 1
        if char in " \t":
            at += 1
        elif char == "'":
            end = text.find("'", at + 1)
            if end < 0:
                raise malformed(_WHAT, line, "its ' is never closed")
            parts.append(text[at + 1 : end])
            at = end + 1
        elif char == '"':
            part, at = _double(text, at + 1, line)
            parts.append(part)
        else:
            part, at = _bare(text, at)
            parts.append(part)
            return "".join(parts), at
    return "".join(parts), at


def _bare(text: str, at: int) -> tuple[str, int]:
    """Read an unquoted value to the end of its line: quotes in it are plain characters."""
    parts: list[str] = []
    kept = 0
    while at < len(text) and text[at] not in _ENDS:
        if text[at] == "\\":
            following = text[at + 1 : at + 2]
            if following not in _ENDS:
                parts.append(following)
                kept = len(parts)
            at += 2
            continue
        parts.append(text[at])
        if text[at] not in " \t":
            kept = len(parts)
        at += 1
    return "".join(parts[:kept]), at + 1


def _double(text: str, at: int, line: int) -> tuple[str, int]:
    parts: list[str] = []
    while at < len(text):
        char = text[at]
        if char == '"':
            return "".join(parts), at + 1
        if char == "\\" and at + 1 < len(text):
            following = text[at + 1]
            if following in _NEED_ESCAPE:
                parts.append(following)
            elif following != "\n":
                parts.append("\\" + following)
            at += 2
            continue
        parts.append(char)
        at += 1
    raise malformed(_WHAT, line, 'its " is never closed')
