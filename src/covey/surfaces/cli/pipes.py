"""End in order when standard output takes no more: its reader has gone, or the disk is full."""

from __future__ import annotations

import os
import sys

BROKEN_PIPE = 141
"""128 + SIGPIPE, as shells report it."""


def abandon_stdout(error: OSError) -> int:
    """Send what is still buffered nowhere, and return the exit status.

    A reader that has gone, as `head` does, is no error to speak of.
    """
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if isinstance(error, BrokenPipeError):
        return BROKEN_PIPE
    sys.stderr.write(f"error: The output cannot be written: {error.strerror}.\n")
    return 1
