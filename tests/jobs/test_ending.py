"""How runs end that did not come to their own end: cancelled, given up, broken off."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path
from types import NoneType

import pytest

from covey.errors import RefusedError, StorageError
from covey.jobs.api import JobRun, Retry
from covey.jobs.failures import crash_loop
from covey.jobs.model import JobState, StepState
from covey.jobs.ports import Outcome, StoredStep
from covey.jobs.rows import stored_job, template_of, wall_clock
from covey.jobs.runner import Patience
from covey.testing.memory_jobs import MemoryJobStorage
from tests.jobs.jobs import Gate, Work, new, until


async def test_cancelling_reaches_the_running_step_and_waits_for_its_clean_up(work: Work):
    async def run(run: JobRun) -> None:
        await run.step("fetch", lambda: work.note("fetch"), NoneType)
        try:
            await run.step("build", Gate().wait, NoneType)
        except asyncio.CancelledError:
            assert not run.stopping
            await run.step("clean up", lambda: work.note("clean up"), NoneType)
            raise
        work.noted.append("not cancelled")

    work.kind("k", run, retry=Retry(3))
    async with work.engine() as jobs:
        job = await jobs.enqueue(new("k"))
        await until(lambda: len(jobs.get(job.id).steps) == 2)
        done = await jobs.cancel(job.id)
        assert (done.state, done.failure) == (JobState.CANCELLED, None)
        assert [(step.name, step.state) for step in done.steps] == [
            ("fetch", StepState.SUCCEEDED),
            ("build", StepState.CANCELLED),
            ("clean up", StepState.SUCCEEDED),
        ]
        assert (await jobs.cancel(job.id)).state is JobState.CANCELLED
    assert work.noted == ["fetch", "clean up"]


async def test_what_has_not_begun_is_cancelled_at_once(work: Work):
    work.kind("k", lambda _run: Gate().wait())
    async with work.engine(at_once=1) as jobs:
        running = await jobs.enqueue(new("k"))
        queued = await jobs.enqueue(new("k"))
        later = await jobs.enqueue(new("k", not_before=wall_clock() + timedelta(days=1)))
        await until(lambda: jobs.get(running.id).state is JobState.RUNNING)
        for job in (queued, later):
            assert (await jobs.cancel(job.id)).state is JobState.CANCELLED
        assert len(jobs.find(states=frozenset({JobState.CANCELLED}))) == 2


async def test_a_job_that_waits_for_another_attempt_can_be_cancelled(work: Work):
    async def run(run: JobRun) -> None:
        raise RefusedError("no")

    work.kind("k", run, retry=Retry(2, first_wait_s=3600))
    async with work.engine() as jobs:
        job = await jobs.enqueue(new("k"))
        await until(lambda: jobs.get(job.id).state is JobState.SCHEDULED)
        assert (await jobs.cancel(job.id)).state is JobState.CANCELLED


async def test_a_clean_up_that_fails_is_told(work: Work):
    async def run(run: JobRun) -> None:
        try:
            await Gate().wait()
        finally:
            raise RefusedError("the container stays")

    work.kind("k", run)
    async with work.engine() as jobs:
        job = await jobs.enqueue(new("k"))
        await until(lambda: jobs.get(job.id).state is JobState.RUNNING)
        done = await jobs.cancel(job.id)
    assert done.state is JobState.CANCELLED
    assert done.failure is not None
    assert done.failure.message == "the container stays"


@pytest.mark.parametrize("how", ["cancel", "timeout"])
async def test_a_run_that_swallows_its_end_does_not_block_others(work: Work, how: str):
    gate = Gate()

    async def stubborn(run: JobRun) -> None:
        while not work.noted:
            try:
                await gate.wait()
                break
            except asyncio.CancelledError:
                continue
        try:
            await run.step("more", lambda: work.note("more"), NoneType)
        except asyncio.CancelledError:
            work.noted.append("refused")

    work.kind("stubborn", stubborn, timeout_s=0.01 if how == "timeout" else None)
    work.kind("next", lambda _run: work.note("next"))
    async with work.engine(at_once=1, patience=Patience(clean_up_s=0.05)) as jobs:
        job = await jobs.enqueue(new("stubborn", key="a"))
        after = await jobs.enqueue(new("next", key="a"))
        await until(lambda: jobs.get(job.id).state is JobState.RUNNING)
        if how == "cancel":
            await jobs.cancel(job.id)
        assert (await jobs.wait(after.id)).state is JobState.SUCCEEDED
        done = await jobs.wait(job.id)
        assert done.state is (JobState.CANCELLED if how == "cancel" else JobState.FAILED)
        assert done.failure is not None
        assert "did not" in done.failure.message
        gate.open()
        await until(lambda: len(work.noted) == 2)
    assert work.noted == ["next", "refused"]


async def test_stopping_breaks_off_and_the_next_start_goes_on(work: Work):
    gate = Gate()

    async def run(run: JobRun) -> None:
        fetched = await run.step("fetch", lambda: count("fetch"), int)
        try:
            await run.step("build", build, NoneType)
        except asyncio.CancelledError:
            work.noted.append(("stopping", run.stopping))
            await run.step("clean up", lambda: work.note("cleaned up"), NoneType)
        work.noted.append((run.attempt, run.resumed, fetched))

    async def count(what: str) -> int:
        work.noted.append(what)
        return 7

    async def build() -> None:
        work.noted.append("build")
        await gate.wait()

    work.kind("k", run)
    async with work.engine() as jobs:
        job = await jobs.enqueue(new("k"))
        await until(lambda: "build" in work.noted)
    assert work.noted == ["fetch", "build", ("stopping", True)]
    assert [each.state for each in work.storage.find()] == [JobState.QUEUED]
    gate.open()
    async with work.engine() as jobs:
        assert (await jobs.wait(job.id)).state is JobState.SUCCEEDED
    assert work.noted[3:] == ["build", (1, True, 7)]


async def test_a_run_that_ignores_the_stop_is_left_behind(work: Work):
    gate = Gate()

    async def run(run: JobRun) -> None:
        while not work.noted:
            try:
                await gate.wait()
            except asyncio.CancelledError:
                continue

    work.kind("k", run)
    async with work.engine(patience=Patience(stop_s=0.02)) as jobs:
        await jobs.enqueue(new("k"))
        await until(lambda: jobs.find()[0].state is JobState.RUNNING)
    assert [each.state for each in work.storage.find()] == [JobState.QUEUED]
    work.noted.append("end")
    gate.open()
    await asyncio.sleep(0)


async def crashed(work: Work, *done: str) -> str:
    """Leave a job as a daemon does that is killed behind these steps."""
    given = new("k", key="a")
    job = stored_job(template_of(given), work.kinds["k"], wall_clock())
    await work.storage.enqueue(job)
    (claim,) = await work.storage.claim("killed", 1, {}, wall_clock())
    now = wall_clock()
    steps = [StoredStep(name, StepState.SUCCEEDED, now, now, 1, b"\xc0") for name in done]
    assert await work.storage.record("killed", claim.job.id, steps)
    return job.id


async def test_a_job_is_resumed_at_once_and_before_others_of_its_key(work: Work):
    async def run(run: JobRun) -> None:
        work.noted.append((run.id, run.resumed, run.attempt))

    work.kind("k", run)
    job = await crashed(work)
    async with work.engine(at_once=1) as jobs:
        newer = await jobs.enqueue(new("k", key="a", supersede=True))
        await jobs.wait(newer.id)
    assert work.noted == [(job, True, 1), (newer.id, False, 1)]


async def test_a_cancellation_survives_a_crash_and_cleans_up_where_the_run_was(work: Work):
    async def run(run: JobRun) -> None:
        await run.step("one", lambda: work.note("one"), NoneType)
        try:
            await run.step("two", lambda: work.note("two"), NoneType)
            await run.step("three", lambda: work.note("three"), NoneType)
        finally:
            await run.step("clean up", lambda: work.note("clean up"), NoneType)

    work.kind("k", run)
    job = await crashed(work, "one", "two")
    await work.storage.cancel(job, wall_clock())
    async with work.engine() as jobs:
        done = await jobs.wait(job)
    assert done.state is JobState.CANCELLED
    assert work.noted == ["clean up"]


async def test_a_cancellation_that_survives_a_crash_ends_a_run_without_steps(work: Work):
    async def run(run: JobRun) -> None:
        work.noted.append("begins")
        await Gate().wait()

    work.kind("k", run)
    job = await crashed(work)
    await work.storage.cancel(job, wall_clock())
    async with work.engine() as jobs:
        assert (await jobs.wait(job)).state is JobState.CANCELLED
    assert work.noted == ["begins"]


async def test_a_job_that_takes_the_daemon_with_it_is_given_up(work: Work):
    async def run(run: JobRun) -> None:
        work.noted.append("runs")

    work.kind("k", run)
    job = await crashed(work)
    for at in range(9):
        failed = await work.storage.recover(
            f"worker {at}", wall_clock(), most_breaks=10, failure=crash_loop(10)
        )
        assert [each.state for each in failed] == [JobState.QUEUED]
        assert await work.storage.claim(f"worker {at}", 1, {}, wall_clock())
    async with work.engine() as jobs:
        done = await jobs.wait(job)
        assert done.state is JobState.FAILED
        assert done.failure is not None
        assert "10 times" in done.failure.message
        assert work.noted == []
        await jobs.retry(job)
        assert (await jobs.wait(job)).state is JobState.SUCCEEDED


async def test_an_end_that_cannot_be_written_is_written_later(
    work: Work, monkeypatch: pytest.MonkeyPatch
):
    settle, refused = work.storage.settle, []

    async def full(worker: str, job: str, outcome: Outcome) -> bool:
        if not refused:
            refused.append(outcome)
            raise StorageError("The disk is full.")
        return await settle(worker, job, outcome)

    monkeypatch.setattr("covey.jobs.runner._FIRST_RETRY_S", 0.01)
    monkeypatch.setattr(type(work.storage), "settle", lambda _self, *given: full(*given))
    work.kind("k", lambda _run: work.note("ran"))
    async with work.engine() as jobs:
        job = await jobs.enqueue(new("k"))
        assert (await jobs.wait(job.id)).state is JobState.SUCCEEDED
    assert work.noted == ["ran"]
    assert len(refused) == 1


async def test_what_others_took_over_is_ended_here(tmp_path: Path):
    work = Work(MemoryJobStorage(lease_s=1.0), tmp_path)
    ended = []

    async def run(run: JobRun) -> None:
        try:
            await Gate().wait()
        except asyncio.CancelledError:
            ended.append(run.id)
            raise

    work.kind("k", run)
    async with work.engine() as jobs:
        job = await jobs.enqueue(new("k"))
        await until(lambda: jobs.get(job.id).state is JobState.RUNNING)
        await asyncio.sleep(1.5)
        assert (await work.storage.claim("other", 1, {}, wall_clock())) == []
        late = wall_clock() + timedelta(seconds=1)
        (claim,) = await work.storage.claim("other", 1, {}, late)
        assert (claim.job.id, claim.resumed) == (job.id, True)
        await until(lambda: bool(ended))
        assert await work.storage.settle("other", job.id, Outcome(JobState.SUCCEEDED, wall_clock()))
        assert (await jobs.wait(job.id)).state is JobState.SUCCEEDED
