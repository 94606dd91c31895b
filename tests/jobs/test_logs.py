"""The log of a job as it is followed while the job runs."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from types import NoneType

from covey.errors import RefusedError
from covey.jobs.api import JobRun, Retry
from covey.jobs.log_files import LogFiles
from covey.jobs.model import JobState
from tests.jobs.jobs import Gate, Work, new, until


async def test_lines_are_followed_as_they_come_until_the_end(work: Work):
    gates = [Gate(), Gate()]

    async def run(run: JobRun) -> None:
        for at, gate in enumerate(gates):
            run.log(f"line {at}")
            await gate.wait()
        run.log("the last")

    work.kind("k", run)
    async with work.engine() as jobs:
        job = await jobs.enqueue(new("k"))
        async with aclosing(jobs.logs(job.id, follow=True)) as lines:
            for at, gate in enumerate(gates):
                assert (await anext(lines)).text == f"line {at}"
                gate.open()
            assert [line.text async for line in lines] == ["the last"]
        assert [line.text async for line in jobs.logs(job.id, after=2, follow=True)] == ["the last"]


async def test_a_log_is_followed_over_another_attempt_and_a_restart(work: Work):
    gate = Gate()

    async def run(run: JobRun) -> None:
        run.log(f"attempt {run.attempt}, resumed {run.resumed}")
        if run.attempt == 1:
            raise RefusedError("no")
        await gate.wait()

    work.kind("k", run, retry=Retry(2, first_wait_s=0))
    async with work.engine() as jobs:
        job = await jobs.enqueue(new("k"))
        async with aclosing(jobs.logs(job.id, follow=True)) as lines:
            texts = [(await anext(lines)).text for _ in range(4)]
    assert texts[0] == "attempt 1, resumed False"
    assert texts[1] == "no"
    assert texts[3] == "attempt 2, resumed False"
    gate.open()
    async with work.engine() as jobs:
        await jobs.wait(job.id)
        found = [line async for line in jobs.logs(job.id, after=4)]
        assert [(line.number, line.text) for line in found] == [(5, "attempt 2, resumed True")]


async def test_lines_from_threads_stand_under_their_step(work: Work):
    async def run(run: JobRun) -> None:
        await asyncio.gather(
            run.step("one", lambda: asyncio.to_thread(run.log, "from one"), NoneType),
            run.step("two", lambda: asyncio.to_thread(run.log, "from two"), NoneType),
        )

    work.kind("k", run)
    async with work.engine() as jobs:
        job = await jobs.enqueue(new("k"))
        await jobs.wait(job.id)
        found = {(line.step, line.text) async for line in jobs.logs(job.id)}
    assert found == {("one", "from one"), ("two", "from two")}


async def test_a_job_that_never_stops_talking_keeps_a_bounded_log(work: Work):
    work.logs = LogFiles(work.logs.directory, 1 << 16)

    async def run(run: JobRun) -> None:
        for at in range(20_000):
            run.log(f"{at} " + "y" * 30)

    work.kind("k", run)
    async with work.engine() as jobs:
        job = await jobs.enqueue(new("k"))
        assert (await jobs.wait(job.id)).state is JobState.SUCCEEDED
        assert work.logs.size(job.id) <= 1 << 16
        found = [line async for line in jobs.logs(job.id)]
    assert found[0].number == 1
    assert found[-1].number == 20_000
    assert sum("left out" in line.text for line in found) == 1


async def test_a_follower_that_leaves_stops_nothing(work: Work):
    gate = Gate()

    async def run(run: JobRun) -> None:
        run.log("begins")
        await gate.wait()

    work.kind("k", run)
    async with work.engine() as jobs:
        job = await jobs.enqueue(new("k"))
        async with aclosing(jobs.logs(job.id, follow=True)) as lines:
            await anext(lines)
            following = asyncio.ensure_future(anext(lines))
            await asyncio.sleep(0)
            following.cancel()
            await asyncio.wait([following])
        assert jobs.get(job.id).state is JobState.RUNNING
        gate.open()
        await until(lambda: jobs.get(job.id).state is JobState.SUCCEEDED)
