"""One content that is being written beside its target, and put in place once it is whole."""

from __future__ import annotations

import contextlib
import os

from covey.errors import DamagedError
from covey.remote.files.delta import HEAD_BYTES, block_bytes, block_digest
from covey.remote.files.flags import LOOK
from covey.remote.files.model import MODE_BITS, Block, Entry
from covey.remote.files.reading import CHUNK, hash_content, hash_zeros, new_hash, read_fully

_NOT_FOR_OTHERS = 0o022


class Part:
    """One content that is being written beside its target."""

    def __init__(self, directory: int, temporary: bytes, name: bytes, descriptor: int) -> None:
        self._directory = directory
        self._temporary = temporary
        self._name = name
        self._descriptor = descriptor
        self._old: int | None = None
        self._hasher = new_hash()
        self.size = os.fstat(descriptor).st_size

    def prefix_digest(self) -> bytes:
        """Return the checksum of what came before; the content goes on with it."""
        self._hasher = hash_content(self._descriptor, self.size)
        return self._hasher.digest()

    def describe_old(self, size: int) -> tuple[int, list[Block]]:
        """Return the length of the blocks of the file that is replaced, and what they are."""
        length = block_bytes(size)
        old = self._old_file()
        blocks = []
        for at in range(0, size - length + 1, length):
            data = read_fully(old, at, length)
            if len(data) < length:
                break
            blocks.append(Block(data[:HEAD_BYTES], block_digest(data)))
        return length, blocks

    def begin(self, offset: int) -> None:
        """Go on at `offset`; what is behind it goes. Raises `OSError`, `DamagedError`."""
        if offset == self.size:
            return
        if offset:
            raise DamagedError("it was resumed where nothing was")
        os.ftruncate(self._descriptor, 0)
        self._hasher = new_hash()
        self.size = 0

    def write(self, data: bytes) -> None:
        """Append bytes."""
        write_fully(self._descriptor, data, self.size)
        self._hasher.update(data)
        self.size += len(data)

    def skip(self, length: int) -> None:
        """Append a hole."""
        self.size += length
        os.ftruncate(self._descriptor, self.size)
        hash_zeros(self._hasher, length)

    def copy_old(self, source: int, length: int) -> None:
        """Append bytes of the file that is replaced."""
        old = self._old_file()
        end = source + length
        while source < end:
            data = read_fully(old, source, min(CHUNK, end - source))
            if not data:
                raise DamagedError("the file that it replaces was changed meanwhile")
            self.write(data)
            source += len(data)

    def commit(self, entry: Entry, digest: bytes, *, preserve: bool) -> None:
        """Check the whole, make it durable and put it in place.

        Raises `DamagedError` when it is not what was sent, and `OSError`.
        """
        if self._hasher.digest() != digest:
            raise DamagedError("its checksum does not fit what arrived")
        finish(self._descriptor, entry, preserve=preserve)
        os.fsync(self._descriptor)
        os.replace(
            self._temporary, self._name, src_dir_fd=self._directory, dst_dir_fd=self._directory
        )
        # A directory that may not be read cannot be synced.
        with contextlib.suppress(OSError):
            os.fsync(self._directory)
        self.close()

    def discard(self) -> None:
        """Remove the temporary file."""
        if self._descriptor >= 0:
            with contextlib.suppress(OSError):
                os.unlink(self._temporary, dir_fd=self._directory)
        self.close()

    def close(self) -> None:
        """Close it; what came is kept for the next attempt, unless that is nothing."""
        if self._descriptor < 0:
            return
        if not self.size:
            with contextlib.suppress(OSError):
                found = os.stat(self._temporary, dir_fd=self._directory, follow_symlinks=False)
                if found.st_ino == os.fstat(self._descriptor).st_ino:
                    os.unlink(self._temporary, dir_fd=self._directory)
        os.close(self._descriptor)
        self._descriptor = -1
        os.close(self._directory)
        if self._old is not None:
            os.close(self._old)
            self._old = None

    def _old_file(self) -> int:
        if self._old is None:
            self._old = os.open(self._name, LOOK, dir_fd=self._directory)
        return self._old


def write_fully(descriptor: int, data: bytes, offset: int) -> None:
    """Write all bytes at an offset; raises `OSError`."""
    view = memoryview(data)
    while view:
        count = os.pwrite(descriptor, view, offset)
        view = view[count:]
        offset += count


def finish(descriptor: int, entry: Entry, *, preserve: bool) -> None:
    """Give an open file the mode and time of its entry; raises `OSError`."""
    os.fchmod(descriptor, mode_of(entry, preserve=preserve))
    if preserve:
        os.utime(descriptor, ns=(entry.mtime_ns, entry.mtime_ns))


def mode_of(entry: Entry, *, preserve: bool) -> int:
    """Return the permissions that an entry gets here."""
    mode = entry.mode & MODE_BITS
    return mode if preserve else mode & ~_NOT_FOR_OTHERS & 0o777
