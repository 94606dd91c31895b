"""The memory storage and the real one do the same, whatever is asked of them in whatever order."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from covey.engines.sqlite.job_storage import SqliteJobStorage
from covey.jobs.model import JobFailure, JobState, Priority, StepState
from covey.jobs.ports import (
    JobStorage,
    JobTemplate,
    Outcome,
    StoredJob,
    StoredSchedule,
    StoredStep,
)
from covey.testing.memory_jobs import MemoryJobStorage
from tests.engines.sqlite_home import SqliteHome

START = datetime(2026, 3, 1, tzinfo=UTC)
FAILURE = JobFailure("refused", "no", None)
KEYS = st.sampled_from([None, "a", "b"])
KINDS = st.sampled_from(["build", "check"])
WORKERS = st.sampled_from(["one", "two"])
NUMBERS = st.integers(0, 12)
MOSTLY = st.sampled_from([True, True, True, False])
SECONDS = st.integers(0, 20)
NAMES = st.sampled_from(["night", "nightly", "noon"])
OUTCOMES = st.sampled_from(
    [JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED, JobState.SCHEDULED]
)


def job_id(number: int) -> str:
    """Ids whose beginnings are alike."""
    return "job" + "abcdefghijklmnopqrstuvwxyz"[number % 26] + "x" * (number // 26)


class StorageMachine(RuleBasedStateMachine):
    """Asks both the same, and compares the answers and all that can be read."""

    @initialize()
    def begin(self) -> None:
        self.directory = Path(tempfile.mkdtemp())
        self.home = SqliteHome(self.directory / "covey.db")
        self.real = SqliteJobStorage(self.home.database)
        self.fake = MemoryJobStorage()
        self.now = START
        self.made = 0

    def both(self, ask: Callable[[JobStorage], Awaitable[Any]]) -> Any:
        real, fake = asyncio.run(_pair(ask(self.real), ask(self.fake)))
        assert real == fake
        return real

    def job(self, kind: str, key: str | None, more: dict[str, Any]) -> StoredJob:
        self.made += 1
        return StoredJob(
            id=job_id(self.made),
            kind=kind,
            payload=b"{}",
            title="a job",
            subject=f"app/{key}",
            caller="freya",
            created=self.now,
            key=key,
            **{"priority": Priority.DEFAULT, **more},
        )

    @rule(
        kind=KINDS,
        key=KEYS,
        priority=st.sampled_from(Priority),
        unique=st.sampled_from([None, "x", "y"]),
        unique_for_s=st.sampled_from([0, 15]),
        wait_s=st.sampled_from([None, 0, 10]),
        supersede=st.booleans(),
        attempts=st.integers(1, 3),
    )
    def enqueue(
        self,
        kind: str,
        key: str | None,
        priority: Priority,
        unique: str | None,
        unique_for_s: int,
        wait_s: int | None,
        supersede: bool,
        attempts: int,
    ):
        due = None if wait_s is None else self.now + timedelta(seconds=wait_s)
        job = self.job(
            kind,
            key,
            {
                "priority": priority,
                "unique": unique,
                "unique_for_ms": unique_for_s * 1000,
                "state": JobState.QUEUED if due is None else JobState.SCHEDULED,
                "not_before": due,
                "due": due,
                "max_attempts": attempts,
            },
        )
        self.both(lambda at: at.enqueue(job, supersede=supersede))

    @rule(worker=WORKERS, limit=st.integers(0, 4), room=st.dictionaries(KINDS, st.integers(0, 2)))
    def claim(self, worker: str, limit: int, room: dict[str, int]):
        before = {job.id: job for job in self.fake.find()}
        claims = self.both(lambda at: at.claim(worker, limit, room, self.now))
        assert len(claims) <= limit
        for claim in claims:
            assert before[claim.job.id].state in {JobState.QUEUED, JobState.SCHEDULED}
            assert claim.resumed == before[claim.job.id].begun

    @rule(seconds=SECONDS)
    def wait(self, seconds: int):
        self.now += timedelta(seconds=seconds)

    @rule(worker=WORKERS)
    def extend(self, worker: str):
        self.both(lambda at: at.extend(worker, self.now))

    @rule(at=NUMBERS, own=MOSTLY, name=st.sampled_from("pqr"), good=st.booleans())
    def record(self, at: int, own: bool, name: str, good: bool):
        state = StepState.SUCCEEDED if good else StepState.FAILED
        result = b"\0result" if good else None
        step = StoredStep(name, state, self.now, self.now, 2, result)
        worker, job = self.claimed(at, own=own)
        self.both(lambda at: at.record(worker, job, [step]))

    @rule(at=NUMBERS, own=MOSTLY, state=OUTCOMES, seconds=SECONDS, step=st.booleans())
    def settle(self, at: int, own: bool, state: JobState, seconds: int, step: bool):
        due = self.now + timedelta(seconds=seconds) if state is JobState.SCHEDULED else None
        failure = None if state is JobState.SUCCEEDED else FAILURE
        steps = [StoredStep("last", StepState.FAILED, self.now, self.now)] if step else []
        outcome = Outcome(state, self.now, failure, due, 0.5, steps)
        worker, job = self.claimed(at, own=own)
        self.both(lambda at: at.settle(worker, job, outcome))

    def claimed(self, at: int, *, own: bool) -> tuple[str, str]:
        """A worker and a job: its own, or one that it has not claimed."""
        running = self.fake.find(states={JobState.RUNNING})
        if own and running:
            job = running[at % len(running)]
            return str(job.worker), job.id
        return "one", self.any_job(at)

    def any_job(self, at: int) -> str:
        jobs = self.fake.find()
        return jobs[at % len(jobs)].id if at and jobs else job_id(at)

    @rule(worker=WORKERS)
    def hand_back(self, worker: str):
        self.both(lambda at: at.hand_back(worker))

    @rule(worker=WORKERS, most=st.integers(1, 3))
    def recover(self, worker: str, most: int):
        given = {"most_breaks": most, "failure": FAILURE}
        self.both(lambda at: _sorted(at.recover(worker, self.now, **given)))

    @rule(number=NUMBERS)
    def cancel(self, number: int):
        self.both(lambda at: at.cancel(self.any_job(number), self.now))

    @rule(number=NUMBERS)
    def retry(self, number: int):
        self.both(lambda at: at.retry(self.any_job(number)))

    @rule(seconds=SECONDS, keep=st.integers(0, 6), limit=st.integers(1, 3))
    def prune(self, seconds: int, keep: int, limit: int):
        before = self.now - timedelta(seconds=seconds)
        self.both(lambda at: at.prune(before, keep=keep, limit=limit))

    @rule(name=NAMES, cron=st.sampled_from(["0 3 * * *", "0 12 * * *"]), seconds=SECONDS)
    def put_schedule(self, name: str, cron: str, seconds: int):
        schedule = self.schedule(name, cron, seconds)
        self.both(lambda at: at.put_schedule(schedule))

    @rule(name=NAMES)
    def remove_schedule(self, name: str):
        self.both(lambda at: at.remove_schedule(name))

    @rule(name=NAMES, seconds=SECONDS, skip=st.booleans())
    def fire(self, name: str, seconds: int, skip: bool):
        schedule = self.schedule(name, "0 3 * * *", seconds)
        job = None if skip else self.job("build", "a", {})
        self.both(lambda at: at.fire(schedule, job))

    def schedule(self, name: str, cron: str, seconds: int) -> StoredSchedule:
        at = self.now + timedelta(seconds=seconds)
        job = JobTemplate("build", b"{}", "a job", "", "freya", Priority.LOW, "a", seconds > 10)
        return StoredSchedule(name, cron, "UTC", 1.5, job, at, at)

    @rule()
    def restart(self):
        self.home.close()
        self.home.open()
        self.real = SqliteJobStorage(self.home.database)

    @invariant()
    def all_that_can_be_read_is_the_same(self):
        real, fake = self.real, self.fake
        jobs = fake.find()
        assert real.find() == jobs
        assert real.find(limit=2) == fake.find(limit=2)
        states = frozenset({JobState.QUEUED, JobState.FAILED})
        assert real.find(states=states, kind="build") == fake.find(states=states, kind="build")
        assert real.find(subject="app/a") == fake.find(subject="app/a")
        names = [job.id for job in jobs]
        for name in ("gone", *names[:2]):
            assert real.find(before=name, limit=3) == fake.find(before=name, limit=3)
        assert real.steps(names) == fake.steps(names)
        for prefix in ("", "job", "joba", "jobb", "z"):
            assert real.get(prefix, 3) == fake.get(prefix, 3)
        assert real.next_due() == fake.next_due()
        for prefix in ("", "night", "noon"):
            assert real.schedules(prefix) == fake.schedules(prefix)

    @invariant()
    def of_each_key_at_most_one_job_is_under_way(self):
        keys = [job.key for job in self.fake.find() if job.begun and job.key is not None]
        assert len(keys) == len(set(keys))

    def teardown(self) -> None:
        self.home.close()
        shutil.rmtree(self.directory)


async def _pair(one: Awaitable[Any], two: Awaitable[Any]) -> tuple[Any, Any]:
    return await one, await two


async def _sorted(jobs: Awaitable[list[StoredJob]]) -> list[StoredJob]:
    return sorted(await jobs, key=lambda job: job.id)


TestStorage = StorageMachine.TestCase
TestStorage.settings = settings(max_examples=40, stateful_step_count=60, deadline=None)
