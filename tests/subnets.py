"""Addresses for the engines of the tests: two bridges with the same ones would lose packets."""

from __future__ import annotations

import fcntl
import os
import random
from pathlib import Path

_ROUTES = Path("/proc/net/route")
_LOCKS = Path(f"/tmp/covey-test-subnets-{os.geteuid()}")
_BLOCK = 32
_held: list[int] = []


def choose_block(first: int, seconds: int) -> tuple[int, int]:
    """Return the second and third byte of a 10.x.y.0/19 with `first` <= x < `first` + `seconds`.

    It is this process's until it ends, and nobody on this machine has a route into it.
    """
    _LOCKS.mkdir(mode=0o700, exist_ok=True)
    blocks = [(x, y) for x in range(first, first + seconds) for y in range(0, 256, _BLOCK)]
    for second, third in random.sample(blocks, len(blocks)):
        lock = os.open(_LOCKS / f"{second}.{third}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            continue
        _held.append(lock)
        if not any(x == second and third <= y < third + _BLOCK for x, y in _routes()):
            return second, third
    raise AssertionError("no addresses are left for an engine of the tests")


def _routes() -> set[tuple[int, int]]:
    """Return the second and third byte of the destinations below 10.0.0.0/8 (proc(5))."""
    found = set()
    for line in _ROUTES.read_text().splitlines()[1:]:
        address = bytes.fromhex(line.split("\t")[1])[::-1]
        if address[0] == 10:
            found.add((address[1], address[2]))
    return found
