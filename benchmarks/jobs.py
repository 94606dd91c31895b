"""The job engine on a real database: from enqueuing to the run, jobs a second, and idle cost."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import NoneType

import msgspec

from benchmarks.measure import MS, median, percentile
from benchmarks.report import Row, main
from covey.engines.sqlite.database import Database
from covey.engines.sqlite.job_storage import SqliteJobStorage
from covey.engines.sqlite.migrations import migrate
from covey.jobs.api import JobKind, JobRun, NewJob, Schedule
from covey.jobs.engine import JobEngine
from covey.jobs.log_files import LogFiles

STARTS = 1000
JOBS = 3000
WORKFLOWS = 300
STEPS = 5
SCHEDULES = 200
WATCH_S = 20


class Nothing(msgspec.Struct, frozen=True):
    """What a job here needs to know."""


@dataclass
class Begun:
    """When runs began, by `time.perf_counter`."""

    times: list[float] = field(default_factory=list)

    async def note(self, _: JobRun) -> None:
        """The first line of a run."""
        self.times.append(time.perf_counter())


def a_job(kind: str) -> NewJob:
    """Return a job to enqueue."""
    return NewJob(kind, Nothing(), "A job")


async def wait(_: JobRun) -> None:
    """A run that takes until it is broken off."""
    await asyncio.Event().wait()


async def workflow(run: JobRun) -> None:
    """A run of steps that do nothing."""
    for number in range(STEPS):
        await run.step(f"step {number}", lambda: asyncio.sleep(0), NoneType)


@asynccontextmanager
async def engine(directory: Path, *kinds: JobKind) -> AsyncIterator[JobEngine]:
    """Serve jobs on a database in a directory, as a daemon does."""
    database = Database(directory / "covey.db", bytes(range(32)))
    database.prepare(lambda at: migrate(at, database.path, before=lambda _: None))
    made = JobEngine(SqliteJobStorage(database), LogFiles(directory / "jobs", 8 << 20))
    for kind in kinds:
        made.register(kind)
    await made.start()
    try:
        yield made
    finally:
        await made.stop()
        database.close()


async def starts(directory: Path) -> list[float]:
    """Seconds from the call that enqueues to the first line of the run, one job after another."""
    begun, found = Begun(), []
    async with engine(directory, JobKind("k", begun.note)) as jobs:
        for _ in range(STARTS):
            called = time.perf_counter()
            job = await jobs.enqueue(a_job("k"))
            await jobs.wait(job.id)
            found.append(begun.times[-1] - called)
    return found


async def rate(directory: Path) -> float:
    """Jobs a second, enqueued all at once, from the first call until the last has ended."""
    begun = Begun()
    async with engine(directory, JobKind("k", begun.note)) as jobs:
        called = time.perf_counter()
        made = await asyncio.gather(*(jobs.enqueue(a_job("k")) for _ in range(JOBS)))
        for job in made:
            await jobs.wait(job.id)
        return JOBS / (time.perf_counter() - called)


async def workflows(directory: Path) -> list[float]:
    """Seconds for a job of steps, each of whose results is durable before the next begins."""
    found = []
    async with engine(directory, JobKind("k", workflow)) as jobs:
        for _ in range(WORKFLOWS):
            called = time.perf_counter()
            job = await jobs.enqueue(a_job("k"))
            await jobs.wait(job.id)
            found.append(time.perf_counter() - called)
    return found


async def resumption(directory: Path) -> float:
    """Seconds from the start of an engine until it runs what an earlier one left running."""
    async with engine(directory, JobKind("k", wait)) as jobs:
        job = await jobs.enqueue(a_job("k"))
        while not jobs.get(job.id).attempt:
            await asyncio.sleep(0.001)
    begun = Begun()
    called = time.perf_counter()
    async with engine(directory, JobKind("k", begun.note)) as jobs:
        await jobs.wait(job.id)
    return begun.times[0] - called


async def idle(directory: Path) -> float:
    """Per cent of a core for an engine with schedules, none of which comes due."""
    async with engine(directory, JobKind("k", wait)) as jobs:
        for number in range(SCHEDULES):
            await jobs.put_schedule(Schedule(f"{number}", "0 0 29 2 *", a_job("k")))
        await jobs.enqueue(a_job("k"))
        # The database gives memory back a while after the last write.
        await asyncio.sleep(6)
        before = time.process_time()
        await asyncio.sleep(WATCH_S)
        used = time.process_time() - before
    return used / WATCH_S * 100


def once(measure: Callable[[Path], Awaitable[float | list[float]]]) -> list[float]:
    """Measure in a fresh directory."""

    async def run() -> list[float]:
        with tempfile.TemporaryDirectory(dir=Path.home()) as directory:
            found = await measure(Path(directory))
            return found if isinstance(found, list) else [found]

    return asyncio.run(run())


def run() -> list[Row]:
    """Measure each on a database of its own."""
    began = once(starts)
    flows = once(workflows)
    per_second = once(rate)[0]
    resumed = once(resumption)[0]
    percent = once(idle)[0]
    note = f"{STARTS} jobs, one after another"
    return [
        Row("from enqueuing to the run, median", median(began) * MS, "ms", 20, note),
        Row("the same, 99th percentile", percentile(began, 99) * MS, "ms", 20, note),
        Row(f"a job of {STEPS} steps", median(flows) * MS, "ms", None, "each durable; median"),
        Row("time for a job, of many at once", MS / per_second, "ms", None, f"{per_second:.0f}/s"),
        Row("from a start to a resumed run", resumed * MS, "ms", 100, "opening the database too"),
        Row("processor, idle", percent, "% of a core", 0.2, f"{SCHEDULES} schedules and a run"),
    ]


if __name__ == "__main__":
    raise SystemExit(main("jobs", run))
