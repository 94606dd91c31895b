"""Webhooks of a node, put together."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from starlette.types import ASGIApp

from covey.apps.routing.model import Pool, Proxied, Route
from covey.apps.routing.service import RoutesService
from covey.apps.webhook_deployments import StatusReports, WebhookDeployments
from covey.apps.webhooks.deliveries import Deliveries
from covey.apps.webhooks.integrations import Integrations
from covey.apps.webhooks.previews import PreviewUpkeep
from covey.apps.webhooks.reception import Reception
from covey.apps.webhooks.service import WebhookService
from covey.apps.webhooks.statuses import CommitStatuses
from covey.errors import CoveyError
from covey.jobs.engine import JobEngine
from covey.operations.context import Services
from covey.store.ports import LocalState
from covey.surfaces.http.serve import HttpServer, Listener, bind_tcp
from covey.wiring.apps import NodeApps
from covey.wiring.on_demand import OnDemand

_OWNER = "webhooks"
_PATHS = ("/webhooks", "/api/v1/webhooks")
_log = logging.getLogger("covey.webhooks")

if TYPE_CHECKING:
    from covey.engines.forges import Forges

WEBHOOK_SERVICES: tuple[type, ...] = (Reception, WebhookService)
"""What operations and the HTTP surface find here."""


class PublicWebhooks:
    """Takes deliveries behind the proxy at a host of their own, and nothing else.

    The node's own port has a certificate of the fleet, which no forge knows; the proxy has one
    that they do. An empty `host` is none.
    """

    def __init__(self, host: str, routes: RoutesService, app: ASGIApp) -> None:
        self._host = host
        self._routes = routes
        self._app = app
        self._server: HttpServer | None = None

    @property
    def url(self) -> str | None:
        """The address that forges are given, without a path."""
        return self._routes.url(self._host) if self._host else None

    async def start(self) -> None:
        """Serve the host, or no longer the one that was served before."""
        if not self._host:
            if self._routes.of(_OWNER):
                await self._routes.remove(_OWNER)
            return
        sockets = bind_tcp("127.0.0.1", 0)
        self._server = HttpServer(self._app)
        await self._server.start([Listener(item) for item in sockets])
        target = Proxied((Pool(_OWNER),))
        routes = [Route((self._host,), target, path) for path in _PATHS]
        await self._routes.put(_OWNER, routes)
        await self._routes.switch(_OWNER, [f"127.0.0.1:{sockets[0].getsockname()[1]}"])

    async def stop(self) -> None:
        """Serve no more; the proxy answers that nobody is there."""
        if self._server is not None:
            await self._server.stop()
            self._server = None


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
        public: PublicWebhooks,
    ) -> None:
        forges = OnDemand(_make_forges).stand_in()
        integrations = Integrations(local)
        deliveries = Deliveries(local)
        deployer = WebhookDeployments(apps.apps, jobs)
        statuses = CommitStatuses(jobs, integrations, forges)
        self._jobs = jobs
        self._deliveries = deliveries
        self._upkeep = PreviewUpkeep(deployer, integrations, deliveries, forges)
        self._reception = Reception(integrations, deliveries, deployer)
        self._service = WebhookService(integrations, deliveries, self._schedule, self._urls)
        self._addresses = addresses
        self._public = public
        self._reports = StatusReports(statuses, lambda name: _url_of(apps, name))
        apps.subscribe(self._reports.changed)
        for kind in (statuses.job_kind(), self._upkeep.job_kind(), *deployer.job_kinds()):
            jobs.register(kind)

    async def start(self, services: Services) -> None:
        """Offer the services; the jobs are started already."""
        services.provide(Reception, self._reception)
        services.provide(WebhookService, self._service)
        await self._schedule()
        try:
            await self._public.start()
        except CoveyError as error:
            _log.error("the host for deliveries cannot be served: %s", error)

    async def stop(self, services: Services) -> None:
        """Take the services back, before the jobs are stopped."""
        for kind in WEBHOOK_SERVICES:
            services.withdraw(kind)
        await self._public.stop()
        await self._reports.close()
        await self._deliveries.idle()

    def _urls(self) -> list[str]:
        public = self._public.url
        own = [f"https://{address}" for address in self._addresses()]
        return own if public is None else [public, *own]

    async def _schedule(self) -> None:
        await self._upkeep.schedule(self._jobs)


def _make_forges() -> Forges:
    from covey.engines.forges import Forges

    return Forges()


def _url_of(apps: NodeApps, name: str) -> str:
    app = apps.apps.records.find(name)
    return "" if app is None else next(iter(apps.apps.urls(app)), "")
