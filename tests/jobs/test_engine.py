from __future__ import annotations

from covey.jobs.api import JobRun
from covey.jobs.model import JobState, StepState
from tests.jobs.jobs import Text, Work, new


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
