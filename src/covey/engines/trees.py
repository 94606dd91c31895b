"""Writing a directory tree that strangers made: no path leaves it, and its size is bounded."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from covey.errors import InvalidRequestError, StorageError, TooLargeError

_EPOCH_S = 978_307_200
_SPREAD_S = 1 << 28
_NS = 1_000_000_000
_LONGEST_PATH = 3000
_MOST_LEVELS = 250
_MOST_ROUNDS = 50
_TOO_LONG = {errno.ENAMETOOLONG, errno.ELOOP, errno.EINVAL, errno.EILSEQ}


@dataclass(frozen=True, slots=True)
class TreeLimits:
    """The most entries, bytes of their names, and bytes of files that a tree may have."""

    entries: int = 500_000
    names: int = 128 << 20
    bytes: int = 16 << 30


class TreeWriter:
    """Fills an empty directory; symbolic links come last, so that nothing is written through one.

    Files and directories are readable by all, whatever the umask: they end up in images. A file's
    time follows from its content (2001 to 2009), so that equal trees are equal for build caches,
    and changed files differ for web servers whose ETag is time and size.
    `checkpoint` is called now and then, and may raise to end the writing.
    """

    def __init__(
        self,
        root: Path,
        limits: TreeLimits = TreeLimits(),
        checkpoint: Callable[[], None] = lambda: None,
    ) -> None:
        self._root = root
        self._limits = limits
        self._checkpoint = checkpoint
        self._entries = 0
        self._names = 0
        self._bytes = 0
        self._directories = {""}
        self._files: set[str] = set()
        self._links: dict[str, str] = {}

    def directory(self, path: str) -> None:
        """Make a directory and those above it; it may exist."""
        path = _checked(path)
        if path in self._directories:
            return
        parent = path.rpartition("/")[0]
        self.directory(parent)
        self._add(path)
        with _translated(path):
            target = self._root / path
            target.mkdir(0o755)
            target.chmod(0o755)
        self._directories.add(path)

    def file(self, path: str, chunks: Iterable[bytes], *, executable: bool = False) -> None:
        """Write a file that must be new."""
        path = _checked(path)
        self.directory(path.rpartition("/")[0])
        self._add(path)
        self._files.add(path)
        digest = hashlib.blake2b(digest_size=8)
        with _translated(path):
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            with os.fdopen(os.open(self._root / path, flags, 0o600), "wb", 0) as file:
                for chunk in chunks:
                    self._checkpoint()
                    self._count(len(chunk))
                    digest.update(chunk)
                    view = memoryview(chunk)
                    while view:
                        view = view[file.write(view) :]
                os.fchmod(file.fileno(), 0o755 if executable else 0o644)
                at = _time_of(digest.digest())
                os.utime(file.fileno(), ns=(at, at))

    def link(self, path: str, target: str) -> None:
        """Note a symbolic link, to be made by `finish`."""
        path = _checked(path)
        if not target or "\0" in target or len(target) > _LONGEST_PATH:
            raise InvalidRequestError(f"The symbolic link {_shown(path)} has no valid target.")
        self.directory(path.rpartition("/")[0])
        self._add(path)
        self._links[path] = target

    def finish(self) -> list[str]:
        """Make the links and the directories' times; returns the links that led out, not made."""
        root = self._root.resolve()
        made: dict[str, Path] = {}
        left_out = []
        for path, target in sorted(self._links.items()):
            if target.startswith("/"):
                left_out.append(path)
                continue
            with _translated(path):
                (self._root / path).symlink_to(target)
            made[path] = root / path
        for _ in range(_MOST_ROUNDS):
            escaping = self._escaping(made, root)
            for path in escaping:
                made.pop(path).unlink()
            left_out += escaping
            if not escaping:
                break
        else:
            raise InvalidRequestError("The symbolic links of the source lead through each other.")
        for path in sorted(self._directories, reverse=True):
            os.utime(self._root / path, ns=(_EPOCH_S * _NS, _EPOCH_S * _NS))
        return sorted(left_out)

    def _escaping(self, made: Mapping[str, Path], root: Path) -> list[str]:
        found = []
        for path, link in made.items():
            self._checkpoint()
            if not _inside(link, root):
                found.append(path)
        return found

    def _add(self, path: str) -> None:
        if path in self._directories or path in self._files or path in self._links:
            raise InvalidRequestError(f"{_shown(path)} is in the source twice.")
        self._entries += 1
        self._names += len(path)
        self._checkpoint()
        if self._entries > self._limits.entries or self._names > self._limits.names:
            raise TooLargeError(
                f"The source has more than {self._limits.entries} files.",
                hint="Leave out what the build does not need, by .gitignore or a sub-directory",
            )

    def _count(self, size: int) -> None:
        self._bytes += size
        if self._bytes > self._limits.bytes:
            raise TooLargeError(
                f"The source has more than {self._limits.bytes >> 20} MiB of files.",
                hint="Leave out what the build does not need, by .gitignore or a sub-directory",
            )


def empty_directory(path: Path) -> None:
    """Make a directory, or remove all that is in it; raises `StorageError`."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        for left in path.iterdir():
            if left.is_dir() and not left.is_symlink():
                shutil.rmtree(left)
            else:
                left.unlink()
    except OSError as error:
        raise StorageError(
            f"{path} cannot be written: {error.strerror}.",
            hint="Check the permissions of Covey's state directory: covey doctor",
        ) from error


def _inside(link: Path, root: Path) -> bool:
    try:
        return link.resolve().is_relative_to(root)
    except (OSError, RuntimeError):  # a loop
        return False


def _time_of(digest: bytes) -> int:
    number = int.from_bytes(digest, "big")
    return (_EPOCH_S + number % _SPREAD_S) * _NS + (number // _SPREAD_S) % _NS


def _checked(path: str) -> str:
    """Return a relative path without dots; raises `InvalidRequestError` for any other."""
    if path == "":
        return path
    parts = path.split("/")
    bad = any(part in {"", ".", ".."} or part.lower() == ".git" for part in parts)
    if bad or "\0" in path:
        raise InvalidRequestError(f"The source holds the path {_shown(path)}, which is not safe.")
    if len(path) > _LONGEST_PATH or len(parts) > _MOST_LEVELS:
        raise InvalidRequestError(f"The source holds the path {_shown(path)}, which is too long.")
    return path


def _shown(path: str) -> str:
    return ascii(path[:100])


class _translated:  # noqa: N801 - used like a function
    """Turns what the file system refuses into errors for the user."""

    def __init__(self, path: str) -> None:
        self._path = path

    def __enter__(self) -> None:
        return None

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if isinstance(error, FileExistsError):
            raise InvalidRequestError(
                f"{_shown(self._path)} is in the source twice, for this file system."
            ) from error
        if isinstance(error, OSError) and error.errno in _TOO_LONG:
            raise InvalidRequestError(
                f"This file system does not take the path {_shown(self._path)}."
            ) from error
        if isinstance(error, OSError):
            raise StorageError(
                f"The source cannot be written: {error.strerror}.",
                hint="Check the free space of Covey's state directory: covey doctor",
            ) from error
        if isinstance(error, (UnicodeError, ValueError)) and not isinstance(error, OSError):
            raise InvalidRequestError(
                f"This file system does not take the path {_shown(self._path)}."
            ) from error
