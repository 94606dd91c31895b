"""Commit statuses: told by jobs, again after a failure, and never in a deployment's way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest

from covey.apps.model import Deployment, DeploymentState, Trigger
from covey.apps.webhook_deployments import StatusReports
from covey.apps.webhooks.ports import CommitState, Origin
from covey.apps.webhooks.statuses import CommitStatuses
from covey.errors import CoveyError, NotFoundError, RefusedError, StorageError, UnreachableError
from covey.jobs.api import JobKind, Retry
from covey.jobs.engine import JobEngine
from covey.jobs.log_files import LogFiles
from covey.jobs.model import JobState
from covey.testing.memory_jobs import MemoryJobStorage
from tests.apps.webhooks.recording import START, RecordingForges, Scene
from tests.apps.webhooks.sending import HEAD

TOKEN = "token-that-nobody-may-see"
ORIGIN = Origin("hook", "acme/shop", "one")


@dataclass
class Told:
    """Statuses, and the jobs that tell them."""

    scene: Scene
    forges: RecordingForges
    jobs: JobEngine
    statuses: CommitStatuses

    async def report(self, state: CommitState = CommitState.SUCCESS, commit: str = HEAD) -> None:
        await self.statuses.report(
            ORIGIN,
            app="shop",
            commit=commit,
            state=state,
            description="shop  serves\n" + "x" * 300,
            url="https://shop.example.org/",
        )

    async def done(self) -> list[JobState]:
        """Wait for all jobs, the oldest first."""
        found = reversed(self.jobs.find())
        return [(await self.jobs.wait(job.id)).state for job in found]


@asynccontextmanager
async def telling(directory: Path, *, token: str = TOKEN) -> AsyncIterator[Told]:
    scene, forges = Scene(), RecordingForges()
    await scene.integration(api_token=token)
    jobs = JobEngine(MemoryJobStorage(), LogFiles(directory / "jobs", 1 << 20))
    statuses = CommitStatuses(jobs, scene.integrations, forges)
    kind = statuses.job_kind()
    quick = Retry(kind.retry.attempts, first_wait_s=0.01, factor=1.0)
    jobs.register(
        JobKind(kind.name, kind.run, quick, kind.timeout_s, kind.at_once, kind.is_permanent)
    )
    await jobs.start()
    try:
        yield Told(scene, forges, jobs, statuses)
    finally:
        await jobs.stop()


def test_a_status_is_told(tmp_path: Path):
    async def work() -> None:
        async with telling(tmp_path) as told:
            await told.report()
            assert await told.done() == [JobState.SUCCEEDED]
            ((access, repository, status),) = told.forges.statuses
            assert access.token.reveal() == TOKEN
            assert (repository, status.commit, status.context) == ("acme/shop", HEAD, "covey/shop")
            assert len(status.description) == 140
            assert status.description.startswith("shop serves x")

    asyncio.run(work())


@pytest.mark.parametrize("token,commit", [("", HEAD), (TOKEN, "")])
def test_without_a_token_or_a_commit_nothing_is_told(tmp_path: Path, token: str, commit: str):
    async def work() -> None:
        async with telling(tmp_path, token=token) as told:
            await told.report(commit=commit)
            await told.statuses.report(
                Origin("gone", "acme/shop"),
                app="shop",
                commit=HEAD,
                state=CommitState.SUCCESS,
                description="",
            )
            assert told.jobs.find() == []

    asyncio.run(work())


def test_it_is_tried_again(tmp_path: Path):
    async def work() -> None:
        async with telling(tmp_path) as told:
            told.forges.failures = [UnreachableError("Away."), UnreachableError("Still away.")]
            await told.report()
            assert await told.done() == [JobState.SUCCEEDED]
            assert len(told.forges.statuses) == 1

    asyncio.run(work())


@pytest.mark.parametrize("failure", [RefusedError("No."), NotFoundError("Where?")])
def test_what_is_in_vain_is_not(tmp_path: Path, failure: CoveyError):
    async def work() -> None:
        async with telling(tmp_path) as told:
            told.forges.failures = [failure]
            await told.report()
            assert await told.done() == [JobState.FAILED]
            assert told.forges.statuses == []

    asyncio.run(work())


def test_the_token_is_in_no_job(tmp_path: Path):
    async def work() -> None:
        async with telling(tmp_path) as told:
            await told.report()
            await told.done()
            (job,) = told.jobs.find()
            assert TOKEN not in repr(job)
            stored = told.jobs._storage.get(job.id)
            assert TOKEN not in repr(stored)

    asyncio.run(work())


def test_a_full_disk_does_not_reach_the_deployment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    async def work() -> None:
        async with telling(tmp_path) as told:

            async def full(_job: object) -> None:
                raise StorageError("The disk is full.")

            monkeypatch.setattr(told.jobs, "enqueue", full)
            await told.report()

    asyncio.run(work())


def deployment(state: DeploymentState, **more: object) -> Deployment:
    made = Deployment(
        app="shop",
        number=3,
        trigger=Trigger.WEBHOOK,
        state=state,
        created=START + timedelta(seconds=1),
        caller="webhook hook",
        origin=ORIGIN,
        commit=HEAD,
        reason="the build said: PASSWORD=hunter2",
    )
    return msgspec.structs.replace(made, **more)


EXPECTED = {
    DeploymentState.QUEUED: None,
    DeploymentState.RUNNING: CommitState.PENDING,
    DeploymentState.SUCCEEDED: CommitState.SUCCESS,
    DeploymentState.FAILED: CommitState.FAILURE,
    DeploymentState.CANCELLED: CommitState.FAILURE,
    DeploymentState.SUPERSEDED: None,
    DeploymentState.ROLLED_BACK: CommitState.FAILURE,
}


@pytest.mark.parametrize("state", list(DeploymentState))
def test_what_is_told_of_a_deployment(tmp_path: Path, state: DeploymentState):
    async def work() -> None:
        async with telling(tmp_path) as told:
            reports = StatusReports(told.statuses, lambda app: f"https://{app}.example.org/")
            reports.changed(deployment(state))
            await reports.close()
            await told.done()
            found = [status for _, _, status in told.forges.statuses]
            assert [status.state for status in found] == (
                [] if EXPECTED[state] is None else [EXPECTED[state]]
            )
            for status in found:
                assert "hunter2" not in status.description
                is_link = status.state is CommitState.SUCCESS
                assert status.url == ("https://shop.example.org/" if is_link else "")

    asyncio.run(work())


def test_nothing_is_told_of_what_no_forge_caused_or_before_the_commit_is_known(tmp_path: Path):
    async def work() -> None:
        async with telling(tmp_path) as told:
            reports = StatusReports(told.statuses, lambda _app: "")
            reports.changed(deployment(DeploymentState.SUCCEEDED, origin=None))
            reports.changed(deployment(DeploymentState.RUNNING, commit=""))
            await reports.close()
            assert told.jobs.find() == []

    asyncio.run(work())
