"""What the metrics tell of jobs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from covey.errors import RefusedError
from covey.jobs.api import JobRun
from covey.jobs.model import JobState
from tests.jobs.jobs import Gate, Text, Work, new, until


async def test_what_has_not_ended_is_counted(work: Work):
    gate = Gate()

    async def run(run: JobRun) -> None:
        await gate.wait()
        if run.payload(Text).text:
            raise RefusedError(run.payload(Text).text)

    work.kind("k", run)
    async with work.engine(at_once=1) as jobs:
        first = await jobs.enqueue(new("k"))
        second = await jobs.enqueue(new("k", "no"))
        later = datetime.now(UTC) + timedelta(days=1)
        await jobs.enqueue(new("k", not_before=later))
        await until(lambda: jobs.get(first.id).state is JobState.RUNNING)
        assert jobs.counts() == {
            JobState.SCHEDULED: 1,
            JobState.QUEUED: 1,
            JobState.RUNNING: 1,
        }
        gate.open()
        await jobs.wait(second.id)
        assert jobs.counts()[JobState.QUEUED] == jobs.counts()[JobState.RUNNING] == 0
        assert jobs.ends() == {JobState.SUCCEEDED: 1, JobState.FAILED: 1}
