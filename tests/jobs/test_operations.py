from __future__ import annotations

import asyncio
from contextlib import aclosing
from datetime import timedelta

import pytest

from covey.errors import RefusedError
from covey.jobs import job_operations
from covey.jobs.api import JobRun, Schedule
from covey.jobs.engine import JobEngine
from covey.jobs.model import JobState
from covey.jobs.rows import wall_clock
from covey.operations.access import Caller, CallerKind, Role
from covey.operations.context import Context, Services
from tests.jobs.jobs import Gate, Work, new, until


def context(engine: JobEngine) -> Context:
    services = Services()
    services.provide(JobEngine, engine)
    return Context(Caller(CallerKind.LOCAL, "owner", Role.ADMIN, "local"), services, "0")


async def test_jobs_are_listed_page_by_page_and_by_what_they_are(work: Work):
    work.kind("k", lambda _run: work.note(1))
    async with work.engine() as jobs:
        made = [await jobs.enqueue(new("k", subject=f"app/{at % 2}")) for at in range(7)]
        for job in made:
            await jobs.wait(job.id)
        seen, cursor = list[str](), None
        while True:
            page = await job_operations.list_jobs(context(jobs), cursor=cursor, limit=3)
            seen += [job.id for job in page.items]
            cursor = page.next_cursor
            if cursor is None:
                break
        assert seen == [job.id for job in reversed(made)]
        page = await job_operations.list_jobs(context(jobs), subject="app/1")
        assert [job.id for job in page.items] == [made[at].id for at in (5, 3, 1)]
        page = await job_operations.list_jobs(
            context(jobs), state=[JobState.FAILED, JobState.QUEUED]
        )
        assert page.items == []


async def test_a_job_is_followed_ended_repeated_and_forgotten(work: Work):
    async def run(run: JobRun) -> None:
        run.log(f"attempt {run.attempt}")
        if run.attempt == 1:
            await Gate().wait()

    work.kind("k", run)
    async with work.engine() as jobs:
        ctx = context(jobs)
        job = (await jobs.enqueue(new("k"))).id[:6]
        async with aclosing(job_operations.logs(ctx, job, follow=True)) as lines:
            assert (await anext(lines)).text == "attempt 1"
        assert (await job_operations.cancel(ctx, job)).state is JobState.CANCELLED
        assert (await job_operations.retry(ctx, job)).state is JobState.QUEUED
        await jobs.wait(job)
        assert (await job_operations.show(ctx, job)).attempt == 2
        lines = [line.text async for line in job_operations.logs(ctx, job, after=1)]
        assert lines == ["attempt 2"]
        assert (await job_operations.prune(ctx)).removed == 0
        await until(lambda: wall_clock() > (jobs.get(job).ended or wall_clock()))
        assert (await job_operations.prune(ctx, older_than="0s")).removed == 1
        assert work.logs.jobs() == []


async def test_schedules_are_listed_with_their_next_time(work: Work):
    work.kind("k", lambda _run: work.note(1))
    async with work.engine() as jobs:
        job = new("k", "all", subject="app/shop")
        await jobs.put_schedule(Schedule("app/shop/night", "0 3 * * *", job, "Europe/Berlin", 60))
        (found,) = await job_operations.schedules(context(jobs), prefix="app/")
        assert (found.name, found.zone, found.title) == ("app/shop/night", "Europe/Berlin", "k all")
        assert timedelta(0) < found.next - wall_clock() <= timedelta(days=1, minutes=1)
        assert await job_operations.schedules(context(jobs), prefix="host/") == []


async def test_a_node_without_jobs_says_why():
    services = Services()
    services.withdraw(JobEngine, lambda: RefusedError("This node is a relay."))
    caller = Caller(CallerKind.LOCAL, "owner", Role.ADMIN, "local")
    with pytest.raises(RefusedError, match="relay"):
        await job_operations.show(Context(caller, services, "0"), "abcd")
    await asyncio.sleep(0)
