"""Files that nobody else may read, written so that a crash leaves the old or the new one whole."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path

from covey.errors import StorageError

_MODE = 0o600


def replace_private_file(path: Path, content: bytes) -> None:
    """Write `path` (mode 0600) atomically and durably; raises `StorageError`."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
    try:
        _write_new(temporary, content)
        temporary.replace(path)
        _sync_directory(path.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise _failed(path, error) from error


def create_private_file(path: Path, content: bytes) -> None:
    """Write a new file (mode 0600) durably; raises `StorageError`, also if it exists."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _write_new(path, content)
        _sync_directory(path.parent)
    except OSError as error:
        raise _failed(path, error) from error


def _write_new(path: Path, content: bytes) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    flags |= getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0)
    with os.fdopen(os.open(path, flags, _MODE), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync_directory(directory: Path) -> None:
    if not hasattr(os, "O_DIRECTORY"):
        return
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _failed(path: Path, error: OSError) -> StorageError:
    return StorageError(
        f"{path} cannot be written: {error.strerror}.",
        hint="Check the free space and the permissions of its directory.",
    )
