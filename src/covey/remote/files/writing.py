"""Writing: contents beside their targets, checked, synced, and renamed into place as one step."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Callable, Iterator, Sequence

from covey.errors import DamagedError
from covey.remote.files.flags import CREATE, DIRECTORY, LOOK
from covey.remote.files.model import MODE_BITS, Entry, FileKind, SmallFile
from covey.remote.files.part import Part, finish, mode_of, write_fully
from covey.remote.files.partials import Partials, try_lock
from covey.remote.files.reading import (
    hash_content,
    kind_of,
    new_hash,
)
from covey.remote.files.tree import Existing

_NEW_DIRECTORY = 0o700
_NEW_FILE = 0o600
_MOST_OPEN = 64


class TargetTree:
    """The directory that a tree is written into. No link below it is followed.

    `base` is its descriptor, which is ours now. With `top`, the tree's one top gets that name;
    with `below`, the tree lies below that name, which need not exist.
    """

    def __init__(
        self, base: int, partials: Partials, *, top: bytes | None = None, below: bytes = b""
    ) -> None:
        self._base = base
        self._partials = partials
        self._top = top
        self._below_name = below
        self._cached: dict[bytes, int] = {}

    def close(self) -> None:
        """Close the directories."""
        for descriptor in (*self._cached.values(), self._base):
            os.close(descriptor)
        self._cached.clear()

    @property
    def real_path(self) -> str | None:
        """Where the tree is written, with links resolved, if the system tells."""
        try:
            return os.readlink(f"/proc/self/fd/{self._base}")
        except OSError:
            return None

    def locate(self, path: bytes) -> tuple[int, bytes]:
        """Return the open directory and the name of a path; raises `OSError`."""
        parent, _, name = self._placed(path).rpartition(b"/")
        return self._directory(parent), name or b"."

    def existing(self, path: bytes) -> Existing | None:
        """Return what stands at a path, if anything."""
        try:
            directory, name = self.locate(path)
            found = os.stat(name, dir_fd=directory, follow_symlinks=False)
            return _existing(directory, name, found)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            if error.errno == errno.ELOOP:
                return None
            raise

    def everything(self) -> Iterator[tuple[bytes, Existing]]:
        """Yield all that stands below the top, a directory before what is in it."""
        yield from self._below(b"")

    def make_directory(self, path: bytes) -> None:
        """Make a directory, in place of what is not one; raises `OSError`."""
        directory, name = self.locate(path)
        if name == b".":
            return
        try:
            os.mkdir(name, _NEW_DIRECTORY, dir_fd=directory)
        except FileExistsError:
            found = os.stat(name, dir_fd=directory, follow_symlinks=False)
            if stat.S_ISDIR(found.st_mode):
                return
            os.unlink(name, dir_fd=directory)
            os.mkdir(name, _NEW_DIRECTORY, dir_fd=directory)

    def make_link(self, entry: Entry, *, preserve: bool) -> None:
        """Make a symbolic link, in place of a file or link; raises `OSError`."""
        directory, name = self.locate(entry.path)
        temporary = self._partials.fresh()
        os.symlink(entry.target, temporary, dir_fd=directory)
        try:
            if preserve:
                times = (entry.mtime_ns, entry.mtime_ns)
                os.utime(temporary, ns=times, dir_fd=directory, follow_symlinks=False)
            os.replace(temporary, name, src_dir_fd=directory, dst_dir_fd=directory)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary, dir_fd=directory)
            raise

    def finish_directory(self, entry: Entry, *, preserve: bool) -> None:
        """Give a directory its mode and time, once all is in it; raises `OSError`."""
        directory, name = self.locate(entry.path)
        mode = mode_of(entry, preserve=preserve)
        descriptor = os.open(name, DIRECTORY, dir_fd=directory)
        try:
            if stat.S_IMODE(os.fstat(descriptor).st_mode) & MODE_BITS != mode:
                os.fchmod(descriptor, mode)
            if preserve:
                os.utime(descriptor, ns=(entry.mtime_ns, entry.mtime_ns))
        finally:
            os.close(descriptor)

    def set_right(self, entry: Entry) -> None:
        """Give a file whose content stays the mode and time of the entry; raises `OSError`."""
        directory, name = self.locate(entry.path)
        descriptor = os.open(name, LOOK, dir_fd=directory)
        try:
            finish(descriptor, entry, preserve=True)
        finally:
            os.close(descriptor)

    def digest(self, path: bytes) -> bytes:
        """Return the checksum of the file at a path; raises `OSError`."""
        directory, name = self.locate(path)
        descriptor = os.open(name, LOOK, dir_fd=directory)
        try:
            return hash_content(descriptor, os.fstat(descriptor).st_size).digest()
        finally:
            os.close(descriptor)

    def remove(self, path: bytes) -> None:
        """Remove a file, link or empty directory; raises `OSError`."""
        directory, name = self.locate(path)
        found = os.stat(name, dir_fd=directory, follow_symlinks=False)
        if stat.S_ISDIR(found.st_mode):
            self._remove_parts(directory, name)
            self._forget(path)
            os.rmdir(name, dir_fd=directory)
        else:
            os.unlink(name, dir_fd=directory)

    def write_small(
        self, files: Sequence[tuple[Entry, SmallFile]], *, preserve: bool
    ) -> tuple[list[Entry], list[tuple[Entry, str]]]:
        """Write whole contents: all beside their targets, one sync, then all into place.

        Returns those that are in place and those that failed, with the reason.
        """
        written: list[tuple[Entry, bytes]] = []
        failed: list[tuple[Entry, str]] = []
        for entry, small in files:
            try:
                written.append((entry, self._write_small(entry, small, preserve=preserve)))
            except DamagedError as error:
                failed.append((entry, error.message))
            except OSError as error:
                failed.append((entry, error.strerror or "cannot be written"))
        if written:
            sync_file_system(self._base)
        done: list[Entry] = []
        for entry, temporary in written:
            try:
                directory, name = self.locate(entry.path)
                os.replace(temporary, name, src_dir_fd=directory, dst_dir_fd=directory)
                done.append(entry)
            except OSError as error:
                failed.append((entry, error.strerror or "cannot be written"))
                with contextlib.suppress(OSError):
                    os.unlink(temporary, dir_fd=self.locate(entry.path)[0])
        return done, failed

    def open_part(self, entry: Entry) -> Part:
        """Open the temporary file of an entry, with what came before; raises `OSError`."""
        directory, name = self.locate(entry.path)
        # The cache may close its descriptor while the part is being written.
        directory = os.dup(directory)
        try:
            temporary = self._partials.name(os.fstat(directory), name)
            try:
                descriptor = os.open(temporary, CREATE | os.O_EXCL, _NEW_FILE, dir_fd=directory)
            except FileExistsError:
                temporary, descriptor = self._resumed(directory, temporary)
            else:
                if not (try_lock(descriptor) and _is_there(descriptor, directory, temporary)):
                    # Another receiver took it between our making and locking it.
                    os.close(descriptor)
                    temporary, descriptor = self._resumed(directory, temporary)
        except BaseException:
            os.close(directory)
            raise
        return Part(directory, temporary, name, descriptor)

    def _resumed(self, directory: int, temporary: bytes) -> tuple[bytes, int]:
        """Open a part that is there, or, if it is not for us, a fresh one; raises `OSError`.

        One with another owner than new files have is a trap: who made it can read what is written.
        """
        fresh = self._partials.fresh()
        made = os.open(fresh, CREATE | os.O_EXCL, _NEW_FILE, dir_fd=directory)
        try_lock(made)
        try:
            descriptor = os.open(temporary, CREATE & ~os.O_CREAT, dir_fd=directory)
        except OSError:
            return fresh, made
        same_owner = os.fstat(descriptor).st_uid == os.fstat(made).st_uid
        if same_owner and try_lock(descriptor) and _is_there(descriptor, directory, temporary):
            os.unlink(fresh, dir_fd=directory)
            os.close(made)
            return temporary, descriptor
        os.close(descriptor)
        return fresh, made

    def _write_small(self, entry: Entry, small: SmallFile, *, preserve: bool) -> bytes:
        hasher = new_hash()
        hasher.update(small.data)
        if hasher.digest() != small.digest or len(small.data) != entry.size:
            raise DamagedError("its checksum does not fit what arrived")
        directory, _ = self.locate(entry.path)
        temporary = self._partials.fresh()
        descriptor = os.open(temporary, CREATE | os.O_EXCL, _NEW_FILE, dir_fd=directory)
        try:
            write_fully(descriptor, small.data, 0)
            finish(descriptor, entry, preserve=preserve)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary, dir_fd=directory)
            raise
        finally:
            os.close(descriptor)
        return temporary

    def _below(self, path: bytes) -> Iterator[tuple[bytes, Existing]]:
        try:
            parent, name = self.locate(path)
            directory = os.open(name, DIRECTORY, dir_fd=parent)
        except OSError:
            return
        try:
            names = sorted(os.fsencode(name) for name in os.listdir(directory))
            found = []
            for name in names:
                if self._partials.is_ours(name):
                    continue
                with contextlib.suppress(FileNotFoundError):
                    status = os.stat(name, dir_fd=directory, follow_symlinks=False)
                    found.append((name, _existing(directory, name, status)))
        finally:
            os.close(directory)
        for name, item in found:
            below = path + b"/" + name if path else name
            yield below, item
            if item.kind is FileKind.DIRECTORY:
                yield from self._below(below)

    def _placed(self, path: bytes) -> bytes:
        if self._below_name:
            return self._below_name + b"/" + path if path else self._below_name
        if self._top is None:
            return path
        _, slash, rest = path.partition(b"/")
        return self._top + slash + rest

    def _directory(self, path: bytes) -> int:
        """Return a directory below the base, walked name by name; the last few stay open."""
        if not path:
            return self._base
        found = self._cached.pop(path, None)
        if found is None:
            parent, _, name = path.rpartition(b"/")
            found = os.open(name, DIRECTORY, dir_fd=self._directory(parent))
            while len(self._cached) >= _MOST_OPEN:
                os.close(self._cached.pop(next(iter(self._cached))))
        self._cached[path] = found
        return found

    def _remove_parts(self, parent: int, name: bytes) -> None:
        """Remove our temporary files from a directory that is to go."""
        directory = os.open(name, DIRECTORY, dir_fd=parent)
        try:
            for item in os.listdir(directory):
                if self._partials.is_ours(os.fsencode(item)):
                    os.unlink(item, dir_fd=directory)
        finally:
            os.close(directory)

    def _forget(self, path: bytes) -> None:
        found = self._cached.pop(self._placed(path), None)
        if found is not None:
            os.close(found)


def sync_file_system(descriptor: int) -> None:
    """Make durable all that was written to a file system: cheaper than file by file."""
    sync = _SYNC
    if sync is None or sync(descriptor) != 0:
        os.sync()


def _load_sync() -> Callable[[int], int] | None:
    import ctypes  # noqa: PLC0415 - Python has no syncfs(2) of its own

    found: Callable[[int], int] | None = getattr(ctypes.CDLL(None), "syncfs", None)
    return found


_SYNC = _load_sync()


def _existing(directory: int, name: bytes, found: os.stat_result) -> Existing:
    kind = kind_of(found.st_mode)
    target = os.readlink(name, dir_fd=directory) if kind is FileKind.SYMLINK else b""
    mode = found.st_mode & MODE_BITS
    return Existing(kind, found.st_size, mode, found.st_mtime_ns, target)


def _is_there(descriptor: int, directory: int, name: bytes) -> bool:
    """Whether a part is a plain file with one name, and there still.

    Another receiver may have put it into place between our opening and locking it.
    """
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode) or found.st_nlink != 1:
        return False
    try:
        there = os.stat(name, dir_fd=directory, follow_symlinks=False)
    except OSError:
        return False
    return (there.st_dev, there.st_ino) == (found.st_dev, found.st_ino)
