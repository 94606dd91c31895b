"""What a benchmark found: a table for people and a JSON file for machines."""

from __future__ import annotations

import compileall
import datetime as dt
import json
import os
import platform
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).parent / "results"
BUSY = 0.25
"""Load per core above which figures mislead."""


@dataclass(frozen=True, slots=True)
class Row:
    """One figure; `target` is the most it may be (None: a peer or a base for comparison)."""

    name: str
    value: float
    unit: str
    target: float | None = None
    note: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the target holds, or None where there is none."""
        return None if self.target is None else self.value <= self.target


@dataclass(frozen=True, slots=True)
class Machine:
    """Where the figures come from."""

    processor: str
    cores: int
    memory_gib: float
    system: str
    python: str
    load: float

    def __str__(self) -> str:
        return (
            f"{self.processor}, {self.cores} cores, {self.memory_gib:.0f} GiB, {self.system}, "
            f"Python {self.python}, load {self.load:.1f} at the start"
        )


def this_machine() -> Machine:
    """Describe this machine."""
    processor = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        models = [line for line in cpuinfo.read_text().splitlines() if "model name" in line]
        processor = models[0].partition(":")[2].strip() if models else processor
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    release = platform.freedesktop_os_release()
    return Machine(
        processor=processor,
        cores=len(os.sched_getaffinity(0)),
        memory_gib=memory,
        system=f"{release['NAME'].split()[0]} {release.get('VERSION_ID', '')}",
        python=platform.python_version(),
        load=os.getloadavg()[0],
    )


def version_of(*command: str) -> str:
    """Return the first line that a program prints about its version."""
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return (done.stdout or done.stderr).splitlines()[0].strip()


def report(title: str, machine: Machine, rows: Sequence[Row]) -> None:
    """Print the table and write `benchmarks/results/TITLE.json`."""
    table = Table(title=title, title_justify="left", caption=str(machine), caption_justify="left")
    for heading in ("figure", "value", "target", "met", "note"):
        table.add_column(heading, justify="right" if heading in {"value", "target"} else "left")
    for row in rows:
        target = "" if row.target is None else f"≤ {row.target:g} {row.unit}"
        met = {True: "yes", False: "NO", None: ""}[row.met]
        table.add_row(row.name, f"{row.value:.3g} {row.unit}", target, met, row.note)
    console = Console()
    console.width = console.width if console.is_terminal else 140
    console.print(table)
    RESULTS.mkdir(exist_ok=True)
    content = {
        "benchmark": title,
        "when": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "machine": asdict(machine),
        "figures": [{**asdict(row), "met": row.met} for row in rows],
    }
    path = RESULTS / f"{title}.json"
    path.write_text(json.dumps(content, indent=2) + "\n", "utf-8")


def main(title: str, run: Callable[[], Sequence[Row]]) -> int:
    """Run one benchmark; the exit status is 1 when a target is missed."""
    machine = this_machine()
    if machine.load > BUSY * machine.cores:
        print(f"This machine is busy (load {machine.load:.1f}): its figures will be too high.")
    # As pip does when it installs Covey; an environment may keep Python from doing it later.
    compileall.compile_dir(ROOT / "src", quiet=1)
    rows = run()
    report(title, machine, rows)
    return int(any(row.met is False for row in rows))
