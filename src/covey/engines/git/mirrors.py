"""Bare repositories that keep what was fetched, so that a second fetch is quick."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock

import pygit2
from pygit2.enums import RepositoryOpenFlag

from covey.apps.git_urls import GitUrl
from covey.errors import StorageError

_log = logging.getLogger("covey.apps")
_MOST_PACKS = 50
_PATIENCE_S = 60.0
_POLL_S = 0.1
_WHOLE = {".pack", ".idx", ".rev", ".keep"}


class Mirror:
    """The place of one repository; `renew` gives it up for an empty one elsewhere.

    libgit2 knows packs by their paths for as long as anything refers to them, so a path that held
    a damaged pack is not used again.
    """

    def __init__(self, directory: Path, name: str) -> None:
        self._directory = directory
        self._name = name
        self.path = next(iter(directory.glob(f"{name}-*.git")), self._fresh())

    def renew(self) -> None:
        """Remove what is there, and go on with an empty place."""
        remove(self.path)
        self.path = self._fresh()

    def _fresh(self) -> Path:
        return self._directory / f"{self._name}-{secrets.token_hex(4)}.git"


class Mirrors:
    """One repository for each URL and key: who has not the key finds nothing that it fetched."""

    def __init__(self, directory: Path, most_bytes: int) -> None:
        self._directory = directory
        self._most_bytes = most_bytes
        self._guard = Lock()
        self._locks: dict[str, Lock] = {}

    @contextmanager
    def use(self, url: GitUrl, key: str, checkpoint: Callable[[], None]) -> Iterator[Mirror]:
        """Hold one mirror's place for a fetch: nothing else reads or writes it meanwhile.

        If another fetch holds it for long, its server may be stuck: then it is one to throw away.
        """
        name = hashlib.sha256(f"{url.text}\n{key}".encode()).hexdigest()[:32]
        with self._guard:
            lock = self._locks.setdefault(name, Lock())
        patience = time.monotonic() + _PATIENCE_S
        while not lock.acquire(timeout=_POLL_S):
            checkpoint()
            if time.monotonic() > patience:
                break
        else:
            try:
                yield Mirror(self._directory, name)
            finally:
                lock.release()
            return
        spare = Mirror(self._directory, f"spare-{secrets.token_hex(4)}")
        try:
            yield spare
        finally:
            remove(spare.path)

    def trim(self) -> None:
        """Remove the mirrors used longest ago until the rest fits; called from a thread."""
        sizes = []
        for path in self._all():
            lock = self._locks.get(path.stem.rpartition("-")[0])
            if lock is not None and lock.locked():
                continue
            size, packs = _measure(path)
            if packs > _MOST_PACKS:
                remove(path)
                continue
            with contextlib.suppress(OSError):
                sizes.append((path.stat().st_mtime, size, path))
        total = sum(size for _, size, _ in sizes)
        for _, size, path in sorted(sizes):
            if total <= self._most_bytes:
                return
            remove(path)
            total -= size

    def _all(self) -> list[Path]:
        try:
            return list(self._directory.glob("*.git"))
        except OSError:
            return []


def open_mirror(mirror: Mirror) -> pygit2.Repository:
    """Open a mirror or make it, without what a broken-off fetch left; raises `StorageError`."""
    try:
        mirror.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        repository = _open(mirror)
        for left in (mirror.path / "objects" / "pack").glob("*"):
            if left.suffix not in _WHOLE:
                left.unlink(missing_ok=True)
        os.utime(mirror.path)
    except (OSError, pygit2.GitError) as error:
        raise StorageError(
            f"The cache of repositories cannot be written: {error}.",
            hint=f"Check the free space and the permissions of {mirror.path.parent}",
        ) from error
    return repository


def remove(path: Path) -> None:
    """Remove a mirror; it is only a cache."""
    shutil.rmtree(path, ignore_errors=True)


def _open(mirror: Mirror) -> pygit2.Repository:
    if mirror.path.exists():
        try:
            return pygit2.Repository(str(mirror.path), RepositoryOpenFlag.NO_SEARCH)
        except pygit2.GitError:
            _log.warning("the cached repository %s was damaged", mirror.path.name)
            mirror.renew()
    return pygit2.init_repository(str(mirror.path), bare=True)


def _measure(path: Path) -> tuple[int, int]:
    size = packs = 0
    for item in path.rglob("*"):
        with contextlib.suppress(OSError):
            size += item.lstat().st_size
            packs += item.suffix == ".pack"
    return size, packs
