"""Directories that were uploaded to this node, as archives named by their content."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import re
import secrets
import time
from collections.abc import AsyncIterator, Collection
from pathlib import Path
from typing import IO, Protocol

import msgspec

from covey.apps.containers import Log
from covey.errors import InvalidRequestError, NotFoundError, StorageError, TooLargeError

ID_DIGITS = 32
_ID = re.compile(rf"[0-9a-f]{{{ID_DIGITS}}}")
_SUFFIX = ".tar.gz"
_PART = ".part"
_GRACE_S = 3600.0
_FLAGS = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW


class UploadPart(msgspec.Struct, frozen=True):
    """The next bytes of an archive."""

    data: bytes


class Uploaded(msgspec.Struct, frozen=True):
    """An archive that is kept; `known` says that it was here already, so nothing was read."""

    id: str
    size: int
    known: bool = False


class Unpacker(Protocol):
    """What writes an archive's files into a directory."""

    async def unpack(self, archive: Path, into: Path, log: Log) -> None:
        """Unpack; raises `InvalidRequestError`, `TooLargeError`, `StorageError`."""
        ...


class Uploads:
    """Keeps archives (0600) below `directory`, each for one app, until `prune` removes them."""

    def __init__(self, directory: Path, most_bytes: int, unpacker: Unpacker) -> None:
        self._directory = directory
        self._most_bytes = most_bytes
        self._unpacker = unpacker

    def clean(self) -> None:
        """Remove what uploads that were broken off have left; before the first `receive`."""
        for path in self._directory.glob(f"*/*{_PART}"):
            path.unlink(missing_ok=True)

    async def receive(
        self, app: str, sha256: str, size: int, parts: AsyncIterator[UploadPart]
    ) -> Uploaded:
        """Keep an archive whose checksum and size fit; one that is here already is not read.

        Raises `TooLargeError`, `InvalidRequestError` or `StorageError`, and keeps nothing then.
        """
        if size > self._most_bytes:
            raise TooLargeError(
                f"The packed directory has {size >> 20} MiB, and this node takes "
                f"{self._most_bytes >> 20} MiB.",
                hint="Leave out what is not needed by .gitignore, or raise [apps] max_upload",
            )
        found = Uploaded(sha256[:ID_DIGITS], size)
        path = self._path(app, found.id)
        with contextlib.suppress(OSError):
            if path.stat().st_size == size:
                os.utime(path)
                return msgspec.structs.replace(found, known=True)
        part = path.with_name(f"{found.id}.{secrets.token_hex(4)}{_PART}")
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with os.fdopen(os.open(part, _FLAGS, 0o600), "wb", 0) as file:
                await _write(file, sha256, size, parts)
            part.replace(path)
            _sync(path.parent)
        except OSError as error:
            raise StorageError(
                f"The upload cannot be kept: {error.strerror}.",
                hint=f"Check the free space of {self._directory}",
            ) from error
        finally:
            part.unlink(missing_ok=True)
        return found

    async def unpack(self, app: str, upload: str, into: Path, log: Log) -> None:
        """Write an upload's files into `into`; raises `NotFoundError` if it is gone."""
        path = self._path(app, upload)
        if not path.is_file():
            raise NotFoundError(
                "The uploaded directory is not on this node any more.",
                hint="Upload it again: covey deploy DIR",
            )
        with contextlib.suppress(OSError):
            os.utime(path)
        await self._unpacker.unpack(path, into, log)

    def prune(self, keep: Collection[str], now: float | None = None) -> int:
        """Remove the uploads that are not among `keep`, nor of the last hour; returns how many."""
        now = time.time() if now is None else now
        count = 0
        for path in self._directory.glob(f"*/*{_SUFFIX}"):
            if path.name.removesuffix(_SUFFIX) in keep:
                continue
            with contextlib.suppress(OSError):
                if now - path.stat().st_mtime > _GRACE_S:
                    path.unlink()
                    count += 1
        return count

    def apps(self) -> set[str]:
        """Return the apps of which uploads are kept."""
        return {path.name for path in self._directory.glob("*")}

    def forget(self, app: str) -> None:
        """Remove all uploads of an app."""
        for path in self._directory.glob(f"{app}/*"):
            path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            (self._directory / app).rmdir()

    def _path(self, app: str, upload: str) -> Path:
        if not _ID.fullmatch(upload):
            raise NotFoundError(f"There is no upload {upload[:50]!r}.", hint="covey deploy DIR")
        return self._directory / app / f"{upload}{_SUFFIX}"


async def _write(file: IO[bytes], sha256: str, size: int, parts: AsyncIterator[UploadPart]) -> None:
    digest = hashlib.sha256()
    written = 0
    async for part in parts:
        written += len(part.data)
        if written > size:
            break
        await asyncio.to_thread(_put, file, digest, part.data)
    if written != size or digest.hexdigest() != sha256:
        raise InvalidRequestError(
            "What was uploaded is not what was announced: its size or checksum differs.",
            hint="Upload it again",
        )
    await asyncio.to_thread(os.fsync, file.fileno())


def _put(file: IO[bytes], digest: hashlib._Hash, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[file.write(view) :]
    digest.update(data)


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
