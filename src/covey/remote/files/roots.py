"""Paths within the allowed roots: walked by descriptors, so that no link leads out of them."""

from __future__ import annotations

import errno
import os
import stat
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from covey.errors import InvalidRequestError, RefusedError
from covey.remote.files.failures import failure, shown
from covey.remote.files.flags import PASS, ROOT

_MOST_LINKS = 40


@dataclass(frozen=True, slots=True)
class Place:
    """A name in an open directory; `name` is empty for a root itself. `path` is for messages."""

    directory: int
    name: bytes
    path: str

    @property
    def is_root(self) -> bool:
        """Whether this is one of the roots."""
        return not self.name

    @property
    def at(self) -> bytes:
        """The name to give to system calls, beside the directory."""
        return self.name or b"."

    def stat(self) -> os.stat_result:
        """Return what stands there, links not followed; raises `OSError`."""
        return os.stat(self.at, dir_fd=self.directory, follow_symlinks=False)


class Roots:
    """The directories that may be read and written, in the order of the settings.

    A path that is not absolute, or begins with `~/`, is below the first of them. `..` and links
    are followed as long as they stay within the roots.
    """

    def __init__(self, roots: Sequence[str]) -> None:
        self._roots = tuple(os.path.normpath(os.fsencode(root)) for root in roots)

    @property
    def paths(self) -> list[str]:
        """The roots."""
        return [shown(root) for root in self._roots]

    @contextmanager
    def locate(self, path: str, *, follow: bool = True) -> Iterator[Place]:
        """Find a path's directory and name; what the name stands for need not exist.

        With `follow`, a link at the end is followed. Raises `RefusedError` for what is outside of
        the roots, `NotFoundError` and others as the file system does.
        """
        walk = _Walk(self._roots, shown(path))
        try:
            try:
                yield walk.to(self._absolute(path), follow=follow or path.endswith("/"))
            except OSError as error:
                raise failure(shown(path), error) from error
        finally:
            walk.close()

    def contains(self, path: str) -> bool:
        """Whether a path is within the roots as it is written."""
        return _root_of(self._roots, self._absolute(path)) is not None

    def _absolute(self, path: str) -> bytes:
        if "\0" in path:
            raise InvalidRequestError("A path cannot contain NUL characters.")
        data = os.fsencode(path)
        if data == b"~":
            data = b""
        if data.startswith(b"~/"):
            data = data[2:]
        if not os.path.isabs(data):
            data = os.path.join(self._roots[0], data)
        return data


class _Walk:
    """One walk from a root: a stack of open directories, never left by the kernel's `..`."""

    def __init__(self, roots: Sequence[bytes], path: str) -> None:
        self._roots = roots
        self._path = path
        self._stack: list[int] = []
        self._links = 0

    def to(self, path: bytes, *, follow: bool) -> Place:
        todo = self._enter(path)
        name = b""
        while todo:
            part = todo.popleft()
            if part in {b"", b"."}:
                continue
            if part == b"..":
                self._up()
                continue
            if not any(item not in {b"", b"."} for item in todo):
                link = self._link(part) if follow else None
                if link is None:
                    name = part
                    break
                todo = self._through(link, todo)
                continue
            try:
                self._stack.append(os.open(part, PASS, dir_fd=self._stack[-1]))
            except OSError as error:
                if error.errno not in {errno.ELOOP, errno.ENOTDIR}:
                    raise
                link = self._link(part)
                if link is None:
                    raise
                todo = self._through(link, todo)
        return Place(self._stack[-1], name, self._path)

    def close(self) -> None:
        for descriptor in self._stack:
            os.close(descriptor)
        self._stack.clear()

    def _enter(self, path: bytes) -> deque[bytes]:
        """Begin at the root that holds the path, and return the rest of it."""
        root = _root_of(self._roots, path)
        if root is None:
            raise self._refusal()
        self.close()
        # A root may itself be a link: whoever wrote the settings meant where it leads.
        self._stack.append(os.open(root, ROOT))
        return deque(path[len(root) :].split(b"/"))

    def _up(self) -> None:
        if len(self._stack) == 1:
            raise self._refusal()
        os.close(self._stack.pop())

    def _link(self, name: bytes) -> bytes | None:
        """Return where a link leads; None if it is no link, or is not there."""
        try:
            found = os.stat(name, dir_fd=self._stack[-1], follow_symlinks=False)
        except FileNotFoundError:
            return None
        if not stat.S_ISLNK(found.st_mode):
            return None
        self._links += 1
        if self._links > _MOST_LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
        return os.readlink(name, dir_fd=self._stack[-1])

    def _through(self, link: bytes, todo: deque[bytes]) -> deque[bytes]:
        if link.startswith(b"/"):
            return self._enter(link) + todo
        return deque(link.split(b"/")) + todo

    def _refusal(self) -> RefusedError:
        allowed = ", ".join(shown(root) for root in self._roots)
        return RefusedError(
            f"{self._path} is not within the directories that this node shares: {allowed}.",
            hint="Its owner decides that: files.roots in its covey.toml.",
        )


def _root_of(roots: Sequence[bytes], path: bytes) -> bytes | None:
    """Return the longest root that holds an absolute path, as it is written."""
    found = [
        root
        for root in roots
        if path == root or path.startswith(root if root.endswith(b"/") else root + b"/")
    ]
    return max(found, key=len, default=None)
