"""`.gitmodules` and `.lfsconfig`: files in the form of git-config(1), written by strangers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from covey.errors import InvalidRequestError

_SECTION = re.compile(r'\[\s*([A-Za-z0-9.-]+)(?:\s+"((?:[^"\\]|\\.)*)")?\s*\]')
_KEY = re.compile(r"[A-Za-z][A-Za-z0-9-]*")
_LARGEST = 1 << 20
_ESCAPED = {"n": "\n", "t": "\t", "b": "\b"}


@dataclass(frozen=True, slots=True)
class Setting:
    """One variable; `section` and `key` are in lower case, `name` is the subsection."""

    section: str
    name: str
    key: str
    value: str


def read_settings(content: bytes | None) -> Iterator[Setting]:
    """Yield the variables, in time linear in the file; raises `InvalidRequestError` if it is large.

    Lines that are none are passed over, and so are values over several lines.
    """
    if content is None:
        return
    if len(content) > _LARGEST:
        raise InvalidRequestError("A file of git's settings in the source is over 1 MiB.")
    section: tuple[str, str] | None = None
    for line in content.decode("utf-8", "surrogateescape").split("\n"):
        text = line.strip()
        if text.startswith("["):
            match = _SECTION.match(text)
            section = (match[1].lower(), _plain(match[2] or "")) if match else None
            text = text[match.end() :].strip() if match else ""
        key, mark, value = text.partition("=")
        key = key.strip()
        if section is not None and mark and _KEY.fullmatch(key):
            yield Setting(*section, key.lower(), _value(value.strip()))


def _plain(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text)


def _value(text: str) -> str:
    found: list[str] = []
    quoted = False
    length = at = 0
    while at < len(text):
        letter = text[at]
        if letter == '"':
            quoted = not quoted
        elif letter in "#;" and not quoted:
            break
        elif letter == "\\":
            at += 1
            found.append(_ESCAPED.get(text[at : at + 1], text[at : at + 1]))
        else:
            found.append(letter)
        if quoted or not letter.isspace():
            length = len(found)
        at += 1
    return "".join(found[:length])
