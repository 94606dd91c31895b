"""Reading: listings, contents with their holes and checksums, and the trees that are sent."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime

from covey.errors import ConflictError, NotFoundError
from covey.remote.files.failures import shown
from covey.remote.files.flags import DIRECTORY, LOOK
from covey.remote.files.model import DIGEST_BYTES, MODE_BITS, Entry, FileInfo, FileKind
from covey.remote.files.roots import Place

CHUNK = 512 << 10
_ZEROS = bytes(CHUNK)


def kind_of(mode: int) -> FileKind:
    """Return what a mode says of the file."""
    if stat.S_ISREG(mode):
        return FileKind.FILE
    if stat.S_ISDIR(mode):
        return FileKind.DIRECTORY
    return FileKind.SYMLINK if stat.S_ISLNK(mode) else FileKind.OTHER


def new_hash() -> hashlib.blake2b:
    """Return the hash of contents."""
    return hashlib.blake2b(digest_size=DIGEST_BYTES)


def describe(directory: int, name: bytes, path: str) -> FileInfo:
    """Describe what stands at a name; raises `OSError`."""
    found = os.stat(name, dir_fd=directory, follow_symlinks=False)
    kind = kind_of(found.st_mode)
    target = None
    if kind is FileKind.SYMLINK:
        target = shown(os.readlink(name, dir_fd=directory))
    return FileInfo(
        path=path,
        kind=kind,
        size=found.st_size,
        mode=f"{stat.S_IMODE(found.st_mode):04o}",
        modified=_iso(found.st_mtime),
        user=_user(found.st_uid),
        group=_group(found.st_gid),
        target=target,
    )


def list_directory(place: Place) -> list[bytes]:
    """Return the names in a directory, sorted; raises `OSError`."""
    descriptor = os.open(place.at, DIRECTORY, dir_fd=place.directory)
    try:
        return sorted(os.fsencode(name) for name in os.listdir(descriptor))
    finally:
        os.close(descriptor)


def open_content(directory: int, name: bytes, path: str) -> tuple[int, os.stat_result]:
    """Open a regular file; raises `ConflictError` for another kind, and `OSError`."""
    try:
        descriptor = os.open(name, LOOK, dir_fd=directory)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise ConflictError(f"{path} is a link.", hint="Name what it leads to.") from error
        if error.errno == errno.ENXIO:
            raise ConflictError(f"{path} is not a regular file.") from error
        raise
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode):
        os.close(descriptor)
        what = "a directory" if stat.S_ISDIR(found.st_mode) else "not a regular file"
        raise ConflictError(f"{path} is {what}.")
    return descriptor, found


def read_fully(descriptor: int, offset: int, count: int) -> bytes:
    """Read `count` bytes at an offset, fewer only at the end."""
    parts = []
    while count > 0:
        data = os.pread(descriptor, count, offset)
        if not data:
            break
        parts.append(data)
        offset += len(data)
        count -= len(data)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def hash_content(
    descriptor: int, length: int, hasher: hashlib.blake2b | None = None, at: int = 0
) -> hashlib.blake2b:
    """Hash the first `length` bytes, from `at` on; of fewer, those that there are."""
    hasher = hasher or new_hash()
    while at < length:
        data = read_fully(descriptor, at, min(CHUNK, length - at))
        if not data:
            break
        hasher.update(data)
        at += len(data)
    return hasher


def hash_zeros(hasher: hashlib.blake2b, length: int) -> None:
    """Hash so many zeros."""
    while length > 0:
        count = min(length, CHUNK)
        hasher.update(memoryview(_ZEROS)[:count])
        length -= count


def segments(
    descriptor: int, size: int, blocks: int, start: int
) -> Iterator[tuple[int, int, bool]]:
    """Yield offset, end and whether there is data, in order from `start` to `size`.

    `blocks` of 512 bytes are what the file takes: one that takes its size has no holes.
    """
    seek_data = getattr(os, "SEEK_DATA", None)
    if seek_data is None or blocks * 512 >= size:
        if start < size:
            yield start, size, True
        return
    at = start
    while at < size:
        try:
            data = min(os.lseek(descriptor, at, seek_data), size)
        except OSError as error:
            if error.errno != errno.ENXIO:
                # A file system without holes.
                yield at, size, True
                return
            data = size
        if data > at:
            yield at, data, False
        if data < size:
            end = min(os.lseek(descriptor, data, os.SEEK_HOLE), size)
            yield data, end, True
            data = end
        at = data


@dataclass(frozen=True, slots=True)
class Source:
    """One file of a tree that is sent: where it is below its top, and as it was when listed."""

    top: int
    path: bytes
    entry: Entry


class SourceTree:
    """The trees that are sent: listed once, then opened file by file, no link followed.

    Each top is an open directory and the name in it that is offered.
    """

    def __init__(self) -> None:
        self._tops: list[int] = []
        self._cached: dict[tuple[int, bytes], int] = {}
        self.sources: dict[int, Source] = {}
        self.damaged: list[tuple[bytes, str]] = []
        self._next = 0

    def add(self, place: Place, offered: bytes) -> Iterator[Entry]:
        """Offer what stands at a place, and all below it, as `offered`; raises `OSError`."""
        top = len(self._tops)
        self._tops.append(os.dup(place.directory))
        yield from self._walk(top, place.at, offered, place.stat())

    def open(self, number: int) -> tuple[int, os.stat_result]:
        """Open a file's content by its number; raises `OSError`, `ConflictError`."""
        source = self.sources.get(number)
        if source is None:
            raise NotFoundError(f"There is no file {number} in the tree that was offered.")
        parent, _, name = source.path.rpartition(b"/")
        return open_content(self._directory(source.top, parent), name, shown(source.path))

    def close(self) -> None:
        """Close the directories."""
        for descriptor in (*self._cached.values(), *self._tops):
            os.close(descriptor)
        self._cached.clear()
        self._tops.clear()

    def _walk(
        self, top: int, path: bytes, offered: bytes, found: os.stat_result
    ) -> Iterator[Entry]:
        yield self._entry(top, path, offered, found)
        if not stat.S_ISDIR(found.st_mode):
            return
        try:
            directory = self._open_directory(top, path)
        except OSError as error:
            self.damaged.append((offered, error.strerror or "unreadable"))
            return
        try:
            names = sorted(os.fsencode(name) for name in os.listdir(directory))
        finally:
            os.close(directory)
        for name in names:
            below = b"/".join((path, name)) if path != b"." else name
            shown_as = b"/".join((offered, name)) if offered else name
            try:
                child = self._stat(top, below)
            except OSError as error:
                if error.errno != errno.ENOENT:
                    self.damaged.append((shown_as, error.strerror or "unreadable"))
                continue
            yield from self._walk(top, below, shown_as, child)

    def _entry(self, top: int, path: bytes, offered: bytes, found: os.stat_result) -> Entry:
        kind = kind_of(found.st_mode)
        target = b""
        if kind is FileKind.SYMLINK:
            parent, _, name = path.rpartition(b"/")
            target = os.readlink(name, dir_fd=self._directory(top, parent))
        entry = Entry(
            number=self._next,
            path=offered,
            kind=kind,
            size=found.st_size if kind is FileKind.FILE else 0,
            mode=found.st_mode & MODE_BITS,
            mtime_ns=found.st_mtime_ns,
            target=target,
        )
        self._next += 1
        if kind is FileKind.FILE:
            self.sources[entry.number] = Source(top, path, entry)
        return entry

    def _stat(self, top: int, path: bytes) -> os.stat_result:
        parent, _, name = path.rpartition(b"/")
        return os.stat(name, dir_fd=self._directory(top, parent), follow_symlinks=False)

    def _open_directory(self, top: int, path: bytes) -> int:
        parent, _, name = path.rpartition(b"/")
        return os.open(name, DIRECTORY, dir_fd=self._directory(top, parent))

    def _directory(self, top: int, path: bytes) -> int:
        """Return a directory below a top, walked name by name; the last few stay open."""
        if not path:
            return self._tops[top]
        key = (top, path)
        found = self._cached.pop(key, None)
        if found is None:
            parent, _, name = path.rpartition(b"/")
            found = os.open(name, DIRECTORY, dir_fd=self._directory(top, parent))
            while len(self._cached) >= _MOST_OPEN:
                os.close(self._cached.pop(next(iter(self._cached))))
        self._cached[key] = found
        return found


_MOST_OPEN = 64


def _iso(seconds: float) -> str:
    try:
        return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
    except (OverflowError, ValueError, OSError):
        return str(seconds)


def _user(uid: int) -> str:
    with suppress(ImportError, KeyError):
        import pwd  # noqa: PLC0415 - not everywhere

        return pwd.getpwuid(uid).pw_name
    return str(uid)


def _group(gid: int) -> str:
    with suppress(ImportError, KeyError):
        import grp  # noqa: PLC0415 - not everywhere

        return grp.getgrgid(gid).gr_name
    return str(gid)
