"""The first sync of a large store to a new node, and what one entry costs after that."""

from __future__ import annotations

import time

from benchmarks.fill import fill_store
from benchmarks.latency import UNLIMITED, samples
from benchmarks.local_api import LocalApi
from benchmarks.measure import MS, median
from benchmarks.report import Row, main
from tests.system.harness import Fleet, Node, new_fleet

ENTRIES = 200_000
VALUE_BYTES = 200
WRITES = 200
DEADLINE_S = 300.0
LOOK_EVERY_S = 0.1


def entries_held(api: LocalApi) -> int:
    """Return how many entries a node's logs hold."""
    _, answer = api.call("GET", "/api/v1/node")
    return int(answer["entries"])


def wait_until_held(node: Node, entries: int) -> None:
    """Wait until a node holds that many entries."""
    until = time.monotonic() + DEADLINE_S
    api = LocalApi(node)
    while (held := entries_held(api)) < entries:
        if time.monotonic() > until:
            raise TimeoutError(f"{held} of {entries} entries after {DEADLINE_S} s")
        time.sleep(LOOK_EVERY_S)
    api.close()


def synced_pair(fleet: Fleet, name: str, entries: int) -> tuple[Node, Node, float]:
    """Return a node with that many entries, one that took them over, and the seconds it took."""
    old = fleet.node(f"{name}-old", **UNLIMITED)
    old.init()
    if entries:
        fill_store(old, entries, VALUE_BYTES)
    old.start()
    api = LocalApi(old)
    held = entries_held(api)
    api.close()
    new = fleet.node(f"{name}-new", **UNLIMITED)
    new.join(old.out("invite"))
    started = time.perf_counter()
    new.start()
    wait_until_held(new, held)
    return old, new, time.perf_counter() - started


def run() -> list[Row]:
    """Time the first sync, then single writes beside those on an empty pair."""
    with new_fleet() as full, new_fleet() as empty:
        old, new, seconds = synced_pair(full, "full", ENTRIES)
        bare_old, bare_new, bare_seconds = synced_pair(empty, "empty", 0)
        times = samples({"full": (old, new), "empty": (bare_old, bare_new)}, WRITES)
    middle = {name: median(found) * MS for name, found in times.items()}
    what = f"{ENTRIES:,} entries of {VALUE_BYTES} bytes"
    return [
        Row("first sync", seconds, "s", 12, f"{what}, from the start of the new daemon"),
        Row("first sync, empty store", bare_seconds, "s", note="mostly the daemon's start"),
        Row("entries a second", ENTRIES / seconds, "/s"),
        Row("one new entry after that", middle["full"], "ms", note=f"median of {WRITES}"),
        Row("one new entry, empty store", middle["empty"], "ms", note=f"median of {WRITES}"),
        Row("full / empty", middle["full"] / middle["empty"], "times", 1.25),
    ]


if __name__ == "__main__":
    raise SystemExit(main("first_sync", run))
