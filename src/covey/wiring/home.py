"""A node's directories on disk: made private, held by one daemon at a time."""

from __future__ import annotations

import contextlib
import os
import stat
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from covey.errors import ConflictError, StorageError
from covey.paths import Paths, memory_dir


class HomeInUseError(ConflictError):
    """Another daemon runs on this home."""

    code = "home_in_use"


def prepare_home(paths: Paths) -> None:
    """Create the node's directories with access for their owner alone."""
    try:
        for directory in (
            paths.config_dir,
            paths.data_dir,
            paths.state_dir,
            Path(paths.log_file).parent,
        ):
            Path(directory).mkdir(mode=0o700, parents=True, exist_ok=True)
        Path(paths.data_dir).chmod(0o700)
        _prepare_run_dir(paths)
    except OSError as error:
        raise StorageError(
            f"Covey's directories cannot be made: {error.strerror} ({error.filename}).",
            hint="Check the owner and the free space of that directory, or set COVEY_HOME.",
        ) from error


def _prepare_run_dir(paths: Paths) -> None:
    run_dir = Path(paths.run_dir)
    if paths.home is not None and os.name == "posix" and not run_dir.exists():
        if run_dir.is_symlink():
            # What the link named went away with the last boot.
            run_dir.unlink()
        memory = _private_memory()
        if memory is not None:
            run_dir.symlink_to(tempfile.mkdtemp(prefix="node-", dir=memory))
    run_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    real = run_dir.resolve()
    real.chmod(0o700)
    if os.name == "posix" and real.stat().st_uid != os.geteuid():
        raise StorageError(
            f"{real} belongs to somebody else.",
            hint="Remove it, or set COVEY_HOME to a directory of your own.",
        )


def _private_memory() -> Path | None:
    """Return a private directory on tmpfs: rendered variables never reach a disk."""
    found = memory_dir()
    if found is None:
        return None
    directory = Path(found) / "homes"
    with contextlib.suppress(OSError):
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        if all(_is_private(item) for item in (directory.parent, directory)):
            return directory
    return None


def _is_private(directory: Path) -> bool:
    found = directory.lstat()
    return (
        stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & 0o077
    )


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
