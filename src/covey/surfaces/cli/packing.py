"""Packing a directory for its upload: what .gitignore leaves, as a tar archive without times."""

from __future__ import annotations

import gzip
import hashlib
import os
import stat
import tarfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from covey.errors import InvalidRequestError
from covey.surfaces.cli.ignoring import Ignoring

_LEVEL = 4
_BLOCK = 1 << 20
_OPEN = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)


@dataclass(frozen=True, slots=True)
class Entry:
    """A file, directory or link to be packed; `path` is below the directory, with slashes.

    `changed` is when its content did, in nanoseconds; the archive does not hold it.
    """

    path: str
    mode: int
    size: int = 0
    target: str = ""
    changed: int = 0


@dataclass(slots=True)
class Survey:
    """What is to be packed, and what was left out for a reason that its owner should know."""

    entries: list[Entry] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(entry.size for entry in self.entries)

    def largest(self, count: int = 5) -> list[tuple[str, int]]:
        """Return what takes most room: the names at the top, then files in them."""
        sizes: Counter[str] = Counter()
        for entry in self.entries:
            top, _, rest = entry.path.partition("/")
            sizes[f"{top}/" if rest else top] += entry.size
        return sizes.most_common(count)


@dataclass(frozen=True, slots=True)
class Packed:
    """A finished archive."""

    sha256: str
    size: int


def survey(directory: Path, ignoring: Ignoring) -> Survey:
    """Find what is to be packed, sorted by path; links are never followed.

    What vanishes meanwhile is not found. Raises `InvalidRequestError` for what cannot be read.
    """
    found = Survey()
    root = directory.resolve()
    for path, item in _walk(root, "", ignoring, found):
        mode, changed = item.st_mode, item.st_mtime_ns
        if stat.S_ISDIR(mode):
            found.entries.append(Entry(path, mode, changed=changed))
        elif stat.S_ISREG(mode):
            found.entries.append(Entry(path, mode, item.st_size, changed=changed))
        elif stat.S_ISLNK(mode):
            target = _target(root / path)
            if target is None:
                continue
            if _stays(root, path, target):
                found.entries.append(Entry(path, mode, 0, target, changed))
            else:
                found.left_out.append(f"{path}: the link leads out of the directory")
        else:
            found.left_out.append(f"{path}: it is no file")
    return found


def pack(
    directory: Path, found: Survey, file: IO[bytes], progress: Callable[[int], None]
) -> Packed:
    """Write the archive; the same files give the same bytes.

    Raises `InvalidRequestError` for a file that cannot be read or changes meanwhile.
    """
    root = directory.resolve()
    hashing = _Hashing(file)
    with (
        gzip.GzipFile("", "wb", _LEVEL, hashing, mtime=0) as plain,
        tarfile.open(fileobj=plain, mode="w|", format=tarfile.PAX_FORMAT) as tar,
    ):
        for entry in found.entries:
            _add(tar, root, entry)
            progress(entry.size)
    return Packed(hashing.digest.hexdigest(), hashing.size)


class _Hashing:
    """Counts and hashes what is written."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.digest = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes) -> int:
        self.digest.update(data)
        self.size += len(data)
        return self._file.write(data)

    def flush(self) -> None:
        self._file.flush()


def _walk(
    root: Path, prefix: str, ignoring: Ignoring, found: Survey
) -> Iterator[tuple[str, os.stat_result]]:
    here = root / prefix
    try:
        with os.scandir(here) as listing:
            items = sorted(listing, key=lambda item: item.name)
    except OSError as error:
        if prefix and isinstance(error, (FileNotFoundError, NotADirectoryError)):
            return
        raise _unreadable(here, error) from error
    inner = ignoring.enter(here, prefix)
    for item in items:
        path = f"{prefix}{item.name}"
        is_directory = item.is_dir(follow_symlinks=False)
        if item.name.lower() == ".git" or inner.leaves_out(path, is_directory=is_directory):
            continue
        if not item.name.isprintable():
            found.left_out.append(f"{path!r}: its name is not printable text")
            continue
        try:
            status = item.stat(follow_symlinks=False)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise _unreadable(here / item.name, error) from error
        yield path, status
        if is_directory:
            yield from _walk(root, f"{path}/", inner, found)


def _unreadable(path: Path, error: OSError) -> InvalidRequestError:
    return InvalidRequestError(
        f"{path} cannot be read: {error.strerror}.", hint="Check its permissions"
    )


def _target(link: Path) -> str | None:
    try:
        return str(link.readlink())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _unreadable(link, error) from error


def _stays(root: Path, path: str, target: str) -> bool:
    if Path(target).is_absolute():
        return False
    try:
        return (root / path).resolve().is_relative_to(root)
    except (OSError, RuntimeError):  # a loop
        return False


def _add(tar: tarfile.TarFile, root: Path, entry: Entry) -> None:
    member = tarfile.TarInfo(entry.path)
    if stat.S_ISDIR(entry.mode):
        member.type, member.mode = tarfile.DIRTYPE, 0o755
        tar.addfile(member)
    elif stat.S_ISLNK(entry.mode):
        member.type, member.mode, member.linkname = tarfile.SYMTYPE, 0o777, entry.target
        tar.addfile(member)
    else:
        member.mode = 0o755 if entry.mode & 0o111 else 0o644
        member.size = entry.size
        try:
            with os.fdopen(os.open(root / entry.path, _OPEN), "rb", _BLOCK) as content:
                tar.addfile(member, content)
                grew = bool(content.read(1))
        except OSError as error:
            raise _changed(entry, error) from error
        if grew:
            raise _changed(entry, None)


def _changed(entry: Entry, error: OSError | None) -> InvalidRequestError:
    if error is not None and error.strerror:
        return InvalidRequestError(
            f"{entry.path} cannot be read: {error.strerror}.",
            hint="Check its permissions, or leave it out by .gitignore",
        )
    return InvalidRequestError(
        f"{entry.path} changed while it was packed.", hint="Try again when it has settled"
    )
