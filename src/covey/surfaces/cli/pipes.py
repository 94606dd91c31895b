"""End quietly when the reader of standard output has gone, as `head` does."""

from __future__ import annotations

import os
import sys

BROKEN_PIPE = 141
"""128 + SIGPIPE, as shells report it."""


def abandon_stdout() -> int:
    """Send what is still buffered nowhere, and return the exit status."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return BROKEN_PIPE
