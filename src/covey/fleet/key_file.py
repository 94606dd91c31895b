"""The key file of an unattended server: made if absent, refused if others can read it."""

from __future__ import annotations

import os
import secrets
import stat
import sys
from pathlib import Path

from covey.errors import NotFoundError, RefusedError, StorageError
from covey.fleet.private_file import create_private_file

MIN_KEY_BYTES = 32
_MAX_KEY_BYTES = 4096


def make_key_file(path: Path) -> bytes:
    """Return the key in `path`, making the file (mode 0600) if it is absent.

    Raises `RefusedError` for a file that others can read, `StorageError` if it cannot be made.
    """
    if path.exists():
        return read_key_file(path)
    content = secrets.token_hex(MIN_KEY_BYTES).encode() + b"\n"
    create_private_file(path, content)
    return content.strip()


def read_key_file(path: Path) -> bytes:
    """Return the key in `path`.

    Raises `NotFoundError`, `RefusedError` for a file that others can read or that is too short for
    a key, `StorageError` if it cannot be read.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
        with os.fdopen(descriptor, "rb") as file:
            mode = os.fstat(file.fileno())
            content = file.read(_MAX_KEY_BYTES).strip()
    except FileNotFoundError as error:
        raise NotFoundError(
            f"The key file {path} does not exist, so the node's keys stay locked.",
            hint="Put it back, or unlock with the master password: covey unlock",
        ) from error
    except OSError as error:
        raise StorageError(
            f"The key file {path} cannot be read: {error.strerror}.",
            hint="Make it readable by the user that runs Covey.",
        ) from error
    _check(path, mode, content)
    return content


def _check(path: Path, mode: os.stat_result, content: bytes) -> None:
    if not stat.S_ISREG(mode.st_mode):
        raise RefusedError(f"The key file {path} is not a regular file.", hint="Name a file.")
    if sys.platform != "win32":
        if mode.st_mode & 0o077:
            raise RefusedError(
                f"The key file {path} can be read or written by other users.",
                hint=f"Run: chmod 600 {path}",
            )
        if mode.st_uid not in {0, os.getuid()}:
            raise RefusedError(
                f"The key file {path} belongs to another user.",
                hint="It must belong to root or to the user that runs Covey.",
            )
    if len(content) < MIN_KEY_BYTES:
        raise RefusedError(
            f"The key file {path} is too short to be safe: {len(content)} bytes.",
            hint=f"It needs {MIN_KEY_BYTES} random bytes; Covey makes one where none is.",
        )
