"""Addresses for the engines of the tests: two bridges with the same ones would lose packets."""

from __future__ import annotations

import fcntl
import os
import random
import re
import shlex
import subprocess
from pathlib import Path

_ROUTES = Path("/proc/net/route")
_LOCKS = Path(f"/tmp/covey-test-subnets-{os.geteuid()}")
_BLOCK = 32
_FORWARD = re.compile(
    r'-A NETAVARK-HOSTPORT-DNAT .*"dnat name: (?:covey|ct-cvp)-.*-j (NETAVARK-DN-\w+)'
)
_TARGET = re.compile(r"-A (NETAVARK-DN-\w+) .*--to-destination 10\.(\d+)\.(\d+)\.")
_held: list[int] = []


def choose_block(first: int, seconds: int) -> tuple[int, int]:
    """Return the second and third byte of a 10.x.y.0/19 with `first` <= x < `first` + `seconds`.

    It is this process's until it ends, and nobody on this machine has a route into it.
    """
    _LOCKS.mkdir(mode=0o700, exist_ok=True)
    blocks = [(x, y) for x in range(first, first + seconds) for y in range(0, 256, _BLOCK)]
    for second, third in random.sample(blocks, len(blocks)):
        lock = _lock(second, third, os.O_CREAT)
        if lock is None:
            continue
        _held.append(lock)
        if not any(x == second and third <= y < third + _BLOCK for x, y in _routes()):
            return second, third
    raise AssertionError("no addresses are left for an engine of the tests")


def stop_dead_forwarding() -> None:
    """Remove the forwarded ports of Podmans whose tests were killed.

    Their rules would take connections to these ports away from whoever listens there later.
    """
    if os.geteuid() != 0:
        return  # a user's Podman forwards ports in a network namespace of its own
    rules = _iptables("-S").splitlines()
    targets = {found[1]: found for rule in rules if (found := _TARGET.match(rule))}
    for rule in rules:
        forward = _FORWARD.match(rule)
        target = targets.get(forward[1]) if forward else None
        if target is None:
            continue
        lock = _lock(int(target[2]), int(target[3]) // _BLOCK * _BLOCK)
        if lock is not None:
            _iptables("-D", *shlex.split(rule)[1:])
            os.close(lock)


def _lock(second: int, third: int, create: int = 0) -> int | None:
    """Hold a block; None if it is another's, or was none of these tests' ever."""
    try:
        lock = os.open(_LOCKS / f"{second}.{third}", os.O_RDWR | os.O_CLOEXEC | create, 0o600)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return None
    return lock


def _iptables(*words: str) -> str:
    done = subprocess.run(
        ["iptables", "-w", "-t", "nat", *words], capture_output=True, text=True, check=False
    )
    return done.stdout


def _routes() -> set[tuple[int, int]]:
    """Return the second and third byte of the destinations below 10.0.0.0/8 (proc(5))."""
    found = set()
    for line in _ROUTES.read_text().splitlines()[1:]:
        address = bytes.fromhex(line.split("\t")[1])[::-1]
        if address[0] == 10:
            found.add((address[1], address[2]))
    return found
