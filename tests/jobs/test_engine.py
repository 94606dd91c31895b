from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import timedelta
from types import NoneType

import msgspec
import pytest

from covey.errors import ConflictError, LockedError, NotFoundError, RefusedError
from covey.jobs.api import JobKind, JobRun, Retry
from covey.jobs.model import Job, JobState, LogLine, Priority, StepState
from covey.jobs.rows import wall_clock
from tests.jobs.jobs import Gate, Text, Work, new, until


async def test_a_job_runs_its_steps_and_keeps_what_it_said(work: Work):
    async def run(run: JobRun) -> None:
        async def build() -> list[str]:
            run.log("compiling\nlinking")
            run.progress(0.5, "building")
            return [run.payload(Text).text, run.caller]

        run.log("begins")
        built = await run.step("build", build, list[str])
        await run.step("show", lambda: work.note(built), type(None))

    work.kind("deploy", run)
    async with work.engine() as jobs:
        job = await jobs.enqueue(new("deploy", "shop", caller="freya", subject="app/shop"))
        assert job.state is JobState.QUEUED
        done = await jobs.wait(job.id)
        assert work.noted == [["shop", "freya"]]
        assert (done.state, done.attempt, done.progress) == (JobState.SUCCEEDED, 1, 1.0)
        assert [(step.name, step.state) for step in done.steps] == [
            ("build", StepState.SUCCEEDED),
            ("show", StepState.SUCCEEDED),
        ]
        lines = [line async for line in jobs.logs(job.id)]
        assert [(line.number, line.step, line.text) for line in lines] == [
            (1, "", "begins"),
            (2, "build", "compiling"),
            (3, "build", "linking"),
        ]


async def test_the_higher_priority_begins_first_and_then_the_older_one(work: Work):
    gate = Gate()

    async def run(run: JobRun) -> None:
        work.noted.append(run.payload(Text).text)
        await gate.wait()

    work.kind("k", run)
    async with work.engine(at_once=1) as jobs:
        await jobs.enqueue(new("k", "first"))
        await until(lambda: work.noted == ["first"])
        wanted = (
            ("low", Priority.LOW),
            ("default", Priority.DEFAULT),
            ("critical 1", Priority.CRITICAL),
            ("high", Priority.HIGH),
            ("critical 2", Priority.CRITICAL),
        )
        made = [await jobs.enqueue(new("k", text, priority=rank)) for text, rank in wanted]
        gate.open()
        for job in made:
            await jobs.wait(job.id)
    assert work.noted == ["first", "critical 1", "critical 2", "high", "default", "low"]


async def test_of_one_key_one_job_runs_at_a_time(work: Work):
    running, most, gate = set[str](), dict[str, int](), Gate()

    async def run(run: JobRun) -> None:
        key = run.payload(Text).text
        running.add(run.id)
        most["all"] = max(most.get("all", 0), len(running))
        most[key] = max(most.get(key, 0), sum(jobs.get(each).title[-1] == key for each in running))
        await gate.wait()
        await asyncio.sleep(0.002)
        running.remove(run.id)

    work.kind("k", run)
    async with work.engine() as jobs:
        made = [await jobs.enqueue(new("k", key, key=key)) for key in "ababbaab"]
        await until(lambda: len(running) == 2)
        gate.open()
        for job in made:
            await jobs.wait(job.id)
    assert most == {"all": 2, "a": 1, "b": 1}


async def test_a_newer_job_supersedes_those_that_wait_but_not_the_one_that_runs(work: Work):
    gate = Gate()

    async def run(run: JobRun) -> None:
        work.noted.append(run.payload(Text).text)
        await gate.wait()

    work.kind("k", run)
    async with work.engine() as jobs:
        given = {"key": "app/shop", "supersede": True}
        first = await jobs.enqueue(new("k", "1", **given))
        await until(lambda: work.noted == ["1"])
        second = await jobs.enqueue(new("k", "2", **given))
        other = await jobs.enqueue(new("k", "other", key="app/blog", supersede=True))
        waiting = asyncio.create_task(jobs.wait(second.id))
        follower = asyncio.create_task(_texts(jobs.logs(second.id, follow=True)))
        await asyncio.sleep(0)
        third = await jobs.enqueue(new("k", "3", **given))
        assert (await waiting).state is JobState.SUPERSEDED
        assert await follower == []
        gate.open()
        for job in (first, third, other):
            assert (await jobs.wait(job.id)).state is JobState.SUCCEEDED
    assert sorted(work.noted) == ["1", "3", "other"]


async def test_of_pushes_in_a_race_the_last_one_is_what_runs_last(work: Work):
    async def run(run: JobRun) -> None:
        work.noted.append(run.payload(Text).text)
        await asyncio.sleep(0)

    work.kind("k", run)
    async with work.engine() as jobs:
        pushes = (jobs.enqueue(new("k", str(at), key="a", supersede=True)) for at in range(30))
        made = await asyncio.gather(*pushes)
        newest = jobs.find(limit=1)[0]
        for job in made:
            await jobs.wait(job.id)
        assert work.noted[-1] == newest.title.split()[-1]
        assert work.noted == sorted(work.noted, key=int)
        states = {jobs.get(job.id).state for job in made}
        assert states <= {JobState.SUCCEEDED, JobState.SUPERSEDED}


async def test_the_same_work_is_not_enqueued_twice(work: Work):
    gate = Gate()
    work.kind("k", lambda _run: gate.wait())
    async with work.engine() as jobs:
        first = await jobs.enqueue(new("k", "1", unique="delivery 7", unique_for_s=3600))
        assert (await jobs.enqueue(new("k", "2", unique="delivery 7"))).id == first.id
        assert (await jobs.enqueue(new("k", "3", unique="delivery 8"))).id != first.id
        gate.open()
        await jobs.wait(first.id)
        again = await jobs.enqueue(new("k", "2", unique="delivery 7"))
        assert (again.id, again.state) == (first.id, JobState.SUCCEEDED)
        short = await jobs.enqueue(new("k", "4", unique="delivery 9"))
        await jobs.wait(short.id)
        assert (await jobs.enqueue(new("k", "4", unique="delivery 9"))).id != short.id


async def test_a_kind_and_the_node_have_limits_of_jobs_at_once(work: Work):
    gate, running = Gate(), list[str]()

    async def run(run: JobRun) -> None:
        running.append(run.payload(Text).text)
        await gate.wait()

    work.kind("build", run, at_once=1)
    work.kind("check", run)
    async with work.engine(at_once=3) as jobs:
        made = [await jobs.enqueue(new("build", "build")) for _ in range(3)]
        made += [await jobs.enqueue(new("check", "check")) for _ in range(4)]
        await until(lambda: len(running) == 3)
        await asyncio.sleep(0.01)
        assert sorted(running) == ["build", "check", "check"]
        gate.open()
        for job in made:
            await jobs.wait(job.id)


async def test_a_job_that_fails_is_tried_again_after_a_wait_and_keeps_its_steps(work: Work):
    async def run(run: JobRun) -> None:
        await run.step("fetch", lambda: work.note("fetch"), type(None))
        work.noted.append(run.attempt)
        if run.attempt < 3:
            raise RefusedError("not yet", hint="wait")
        assert not run.resumed

    work.kind("k", run, retry=Retry(3, first_wait_s=0.01))
    async with work.engine() as jobs:
        job = await jobs.enqueue(new("k"))
        done = await jobs.wait(job.id)
        assert (done.state, done.attempt, done.max_attempts) == (JobState.SUCCEEDED, 3, 3)
        assert done.failure is None
        assert work.noted == ["fetch", 1, 2, 3]
        text = [line.text async for line in jobs.logs(job.id)]
        assert text.count("not yet") == 2


async def test_a_job_fails_with_the_message_and_hint_of_its_last_attempt(work: Work):
    async def run(run: JobRun) -> None:
        raise RefusedError(f"no {run.attempt}", hint="ask")

    work.kind("k", run, retry=Retry(2, first_wait_s=0))
    async with work.engine() as jobs:
        done = await jobs.wait((await jobs.enqueue(new("k"))).id)
        assert done.state is JobState.FAILED
        assert done.failure is not None
        assert (done.failure.code, done.failure.message, done.failure.hint) == (
            "refused",
            "no 2",
            "ask",
        )


async def test_what_is_permanent_is_not_tried_again(work: Work):
    async def run(run: JobRun) -> None:
        async def fetch() -> None:
            work.noted.append(run.attempt)
            raise RefusedError("never")

        await run.step("fetch", fetch, type(None), retry=Retry(5))

    retry = Retry(5, first_wait_s=60)
    work.kind("k", run, retry=retry, is_permanent=lambda error: isinstance(error, RefusedError))
    async with work.engine() as jobs:
        assert (await jobs.wait((await jobs.enqueue(new("k"))).id)).state is JobState.FAILED
    assert work.noted == [1]


async def test_a_step_is_tried_again_by_itself(work: Work):
    async def run(run: JobRun) -> None:
        async def fetch() -> str:
            work.noted.append("fetch")
            if len(work.noted) < 3:
                raise RefusedError("not yet")
            return "fetched"

        work.noted.append(await run.step("fetch", fetch, str, retry=Retry(3, first_wait_s=0)))

    work.kind("k", run)
    async with work.engine() as jobs:
        done = await jobs.wait((await jobs.enqueue(new("k"))).id)
    assert (done.state, done.attempt) == (JobState.SUCCEEDED, 1)
    assert [step.attempts for step in done.steps] == [3]
    assert work.noted == ["fetch", "fetch", "fetch", "fetched"]


async def test_an_error_inside_covey_shows_no_traceback(
    work: Work, caplog: pytest.LogCaptureFixture
):
    async def run(run: JobRun) -> None:
        raise KeyError("secret")

    work.kind("k", run)
    async with work.engine() as jobs:
        job = await jobs.enqueue(new("k"))
        done = await jobs.wait(job.id)
        text = [line.text async for line in jobs.logs(job.id)]
    assert done.failure is not None
    assert done.failure.code == "internal"
    assert "secret" not in f"{done.failure} {text}"
    assert "KeyError" in done.failure.message
    assert "unexpected error" in caplog.text


@pytest.mark.parametrize("where", ["job", "step"])
async def test_what_takes_too_long_fails(work: Work, where: str):
    async def run(run: JobRun) -> None:
        limit = 0.02 if where == "step" else None
        try:
            await run.step("sleep", Gate().wait, type(None), timeout_s=limit)
        finally:
            work.noted.append("cleaned up")

    work.kind("k", run, timeout_s=0.02 if where == "job" else None)
    async with work.engine() as jobs:
        done = await jobs.wait((await jobs.enqueue(new("k"))).id)
    assert done.state is JobState.FAILED
    assert done.failure is not None
    assert done.failure.code == "deadline_exceeded"
    assert work.noted == ["cleaned up"]


async def test_a_job_may_begin_later(work: Work):
    work.kind("k", lambda run: work.note(run.payload(Text).text))
    async with work.engine() as jobs:
        soon = wall_clock() + timedelta(milliseconds=50)
        job = await jobs.enqueue(new("k", "later", not_before=soon))
        assert (job.state, job.not_before) == (JobState.SCHEDULED, soon)
        done = await jobs.wait(job.id)
        assert done.started is not None
        assert done.started >= soon
        past = await jobs.enqueue(new("k", not_before=soon))
        assert past.state is JobState.QUEUED


async def test_a_kind_that_nobody_offers_is_refused(work: Work):
    async with work.engine() as jobs:
        with pytest.raises(NotFoundError, match="nothing"):
            await jobs.enqueue(new("nothing"))


async def test_a_job_of_a_kind_that_an_update_took_away_fails(work: Work):
    work.kind("old", lambda _run: work.note(1))
    async with work.engine() as jobs:
        later = wall_clock() + timedelta(milliseconds=20)
        job = await jobs.enqueue(new("old", not_before=later))
    del work.kinds["old"]
    async with work.engine() as jobs:
        done = await jobs.wait(job.id)
        assert done.state is JobState.FAILED
        assert done.failure is not None
        assert "old" in done.failure.message
        with pytest.raises(NotFoundError):
            await jobs.retry(job.id)


async def test_a_payload_of_another_version_fails_the_job(work: Work):
    class Other(msgspec.Struct):
        number: int

    async def run(run: JobRun) -> None:
        run.payload(Other)

    work.kind("k", run)
    async with work.engine() as jobs:
        done = await jobs.wait((await jobs.enqueue(new("k"))).id)
    assert done.failure is not None
    assert done.failure.code == "conflict"


async def test_a_job_that_ended_badly_can_be_run_once_more(work: Work):
    async def run(run: JobRun) -> None:
        await run.step("fetch", lambda: work.note("fetch"), type(None))
        if run.attempt == 1:
            raise RefusedError("no")

    work.kind("k", run)
    async with work.engine() as jobs:
        job = await jobs.enqueue(new("k", unique="same"))
        assert (await jobs.wait(job.id)).state is JobState.FAILED
        again = await jobs.retry(job.id)
        assert (again.state, again.failure) == (JobState.QUEUED, None)
        assert (await jobs.wait(job.id)).state is JobState.SUCCEEDED
        assert work.noted == ["fetch"]
        with pytest.raises(ConflictError, match="succeeded"):
            await jobs.retry(job.id)


async def test_a_job_is_not_run_again_beside_the_same_work(work: Work):
    gate = Gate()

    async def run(run: JobRun) -> None:
        if run.payload(Text).text == "fails":
            raise RefusedError("no")
        await gate.wait()

    work.kind("k", run)
    async with work.engine() as jobs:
        job = await jobs.enqueue(new("k", "fails", unique="same"))
        await jobs.wait(job.id)
        other = await jobs.enqueue(new("k", "waits", unique="same"))
        with pytest.raises(ConflictError, match="another job"):
            await jobs.retry(job.id)
        gate.open()
        await jobs.wait(other.id)


async def test_jobs_are_found_by_the_beginning_of_their_id_and_by_what_they_are(work: Work):
    work.kind("a", lambda _run: work.note(1))
    work.kind("b", lambda _run: Gate().wait())
    async with work.engine(at_once=2) as jobs:
        one = await jobs.enqueue(new("a", subject="app/shop"))
        two = await jobs.enqueue(new("b", subject="app/shop"))
        three = await jobs.enqueue(new("b", subject="app/blog"))
        await jobs.wait(one.id)
        await until(lambda: jobs.get(three.id).state is JobState.RUNNING)
        assert jobs.get(one.id[:6]).id == one.id
        for unknown in ("", "aaaaaaaaaa", f"{one.id}a"):
            with pytest.raises(NotFoundError):
                jobs.get(unknown)
        assert [job.id for job in jobs.find()] == [three.id, two.id, one.id]
        assert [job.id for job in jobs.find(limit=1)] == [three.id]
        assert [job.id for job in jobs.find(kind="a")] == [one.id]
        assert [job.id for job in jobs.find(subject="app/shop")] == [two.id, one.id]
        assert [job.id for job in jobs.find(states=frozenset({JobState.SUCCEEDED}))] == [one.id]


async def test_who_waits_is_told_when_the_node_stops(work: Work):
    work.kind("k", lambda _run: Gate().wait())
    async with work.engine() as jobs:
        job = await jobs.enqueue(new("k"))
        waiting = asyncio.create_task(jobs.wait(job.id))
        following = asyncio.create_task(_texts(jobs.logs(job.id, follow=True)))
        await asyncio.sleep(0)
        watching = asyncio.create_task(_last(jobs.watch(job.id)))
        await until(lambda: jobs.get(job.id).state is JobState.RUNNING)
    for task in (waiting, following, watching):
        with pytest.raises(LockedError):
            await task


async def test_two_steps_may_not_have_one_name(work: Work):
    async def run(run: JobRun) -> None:
        await run.step("same", lambda: work.note(1), type(None))
        await run.step("same", lambda: work.note(2), type(None))

    work.kind("k", run)
    async with work.engine() as jobs:
        done = await jobs.wait((await jobs.enqueue(new("k"))).id)
    assert done.state is JobState.FAILED
    assert work.noted == [1]


async def test_a_kind_is_registered_once(work: Work):
    kind = JobKind("k", lambda _run: work.note(1))
    async with work.engine() as jobs:
        jobs.register(kind)
        with pytest.raises(ValueError, match="twice"):
            jobs.register(kind)


async def _last(jobs: AsyncIterator[Job]) -> Job:
    return [job async for job in jobs][-1]


async def _texts(lines: AsyncIterator[LogLine]) -> list[str]:
    return [line.text async for line in lines]


async def test_a_job_is_watched_from_step_to_step(work: Work):
    gate = Gate()

    async def run(run: JobRun) -> None:
        async def build() -> None:
            run.progress(0.5, "halfway")
            await gate.wait()

        await run.step("build", build, NoneType)

    work.kind("k", run)
    async with work.engine(at_once=1) as jobs:
        job = await jobs.enqueue(new("k"))
        async with aclosing(jobs.watch(job.id)) as states:
            halfway = await anext(states)
            while halfway.progress is None:
                halfway = await anext(states)
            assert (halfway.state, halfway.progress) == (JobState.RUNNING, 0.5)
            assert (halfway.doing, halfway.steps[0].name) == ("halfway", "build")
            gate.open()
            *_, last = [state async for state in states]
        assert (last.state, last.progress, last.doing) == (JobState.SUCCEEDED, 1.0, "")
        assert [state.state async for state in jobs.watch(job.id)] == [JobState.SUCCEEDED]
