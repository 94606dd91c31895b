"""The mark beside the database: how far this node's own log was given to its peers.

One line of fixed length, written in place without waiting for the disk: the operating system keeps
it over a crash of the process. After a crash of the machine the line may be old, which the boot id
in it tells; the first entry ever published is waited for, so that 0 is always exact.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from covey.engines.sqlite.faults import file_error
from covey.store.ports import Published

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_LINE = re.compile(rb"covey-published 1 (\d{20}) (clean|running|doubtful|[0-9a-f-]{36}) *\n")
_WIDTH = 80


class FileMark:
    """Implements `PublishedMark` on a file that its owner alone can read.

    Raises `StorageError`. `close` makes it exact for the next process.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._boot = _boot_id()
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
        try:
            self._file = os.open(path, flags, 0o600)
            line = os.read(self._file, _WIDTH)
            found = _parse(line, self._boot)
            self._seq, self._exact = found.seq, found.exact
            self._write(sync=True)
        except OSError as error:
            raise file_error(error, path) from error

    def read(self) -> Published:
        """Return what is remembered."""
        return Published(self._seq, self._exact)

    def note(self, seq: int) -> None:
        """Take note that entries up to `seq` are about to be given to a peer."""
        if seq > self._seq:
            self._set(seq, sync=self._seq == 0)

    def reset(self, seq: int) -> None:
        """Take note that no peer needs to be expected to hold more than `seq`."""
        self._exact = True
        self._set(seq, sync=True)

    def close(self) -> None:
        """Wait for the disk, and note that nothing can be missing."""
        if self._file < 0:
            return
        try:
            self._write(sync=True, closing=True)
        except OSError as error:
            raise file_error(error, self._path) from error
        finally:
            os.close(self._file)
            self._file = -1

    def _set(self, seq: int, *, sync: bool) -> None:
        self._seq = seq
        try:
            self._write(sync=sync)
        except OSError as error:
            raise file_error(error, self._path) from error

    def _write(self, *, sync: bool, closing: bool = False) -> None:
        state = ("clean" if closing else self._boot) if self._exact else "doubtful"
        line = f"covey-published 1 {self._seq:020} {state}".ljust(_WIDTH - 1) + "\n"
        os.lseek(self._file, 0, os.SEEK_SET)
        os.write(self._file, line.encode())
        if sync:
            os.fsync(self._file)


def _parse(line: bytes, boot: str) -> Published:
    """Return what a line says; a new file says that nothing was ever published."""
    if not line:
        return Published(0, exact=True)
    match = _LINE.fullmatch(line)
    if match is None:
        return Published(0, exact=False)
    seq, state = int(match[1]), match[2].decode()
    same_boot = state == boot and state != "running"
    exact = state == "clean" or same_boot or (seq == 0 and state != "doubtful")
    return Published(seq, exact)


def _boot_id() -> str:
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return "running"
