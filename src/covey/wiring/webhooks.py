"""Webhooks of a node, put together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from covey.apps.webhook_deployments import StatusReports, WebhookDeployments
from covey.apps.webhooks.deliveries import Deliveries
from covey.apps.webhooks.integrations import Integrations
from covey.apps.webhooks.ports import CommitStatus, ForgeAccess, PullState
from covey.apps.webhooks.previews import PreviewUpkeep
from covey.apps.webhooks.reception import Reception
from covey.apps.webhooks.service import WebhookService
from covey.apps.webhooks.statuses import CommitStatuses
from covey.jobs.engine import JobEngine
from covey.operations.context import Services
from covey.store.ports import LocalState
from covey.wiring.apps import NodeApps

if TYPE_CHECKING:
    from covey.engines.forges import Forges

WEBHOOK_SERVICES: tuple[type, ...] = (Reception, WebhookService)
"""What operations and the HTTP surface find here."""


class ForgesOnDemand:
    """Implements `ForgeInterface`; its engine is loaded with the first request."""

    def __init__(self) -> None:
        self._made: Forges | None = None

    @property
    def _engine(self) -> Forges:
        if self._made is None:
            from covey.engines.forges import Forges

            self._made = Forges()
        return self._made

    async def set_status(self, access: ForgeAccess, repository: str, status: CommitStatus) -> None:
        """Set a commit's status."""
        await self._engine.set_status(access, repository, status)

    async def pull_state(self, access: ForgeAccess, repository: str, number: int) -> PullState:
        """Return whether a pull request is open."""
        return await self._engine.pull_state(access, repository, number)


class NodeWebhooks:
    """All of it, for as long as the node is unlocked.

    Make it before the jobs are started, for it registers kinds of its own. `addresses` returns
    where forges reach this node (`host:port`).
    """

    def __init__(
        self,
        local: LocalState,
        jobs: JobEngine,
        apps: NodeApps,
        addresses: Callable[[], Sequence[str]],
    ) -> None:
        forges = ForgesOnDemand()
        integrations = Integrations(local)
        deliveries = Deliveries(local)
        deployer = WebhookDeployments(apps.apps, jobs)
        statuses = CommitStatuses(jobs, integrations, forges)
        self._jobs = jobs
        self._upkeep = PreviewUpkeep(deployer, integrations, deliveries, forges)
        self._reception = Reception(integrations, deliveries, deployer)
        self._service = WebhookService(integrations, deliveries, self._schedule, addresses)
        self._reports = StatusReports(statuses, lambda name: _url_of(apps, name))
        apps.subscribe(self._reports.changed)
        for kind in (statuses.job_kind(), self._upkeep.job_kind(), *deployer.job_kinds()):
            jobs.register(kind)

    async def start(self, services: Services) -> None:
        """Offer the services; the jobs are started already."""
        services.provide(Reception, self._reception)
        services.provide(WebhookService, self._service)
        await self._schedule()

    async def stop(self, services: Services) -> None:
        """Take the services back, before the jobs are stopped."""
        for kind in WEBHOOK_SERVICES:
            services.withdraw(kind)
        await self._reports.close()

    async def _schedule(self) -> None:
        await self._upkeep.schedule(self._jobs)


def _url_of(apps: NodeApps, name: str) -> str:
    app = apps.apps.records.find(name)
    return "" if app is None else next(iter(apps.apps.urls(app)), "")
