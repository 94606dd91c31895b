"""How files are opened: links never followed, nothing inherited, nothing waited for.

Flags that a system does not have are left out, so that this can be loaded everywhere.
"""

from __future__ import annotations

import os


def _flags(*names: str) -> int:
    found = 0
    for name in names:
        found |= getattr(os, name, 0)
    return found


CLOSED = _flags("O_CLOEXEC")
LOOK = os.O_RDONLY | _flags("O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC")
CREATE = os.O_RDWR | os.O_CREAT | _flags("O_NOFOLLOW", "O_CLOEXEC")
DIRECTORY = os.O_RDONLY | _flags("O_DIRECTORY", "O_NOFOLLOW", "O_CLOEXEC")
PASS = DIRECTORY | _flags("O_PATH")
"""For a directory on the way, which need not be readable."""

ROOT = _flags("O_PATH", "O_DIRECTORY", "O_CLOEXEC")
"""For a root, which may be a link."""
