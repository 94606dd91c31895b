"""Make a node's directories, private to their owner, with the runtime one in memory."""

from __future__ import annotations

import hashlib
import os
import stat
import sys
from collections.abc import Mapping

from covey.errors import StorageError
from covey.paths import SOCKET_PATH_LIMIT, Paths, memory_dir

_PRIVATE = 0o700


def prepare_directories(paths: Paths, environ: Mapping[str, str] = os.environ) -> None:
    """Create what is missing with mode 0700 and keep the runtime directory off the disk.

    Raises `StorageError` when a directory belongs to someone else or cannot be made.
    """
    try:
        if paths.home is not None:
            _make_private(paths.home)
        for directory in (paths.config_dir, paths.data_dir, paths.state_dir):
            _make_private(directory)
        _make_private(os.path.dirname(paths.log_file))
        _prepare_run_dir(paths, environ)
    except OSError as error:
        raise StorageError(
            f"Covey cannot make its directory {error.filename}: {error.strerror}.",
            hint="Give your user write access to it, or point COVEY_HOME at another place.",
        ) from error
    if len(os.fsencode(paths.socket)) > SOCKET_PATH_LIMIT and sys.platform != "win32":
        raise StorageError(
            f"The socket's path is longer than {SOCKET_PATH_LIMIT} bytes: {paths.socket}",
            hint="Point COVEY_HOME or XDG_RUNTIME_DIR at a shorter path.",
        )


def remove_run_link(paths: Paths) -> None:
    """Remove the emptied runtime directory of a home and the link to it, if they are there."""
    if paths.home is None or not os.path.islink(paths.run_dir):
        return
    try:
        os.rmdir(os.path.realpath(paths.run_dir))
        os.unlink(paths.run_dir)
    except OSError:
        return


def _prepare_run_dir(paths: Paths, environ: Mapping[str, str]) -> None:
    memory = memory_dir(environ)
    if memory is None:
        _make_private(paths.run_dir)
        return
    if paths.home is None:
        parent = os.path.dirname(paths.run_dir)
        if os.path.dirname(parent) == "/dev/shm":  # noqa: S108 - anyone may write there
            _make_private(parent, allow_link=False)
        _make_private(paths.run_dir, allow_link=False)
        return
    _make_private(memory, allow_link=False)
    target = os.path.join(memory, _name_of_home(paths.home))
    _make_private(target, allow_link=False)
    _link(paths.run_dir, target)


def _name_of_home(home: str) -> str:
    real = os.fsencode(os.path.realpath(home))
    return "home-" + hashlib.blake2b(real, digest_size=8).hexdigest()


def _link(link: str, target: str) -> None:
    """Point `link` at `target` atomically; an earlier link is replaced, a used directory is not."""
    if os.path.islink(link):
        if os.readlink(link) == target:
            return
    elif os.path.isdir(link):
        try:
            os.rmdir(link)
        except OSError as error:
            raise StorageError(
                f"{link} is a directory on disk, where Covey keeps a link into memory.",
                hint=f"It may hold secrets in the clear. Remove it: rm -r {link}",
            ) from error
    fresh = f"{link}.{os.getpid()}"
    os.symlink(target, fresh)
    os.replace(fresh, link)


def _make_private(directory: str, *, allow_link: bool = True) -> None:
    os.makedirs(directory, mode=_PRIVATE, exist_ok=True)
    if sys.platform == "win32":
        return
    found = os.lstat(directory)
    if stat.S_ISLNK(found.st_mode):
        if not allow_link:
            raise StorageError(
                f"{directory} is a link, where Covey needs a directory of its own.",
                hint=f"Someone may be redirecting it. Remove it: rm {directory}",
            )
        found = os.stat(directory)
    if found.st_uid != os.geteuid():
        raise StorageError(
            f"{directory} belongs to another user (uid {found.st_uid}).",
            hint="Run Covey as that user, or point COVEY_HOME at a directory of your own.",
        )
    if stat.S_IMODE(found.st_mode) & 0o077:
        os.chmod(directory, _PRIVATE)
