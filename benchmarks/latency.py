"""How long until a write on one node is what another node answers with."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from functools import partial
from itertools import count

from benchmarks.local_api import LocalApi
from benchmarks.measure import MS, interleaved, median, percentile
from benchmarks.report import Row, main
from tests.system.harness import Node, new_fleet

WRITES = 300
WARM_UP = 10
DEADLINE_S = 10.0
UNLIMITED = {"COVEY_API_RATE_LIMIT_PER_MINUTE": "10000000"}


def write_to_visible(writer: LocalApi, reader: LocalApi, numbers: Iterator[int]) -> float:
    """Seconds from the start of a write on one node until a read on the other returns it."""
    path = "/api/v1/env/BENCHMARK"
    value = f"value {next(numbers)}"
    started = time.perf_counter()
    status, answer = writer.call("PUT", path, {"value": value})
    if status != 200:
        raise RuntimeError(f"the write was refused: {answer}")
    while time.perf_counter() - started < DEADLINE_S:
        status, answer = reader.call("GET", path)
        if status == 200 and answer["value"] == value:
            return time.perf_counter() - started
    raise TimeoutError(f"not visible after {DEADLINE_S} s")


def samples(pairs: Mapping[str, tuple[Node, Node]], writes: int = WRITES) -> dict[str, list[float]]:
    """Write in turn on the first node of each pair, timing each write until the second has it."""
    with ExitStack() as stack:
        numbers = count()
        contenders = {}
        for name, (writer, reader) in pairs.items():
            here, there = LocalApi(writer), LocalApi(reader)
            stack.callback(here.close)
            stack.callback(there.close)
            contenders[name] = partial(write_to_visible, here, there, numbers)
        return interleaved(contenders, writes, WARM_UP)


def run() -> list[Row]:
    """Time both directions between two daemons."""
    with new_fleet() as fleet:
        freya = fleet.founder("freya", **UNLIMITED)
        frigg = fleet.member(freya, "frigg", **UNLIMITED)
        found = samples({"inviter to joiner": (freya, frigg), "joiner to inviter": (frigg, freya)})
    note = f"{WRITES} writes, two daemons on this machine"
    rows = []
    for name, times in found.items():
        rows += [
            Row(f"write to visible, {name}, median", median(times) * MS, "ms", 25, note),
            Row(f"write to visible, {name}, 99 %", percentile(times, 99) * MS, "ms", 100, note),
        ]
    return rows


if __name__ == "__main__":
    raise SystemExit(main("latency", run))
