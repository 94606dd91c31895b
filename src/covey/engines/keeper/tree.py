"""The processes that a command left below its keeper, found in /proc and ended."""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    import ctypes

_PR_SET_CHILD_SUBREAPER = 36


def adopt_orphans() -> None:
    """Make this process the parent of whatever below it loses its own (Linux 3.4, prctl(2))."""
    if sys.platform == "linux":
        _libc().prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def descendants(root: int) -> list[int]:
    """Return the living processes below `root`; none where there is no /proc."""
    children: dict[int, list[int]] = {}
    for name in _proc():
        if name.isdigit():
            parent = _living_parent(name)
            if parent is not None:
                children.setdefault(parent, []).append(int(name))
    found: list[int] = []
    wanted = [root]
    while wanted:
        below = children.get(wanted.pop(), [])
        found += below
        wanted += below
    return found


def signal_tree(leader: int | None, *numbers: int) -> None:
    """Send signals to everything below this process, and to the leader's group."""
    for number in numbers:
        if leader is not None:
            _kill(-leader, number)
        for pid in descendants(os.getpid()):
            _kill(pid, number)


def reap() -> tuple[list[tuple[int, int]], bool]:
    """Take what has ended from the kernel: process ids and wait statuses.

    Also returns whether nothing is left below this process.
    """
    found: list[tuple[int, int]] = []
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return found, True
        if pid == 0:
            return found, False
        found.append((pid, status))


def load() -> None:
    """Load what `adopt_orphans` needs, once for all who are forked from here."""
    if sys.platform == "linux":
        _libc()


def _libc() -> ctypes.CDLL:
    import ctypes

    return ctypes.CDLL(None, use_errno=True)


def _proc() -> list[str]:
    try:
        return os.listdir("/proc")
    except OSError:
        return []


def _living_parent(name: str) -> int | None:
    try:
        with open(f"/proc/{name}/stat", "rb") as file:
            data = file.read()
    except OSError:
        return None
    fields = data[data.rindex(b")") + 2 :].split()
    return None if fields[0] in {b"Z", b"X"} else int(fields[1])


def _kill(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except OSError:
        return
