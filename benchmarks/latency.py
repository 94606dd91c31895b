"""How long until a write on one node is what another node answers with."""

from __future__ import annotations

import time

from benchmarks.local_api import LocalApi
from benchmarks.measure import MS, median, percentile
from benchmarks.report import Row, main
from tests.system.harness import Node, new_fleet

WRITES = 300
WARM_UP = 10
DEADLINE_S = 10.0
UNLIMITED = {"COVEY_API_RATE_LIMIT_PER_MINUTE": "10000000"}


def write_to_visible(writer: LocalApi, reader: LocalApi, number: int) -> float:
    """Seconds from the start of a write on one node until a read on the other returns it."""
    path = "/api/v1/env/BENCHMARK"
    value = f"value {number}"
    started = time.perf_counter()
    status, answer = writer.call("PUT", path, {"value": value})
    if status != 200:
        raise RuntimeError(f"the write was refused: {answer}")
    while time.perf_counter() - started < DEADLINE_S:
        status, answer = reader.call("GET", path)
        if status == 200 and answer["value"] == value:
            return time.perf_counter() - started
    raise TimeoutError(f"not visible after {DEADLINE_S} s")


def samples(writer: Node, reader: Node, writes: int = WRITES) -> list[float]:
    """Write that often on one node and time each until the other has it."""
    here, there = LocalApi(writer), LocalApi(reader)
    try:
        return [write_to_visible(here, there, number) for number in range(WARM_UP + writes)][
            WARM_UP:
        ]
    finally:
        here.close()
        there.close()


def run() -> list[Row]:
    """Time both directions between two daemons."""
    with new_fleet() as fleet:
        freya = fleet.founder("freya", **UNLIMITED)
        frigg = fleet.member(freya, "frigg", **UNLIMITED)
        there = samples(freya, frigg)
        back = samples(frigg, freya)
    note = f"{WRITES} writes, two daemons on this machine"
    rows = []
    for name, found in (("inviter to joiner", there), ("joiner to inviter", back)):
        rows += [
            Row(f"write to visible, {name}, median", median(found) * MS, "ms", 25, note),
            Row(f"write to visible, {name}, 99 %", percentile(found, 99) * MS, "ms", 100, note),
        ]
    return rows


if __name__ == "__main__":
    raise SystemExit(main("latency", run))
