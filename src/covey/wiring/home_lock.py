"""The lock by which one daemon at a time holds a home."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator

from covey.errors import ConflictError
from covey.paths import Paths


class HomeInUseError(ConflictError):
    """Another daemon runs on this home."""

    code = "home_in_use"


@contextlib.contextmanager
def hold_home(paths: Paths) -> Iterator[None]:
    """Hold the home's lock, which the system frees even if the daemon is killed.

    Raises `HomeInUseError` when another daemon holds it.
    """
    descriptor = os.open(paths.lock_file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        if not _try_lock(descriptor):
            raise HomeInUseError(
                f"Another Covey daemon runs on this home ({paths.data_dir}).",
                hint="Use it (covey status) or stop it first: covey agent stop",
            )
        yield
    finally:
        os.close(descriptor)


def _try_lock(descriptor: int) -> bool:
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
