"""Memory and processor time of a daemon that has nothing to do."""

from __future__ import annotations

import os
import time
from pathlib import Path

from benchmarks.report import Row, main
from tests.system.harness import Node, new_fleet

SETTLE_S = 5
WATCH_S = 30


def processor_seconds(pid: int) -> float:
    """User and system time of a process so far (proc(5), fields 14 and 15)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_mb(pid: int) -> float:
    """Resident memory of a process in MB of 10^6 bytes."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def watch(node: Node) -> tuple[float, float]:
    """Return resident MB and per cent of a core."""
    assert node.process is not None
    pid = node.process.pid
    time.sleep(SETTLE_S)
    before, started = processor_seconds(pid), time.monotonic()
    time.sleep(WATCH_S)
    used, elapsed = processor_seconds(pid) - before, time.monotonic() - started
    return resident_mb(pid), used / elapsed * 100


def run() -> list[Row]:
    """Watch a node alone, then one with a connected peer."""
    with new_fleet() as fleet:
        freya = fleet.founder("freya")
        alone_mb, alone_percent = watch(freya)
        fleet.member(freya, "frigg")
        joined_mb, joined_percent = watch(freya)
    note = f"over {WATCH_S} s"
    return [
        Row("resident memory, alone", alone_mb, "MB", 60),
        Row("processor, alone", alone_percent, "% of a core", 0.2, note),
        Row("resident memory, one peer", joined_mb, "MB", 60),
        Row("processor, one peer", joined_percent, "% of a core", 0.2, note),
    ]


if __name__ == "__main__":
    raise SystemExit(main("idle", run))
