"""Removing and making: with open directories, and never a root."""

from __future__ import annotations

import os
import stat

from covey.errors import ConflictError, RefusedError
from covey.remote.files.flags import DIRECTORY
from covey.remote.files.roots import Place


def remove(place: Place, roots: frozenset[tuple[int, int]], *, recursive: bool) -> int:
    """Remove what stands at a place, links themselves and not what they lead to.

    `roots` are the device and inode of what must stay. Returns how many files and directories
    went; raises `RefusedError`, `ConflictError`, `OSError`.
    """
    found = place.stat()
    if place.is_root or (found.st_dev, found.st_ino) in roots:
        raise RefusedError(
            f"{place.path} is one of the directories that this node shares.",
            hint="Remove what is in it, or change files.roots in its covey.toml.",
        )
    if not stat.S_ISDIR(found.st_mode):
        os.unlink(place.name, dir_fd=place.directory)
        return 1
    if not recursive:
        raise ConflictError(
            f"{place.path} is a directory.", hint="To remove all that is in it: --recursive"
        )
    return _remove_tree(place.directory, place.name, place.path, roots)


def make_directory(place: Place, mode: int) -> None:
    """Make a directory; raises `OSError`."""
    os.mkdir(place.at, 0o700, dir_fd=place.directory)
    os.chmod(place.at, mode, dir_fd=place.directory)


def identify(paths: list[str]) -> frozenset[tuple[int, int]]:
    """Return device and inode of directories, of those that exist."""
    found = set()
    for path in paths:
        try:
            status = os.stat(path)
        except OSError:
            continue
        found.add((status.st_dev, status.st_ino))
    return frozenset(found)


def _remove_tree(parent: int, name: bytes, path: str, roots: frozenset[tuple[int, int]]) -> int:
    directory = os.open(name, DIRECTORY, dir_fd=parent)
    count = 0
    try:
        found = os.fstat(directory)
        if (found.st_dev, found.st_ino) in roots:
            raise RefusedError(f"{path} holds one of the directories that this node shares.")
        for item in os.listdir(directory):
            child = os.fsencode(item)
            status = os.stat(child, dir_fd=directory, follow_symlinks=False)
            if stat.S_ISDIR(status.st_mode):
                count += _remove_tree(directory, child, path, roots)
            else:
                os.unlink(child, dir_fd=directory)
                count += 1
    finally:
        os.close(directory)
    os.rmdir(name, dir_fd=parent)
    return count + 1
