"""Reading a tar archive as a stream: ustar, pax and GNU's long names (tar(5)), in bounded memory.

The standard library keeps every member that it has seen, and reads extended headers by regular
expressions whose time is quadratic: an archive of a few MiB stops a whole process.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

_BLOCK = 512
_CHUNK = 1 << 20
_LONGEST_HEADER = 64 << 10
_MOST_HEADERS = 16
_MOST_PADDING = 1 << 20
_CHECKSUM = slice(148, 156)
_LARGEST = 1 << 62


class TarError(Exception):
    """This is no tar archive, or one that is damaged or made to harm."""


class Readable(Protocol):
    """What is read from: fewer bytes than asked for mean the end."""

    def read(self, size: int, /) -> bytes:
        """Return the next bytes."""
        ...


class Kind(Enum):
    """What a member is; everything but files, directories and symbolic links is OTHER."""

    FILE = "file"
    DIRECTORY = "directory"
    LINK = "link"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class TarMember:
    """One member; `target` is a link's. Names hold what is no UTF-8 as surrogates."""

    name: str
    kind: Kind
    size: int
    executable: bool
    target: str


class TarStream:
    """Iterates over the members; the content of one must be taken before the next, or is lost."""

    def __init__(self, file: Readable) -> None:
        self._file = file
        self._left = 0
        self._padding = 0
        self._begun = False

    def __iter__(self) -> Iterator[TarMember]:
        """Yield the members; raises `TarError`, and what reading the file raises."""
        while (member := self._next()) is not None:
            yield member

    def content(self) -> Iterator[bytes]:
        """Yield the content of the present member."""
        while self._left:
            chunk = self._file.read(min(_CHUNK, self._left))
            if not chunk:
                raise TarError("the archive ends within a file")
            self._left -= len(chunk)
            yield chunk

    def _next(self) -> TarMember | None:
        for _ in self.content():
            pass
        self._read(self._padding)
        extended: dict[bytes, bytes] = {}
        for _ in range(_MOST_HEADERS):
            header = self._header()
            if header is None:
                if extended:
                    raise TarError("an extended header stands alone")
                return None
            match header[156:157]:
                case b"x":
                    extended |= _records(self._extension(header))
                case b"g":  # of the whole archive, such as git's commit: nothing that is used
                    self._extension(header)
                case b"L":
                    extended[b"path"] = self._extension(header).partition(b"\0")[0]
                case b"K":
                    extended[b"linkpath"] = self._extension(header).partition(b"\0")[0]
                case _:
                    return self._member(header, extended)
        raise TarError("a member has too many extended headers")

    def _header(self) -> bytes | None:
        """Return the next header, or None at the end of the archive."""
        header = self._file.read(_BLOCK)
        if not header and self._begun:
            return None
        if len(header) < _BLOCK:
            raise TarError("the archive is cut off")
        if not any(header):
            # Its compression ends with a checksum of it all.
            if len(self._file.read(_MOST_PADDING)) == _MOST_PADDING:
                raise TarError("something follows the end")
            return None
        summed = sum(header) - sum(header[_CHECKSUM]) + len(header[_CHECKSUM]) * ord(" ")
        if _number(header[_CHECKSUM]) != summed:
            raise TarError("a header's checksum is wrong")
        self._begun = True
        return header

    def _extension(self, header: bytes) -> bytes:
        size = _number(header[124:136])
        if size > _LONGEST_HEADER:
            raise TarError("an extended header is too long")
        found = self._read(size)
        self._read(-size % _BLOCK)
        return found

    def _member(self, header: bytes, extended: dict[bytes, bytes]) -> TarMember:
        name = header[:100].partition(b"\0")[0]
        prefix = header[345:500].partition(b"\0")[0]
        if header[257:263] == b"ustar\0" and prefix:
            name = prefix + b"/" + name
        name = extended.get(b"path", name)
        size = _decimal(extended[b"size"]) if b"size" in extended else _number(header[124:136])
        kind = _kind(header[156:157], name)
        if any(key.startswith(b"GNU.sparse") for key in extended):
            kind = Kind.OTHER
        if kind is Kind.FILE:
            self._left, self._padding = size, -size % _BLOCK
        else:
            self._left = self._padding = 0
        return TarMember(
            _text(name),
            kind,
            self._left,
            bool(_number(header[100:108]) & 0o111),
            _text(extended.get(b"linkpath", header[157:257].partition(b"\0")[0])),
        )

    def _read(self, size: int) -> bytes:
        found = self._file.read(size) if size else b""
        if len(found) < size:
            raise TarError("the archive is cut off")
        return found


def _kind(flag: bytes, name: bytes) -> Kind:
    match flag:
        case b"0" | b"\0" | b"7":
            return Kind.DIRECTORY if flag == b"\0" and name.endswith(b"/") else Kind.FILE
        case b"5":
            return Kind.DIRECTORY
        case b"2":
            return Kind.LINK
        case _:
            return Kind.OTHER


def _number(field: bytes) -> int:
    """Read an octal number, or GNU's binary one."""
    if field[0] & 0x80:
        found = int.from_bytes(bytes([field[0] & 0x7F]) + field[1:], "big")
    else:
        digits = field.partition(b"\0")[0].strip()
        if digits.strip(b"01234567"):
            raise TarError("a number in a header is none")
        found = int(digits or b"0", 8)
    if found > _LARGEST:
        raise TarError("a number in a header is too large")
    return found


def _decimal(text: bytes) -> int:
    if not text.isdigit() or len(text) > len(str(_LARGEST)):
        raise TarError("a size in a header is no number")
    return int(text)


def _records(data: bytes) -> dict[bytes, bytes]:
    """Read pax records: `LENGTH KEY=VALUE` and a line end, where LENGTH counts all of it."""
    found: dict[bytes, bytes] = {}
    at = 0
    while at < len(data) and data[at]:
        space = data.find(b" ", at, at + len(str(_LONGEST_HEADER)) + 1)
        if space < 0:
            raise TarError("an extended header has a record without a length")
        end = at + _decimal(data[at:space])
        key, mark, value = data[space + 1 : end].partition(b"=")
        if end <= space or not mark or not value.endswith(b"\n") or end > len(data):
            raise TarError("an extended header has a record of a wrong length")
        found[key] = value[:-1]
        at = end
    return found


def _text(name: bytes) -> str:
    return name.decode("utf-8", "surrogateescape")
