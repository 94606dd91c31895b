"""Pseudo-terminals: a pair, and its size."""

from __future__ import annotations

import fcntl
import os
import struct
import termios

from covey.remote.exec.ports import Size

END_OF_FILE = b"\x04"


def open_terminal(size: Size) -> tuple[int, int]:
    """Return the two ends of a new terminal: ours, and the command's."""
    ours, theirs = os.openpty()
    set_size(ours, size)
    return ours, theirs


def set_size(terminal: int, size: Size) -> None:
    """Tell the programs on the terminal how large it is."""
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", size.rows, size.columns, 0, 0))
