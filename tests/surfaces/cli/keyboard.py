"""Keys typed into a real interactive shell, and what it shows."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import termios
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

_WAIT_S = 30.0
_ESCAPES = re.compile(rb"\x1b(?:\[[0-9;?=<>]*[A-Za-z]|[=>]|\][^\x07]*\x07|[()].)|\r")


class Keyboard:
    """A shell on a pseudo-terminal of 80 by 24."""

    def __init__(self, master: int, pid: int) -> None:
        self._master = master
        self._pid = pid
        self._shown = b""

    def type(self, keys: str) -> None:
        """Press keys."""
        os.write(self._master, keys.encode())

    def wait_for(self, *texts: str) -> str:
        """Return what was shown since the last wait, once it contains all texts."""
        deadline = time.monotonic() + _WAIT_S
        while True:
            plain = _ESCAPES.sub(b"", self._shown).decode("utf-8", "replace")
            if all(text in plain for text in texts):
                self._shown = b""
                return plain
            if time.monotonic() > deadline:
                raise AssertionError(f"never shown: {texts}; shown: {plain[-2000:]!r}")
            if select.select([self._master], [], [], 0.05)[0]:
                try:
                    self._shown += os.read(self._master, 65536)
                except OSError as error:
                    raise AssertionError(f"the shell has ended: {plain[-2000:]!r}") from error

    def resize(self, rows: int, columns: int) -> None:
        """Change the terminal's size."""
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def ended(self) -> int:
        """Return the program's exit status once it has ended by itself."""
        deadline = time.monotonic() + _WAIT_S
        while time.monotonic() < deadline:
            if select.select([self._master], [], [], 0.05)[0]:
                try:
                    os.read(self._master, 65536)
                except OSError:
                    return _reap(self._pid)
        raise AssertionError("the program goes on")


def _reap(pid: int) -> int:
    found = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    assert found is not None
    return found.si_status


@contextmanager
def keyboard(command: Sequence[str], environ: Mapping[str, str]) -> Iterator[Keyboard]:
    """Start a program on a terminal, and end it."""
    pid, master = pty.fork()
    if pid == 0:
        os.execvpe(command[0], list(command), dict(environ))
    fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    try:
        yield Keyboard(master, pid)
    finally:
        os.close(master)
        os.kill(pid, 9)
        os.waitpid(pid, 0)
