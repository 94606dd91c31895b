"""Timing: medians of interleaved runs, so that a busy moment hits every contender alike."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Mapping, Sequence

MS = 1000.0


def process_seconds(command: Sequence[str], environment: Mapping[str, str]) -> float:
    """Run a program to its end with nothing to read and its output dropped; seconds it took."""
    null = os.open(os.devnull, os.O_RDWR)
    try:
        started = time.perf_counter()
        pid = os.posix_spawn(
            command[0],
            list(command),
            dict(environment),
            file_actions=[(os.POSIX_SPAWN_DUP2, null, number) for number in (0, 1, 2)],
        )
        _, status = os.waitpid(pid, 0)
        elapsed = time.perf_counter() - started
    finally:
        os.close(null)
    if status != 0:
        raise RuntimeError(f"{command} ended with {os.waitstatus_to_exitcode(status)}")
    return elapsed


def interleaved(
    contenders: Mapping[str, Callable[[], float]], rounds: int, warm_up: int = 3
) -> dict[str, list[float]]:
    """Call each contender once a round, in turn; returns the results by name."""
    samples: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(warm_up + rounds):
        for name, contender in contenders.items():
            result = contender()
            if number >= warm_up:
                samples[name].append(result)
    return samples


def median(samples: Sequence[float]) -> float:
    """Return the middle sample."""
    return statistics.median(samples)


def percentile(samples: Sequence[float], percent: int) -> float:
    """Return the sample that `percent` of them do not exceed (nearest rank)."""
    ordered = sorted(samples)
    rank = -(-percent * len(ordered) // 100)
    return ordered[max(rank, 1) - 1]
