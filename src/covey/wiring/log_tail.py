"""Reading the daemon's log from its end, and following it across rotations."""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import AsyncIterator
from pathlib import Path

_POLL_S = 0.25


async def tail(path: Path, lines: int, *, follow: bool) -> AsyncIterator[str]:
    """Yield the last `lines` lines, then with `follow` each new one, without line ends."""
    position, inode = 0, 0
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            found = deque(file, maxlen=lines) if lines else deque[str]()
            position = file.seek(0, os.SEEK_END)
            inode = os.fstat(file.fileno()).st_ino
    except FileNotFoundError:
        found = deque()
    for line in found:
        yield line.rstrip("\n")
    while follow:
        await asyncio.sleep(_POLL_S)
        try:
            with path.open(encoding="utf-8", errors="replace") as file:
                if os.fstat(file.fileno()).st_ino != inode:
                    inode, position = os.fstat(file.fileno()).st_ino, 0
                file.seek(position)
                fresh = file.read()
        except FileNotFoundError:
            continue
        whole = fresh.rfind("\n") + 1
        position += len(fresh[:whole].encode())
        for line in fresh[:whole].splitlines():
            yield line
