"""Mistakes in kinds, storage and logs: each job ends, and the queue goes on."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from covey.errors import NotFoundError, RefusedError
from covey.jobs.api import JobRun
from covey.jobs.log_files import LogFiles, LogWriter
from covey.jobs.model import JobState
from covey.jobs.ports import Claim, JobStorage
from tests.jobs.jobs import Work, new


async def test_a_mistake_in_a_kind_does_not_hold_up_the_queue(work: Work):
    def mistaken(_error: BaseException) -> bool:
        raise LookupError

    async def run(run: JobRun) -> None:
        raise RefusedError("no")

    work.kind("k", run, is_permanent=mistaken)
    async with work.engine(at_once=1) as jobs:
        for _ in range(2):
            done = await jobs.wait((await jobs.enqueue(new("k", key="a"))).id)
            assert done.state is JobState.FAILED


async def test_a_mistake_of_the_storage_does_not_end_the_queue(
    work: Work, monkeypatch: pytest.MonkeyPatch
):
    claim, failed = type(work.storage).claim, list[int]()

    async def mistaken(self: JobStorage, *given: Any) -> list[Claim]:
        if not failed:
            failed.append(1)
            raise LookupError
        return await claim(self, *given)

    monkeypatch.setattr(type(work.storage), "claim", mistaken)
    monkeypatch.setattr("covey.jobs.engine._AFTER_FAILURE", timedelta(milliseconds=10))
    work.kind("k", lambda _run: work.note(1))
    async with work.engine() as jobs:
        done = await jobs.wait((await jobs.enqueue(new("k"))).id)
        assert (done.state, failed) == (JobState.SUCCEEDED, [1])


async def test_an_error_that_is_no_text_ends_its_job(work: Work):
    """A file's name may hold bytes that are none."""

    async def run(run: JobRun) -> None:
        name = b"caf\xe9".decode(errors="surrogateescape")
        run.log(name)
        raise NotFoundError(f"{name} is not there.", hint=f"Look for {name}.")

    work.kind("k", run)
    async with work.engine(at_once=1) as jobs:
        for _ in range(2):
            done = await jobs.wait((await jobs.enqueue(new("k", key="a"))).id)
            assert done.state is JobState.FAILED
            assert done.failure is not None
            assert done.failure.message == "caf? is not there."


async def test_an_end_that_cannot_be_written_is_another_one(
    work: Work, monkeypatch: pytest.MonkeyPatch
):
    settle, failed = type(work.storage).settle, list[int]()

    async def mistaken(self: JobStorage, *given: Any) -> bool:
        if not failed:
            failed.append(1)
            raise LookupError
        return await settle(self, *given)

    monkeypatch.setattr(type(work.storage), "settle", mistaken)
    monkeypatch.setattr("covey.jobs.runner._FIRST_RETRY_S", 0.01)
    work.kind("k", lambda _run: work.note(1))
    async with work.engine(at_once=1) as jobs:
        done = await jobs.wait((await jobs.enqueue(new("k", key="a"))).id)
        assert (done.state, failed) == (JobState.FAILED, [1])
        done = await jobs.wait((await jobs.enqueue(new("k", key="a"))).id)
        assert done.state is JobState.SUCCEEDED


async def test_a_job_that_cannot_even_begin_fails(work: Work, monkeypatch: pytest.MonkeyPatch):
    writer, failed = LogFiles.writer, list[int]()

    def mistaken(self: LogFiles, job: str) -> LogWriter:
        if not failed:
            failed.append(1)
            raise LookupError
        return writer(self, job)

    monkeypatch.setattr(LogFiles, "writer", mistaken)
    work.kind("k", lambda _run: work.note(1))
    async with work.engine(at_once=1) as jobs:
        first = await jobs.enqueue(new("k", key="a"))
        second = await jobs.enqueue(new("k", key="a"))
        assert (await jobs.wait(first.id)).state is JobState.FAILED
        assert (await jobs.wait(second.id)).state is JobState.SUCCEEDED
