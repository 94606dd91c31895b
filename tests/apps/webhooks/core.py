"""Apps with real records and jobs, and nothing that would run them: what webhooks touch of them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

from covey.apps.deploy import DEPLOY
from covey.apps.deployments import Deployments
from covey.apps.hosting import Hosting
from covey.apps.layout import Naming, Places
from covey.apps.model import Deployment
from covey.apps.plan import Here
from covey.apps.records import AppRecords
from covey.apps.service import Apps
from covey.apps.sources import GitSource
from covey.apps.webhook_deployments import WebhookDeployments
from covey.fleet.hosts import HostRecords
from covey.jobs.api import JobKind
from covey.jobs.engine import JobEngine
from covey.jobs.log_files import LogFiles
from covey.testing.memory_jobs import MemoryJobStorage
from covey.testing.memory_log import MemoryLog
from tests.apps.webhooks.recording import URLS
from tests.fleet.token_store import HERE, MemoryRecords
from tests.jobs.jobs import Gate


class Nothing:
    """Stands for the container engine, the proxy and the variables: it has none and minds none."""

    def check(self, _app: object) -> None:
        """Accept every place."""

    async def remove(self, _owner: str, _pools: object) -> None:
        """There are no routes."""

    async def run(self) -> None:
        """There is nothing to sweep."""

    async def remove_all(self, _app: str) -> None:
        """There are no containers."""

    async def forget(self, _app: str) -> None:
        """There are no variables."""

    async def settle(self, _app: str, _number: int) -> None:
        """Deployments end by their jobs."""

    async def list_volumes(self, _labels: object) -> list[str]:
        return []


class Core:
    """One node's apps; deployments wait at `gate` and do nothing."""

    def __init__(self, directory: Path) -> None:
        self.gate = Gate()
        self.changed: list[Deployment] = []
        local, records = MemoryLog(), MemoryRecords()
        self.jobs = JobEngine(MemoryJobStorage(), LogFiles(directory / "jobs", 1 << 20))
        nothing = cast("Any", Nothing())
        here = Here(Naming(HERE), Places(directory, directory), "localhost", 1 << 20)
        self.deployments = Deployments(local)
        hosting = Hosting(
            here=here,
            records=AppRecords(records),
            deployments=self.deployments,
            environment=nothing,
            engine=nothing,
            routes=nothing,
            rollout=nothing,
            sweep=nothing,
            builder=nothing,
            jobs=self.jobs,
            in_service=nothing,
            changed=self.changed.append,
        )
        self.apps = Apps(HERE, hosting, HostRecords(records), nothing, nothing, lambda: "freya")
        self.webhooks = WebhookDeployments(self.apps, self.jobs)
        for kind in (JobKind(DEPLOY, self._deploy), *self.webhooks.job_kinds()):
            self.jobs.register(kind)

    async def add(self, name: str, url: str = URLS["github"], ref: str = "main") -> None:
        await self.apps.create(name, source=GitSource(url, ref, key="forge"))

    async def idle(self) -> None:
        """Wait until everything that was asked for is done, but for deployments."""
        for job in self.jobs.find():
            if job.kind != DEPLOY:
                await self.jobs.wait(job.id)

    async def _deploy(self, _run: object) -> None:
        await self.gate.wait()


@asynccontextmanager
async def core(directory: Path) -> AsyncIterator[Core]:
    """Give a core whose jobs run."""
    made = Core(directory)
    await made.jobs.start()
    try:
        yield made
    finally:
        await made.jobs.stop()
