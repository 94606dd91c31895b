"""The patterns of a .gitignore, as git's own dir.c and wildmatch.c match them (gitignore(5)).

Paths and patterns are bytes, as they are to git: `?` stands for one byte.
"""

from __future__ import annotations

import re
import string
from collections.abc import Sequence
from dataclasses import dataclass

_SLASH = ord("/")
_SPECIAL = re.compile(rb"[*?\[\\]")
_NEVER = rb"(?!)"
_BOM = b"\xef\xbb\xbf"
_CLASSES = {
    b"alnum": string.ascii_letters + string.digits,
    b"alpha": string.ascii_letters,
    b"blank": " \t",
    b"cntrl": "".join(map(chr, (*range(32), 127))),
    b"digit": string.digits,
    b"graph": string.ascii_letters + string.digits + string.punctuation,
    b"lower": string.ascii_lowercase,
    b"print": string.ascii_letters + string.digits + string.punctuation + " ",
    b"punct": string.punctuation,
    b"space": string.whitespace,
    b"upper": string.ascii_uppercase,
    b"xdigit": string.hexdigits,
}


@dataclass(frozen=True, slots=True)
class _Pattern:
    matches: re.Pattern[bytes]
    ignores: bool
    only_directories: bool
    by_name: bool


class GitIgnore:
    """The patterns of one file."""

    def __init__(self, content: bytes, *, ignore_case: bool = False) -> None:
        flags = re.DOTALL | (re.IGNORECASE if ignore_case else re.NOFLAG)
        lines = content.removeprefix(_BOM).split(b"\n")
        found = [_parse(line, flags) for line in lines if line and not line.startswith(b"#")]
        self._patterns = tuple(reversed(found))
        # Most paths are named by no pattern, which one look at all of them tells.
        self._names = _any_of([item for item in found if item.by_name], flags)
        self._paths = _any_of([item for item in found if not item.by_name], flags)

    def decide(self, path: bytes, *, is_directory: bool) -> bool | None:
        """Return whether a path is ignored; None if no pattern names it.

        The path is relative to the file's directory. Of a directory that is ignored, all is: that
        is for whoever walks.
        """
        name = path.rpartition(b"/")[2]
        if not (self._names.fullmatch(name) or self._paths.fullmatch(path)):
            return None
        for pattern in self._patterns:
            if pattern.only_directories and not is_directory:
                continue
            if pattern.matches.fullmatch(name if pattern.by_name else path):
                return pattern.ignores
        return None


def _any_of(patterns: Sequence[_Pattern], flags: int) -> re.Pattern[bytes]:
    each = b"|".join(pattern.matches.pattern for pattern in patterns)
    return re.compile(b"(?:%b)" % each if patterns else _NEVER, flags)


def _parse(line: bytes, flags: int) -> _Pattern:
    text = _trimmed(line.removesuffix(b"\r").partition(b"\0")[0])
    ignores = not text.startswith(b"!")
    text = text.removeprefix(b"!")
    only_directories = text.endswith(b"/")
    text = text.removesuffix(b"/")
    by_name = b"/" not in text
    text = text.removeprefix(b"/")
    special = _SPECIAL.search(text)
    # What follows the plain beginning is matched as if it were a pattern of its own.
    plain = len(text) if special is None else special.start()
    expression = re.escape(text[:plain]) + _expression(text[plain:])
    return _Pattern(re.compile(expression, flags), ignores, only_directories, by_name)


def _trimmed(line: bytes) -> bytes:
    """Take the spaces off the end, except one that a backslash precedes."""
    end = at = 0
    while at < len(line):
        escaped = line[at : at + 1] == b"\\"
        if escaped or line[at : at + 1] != b" ":
            end = at + 1 + escaped
        at += 1 + escaped
    return line[:end]


def _expression(pattern: bytes) -> bytes:
    found: list[bytes] = []
    at = 0
    while at < len(pattern):
        part, at = _part(pattern, at)
        if part is None:
            return _NEVER
        found.append(part)
    return b"".join(found)


def _part(pattern: bytes, at: int) -> tuple[bytes | None, int]:
    """Translate what stands at one place; None for what nothing can match."""
    match pattern[at : at + 1]:
        case b"*":
            return _stars(pattern, at)
        case b"?":
            return rb"[^/]", at + 1
        case b"[":
            members, end = _members(pattern, at + 1)
            listed = b"".join(b"\\x%02x" % one for one in sorted(members))
            return (b"[%b]" % listed if members else None), end
        case b"\\":
            return re.escape(pattern[at + 1 : at + 2]) or None, at + 2
        case letter:
            return re.escape(letter), at + 1


def _stars(pattern: bytes, at: int) -> tuple[bytes, int]:
    end = at
    while pattern[end : end + 1] == b"*":
        end += 1
    whole = end - at > 1 and (at == 0 or pattern[at - 1] == _SLASH)
    if whole and pattern[end : end + 1] == b"/":
        return rb"(?:.*/)?", end + 1
    if whole and pattern[end : end + 2] in {b"", b"\\/"}:
        return rb".*", end
    return rb"[^/]*", end


def _members(pattern: bytes, at: int) -> tuple[set[int], int]:
    """Read what follows `[`; returns the bytes that fit, none for a bad set, and where it ends."""
    negated = pattern[at : at + 1] in {b"!", b"^"}
    at += negated
    first, before = at, -1
    found: set[int] = set()
    while at == first or pattern[at : at + 1] != b"]":
        letter = pattern[at : at + 1]
        after = pattern[at + 1 : at + 2]
        if letter == b"-" and before >= 0 and after not in {b"", b"]"}:
            at += 2 if after == b"\\" else 1
            if at >= len(pattern):
                return set(), at
            found |= set(range(before, pattern[at] + 1))
            before = -1
        elif letter == b"[" and after == b":" and (end := pattern.find(b"]", at + 2)) != at + 2:
            name = pattern[at + 2 : end - 1]
            if end < 0:
                return set(), at
            if pattern[end - 1 : end] != b":" or end - 1 < at + 2:
                found.add(letter[0])
                before = letter[0]
            elif name not in _CLASSES:
                return set(), at
            else:
                found |= set(_CLASSES[name].encode())
                at, before = end, -1
        else:
            at += letter == b"\\"
            if at >= len(pattern):
                return set(), at
            found.add(pattern[at])
            before = pattern[at]
        at += 1
        if at >= len(pattern):
            return set(), at
    return (set(range(256)) - found if negated else found) - {_SLASH}, at + 1
