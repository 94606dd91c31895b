"""What hosts apps on a node: jobs, the proxy's routes, sources, containers and the apps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from covey.apps.host_keys import KnownHosts
from covey.apps.keys import DeployKeys
from covey.apps.output import AppOutput
from covey.apps.pushes import Pushes
from covey.apps.routing.service import RoutesService
from covey.apps.service import Apps
from covey.apps.sessions import Sessions
from covey.apps.uploads import Uploads
from covey.apps.webhooks.reception import Reception
from covey.engines.sqlite.database import Database
from covey.jobs.engine import JobEngine
from covey.operations.audit import AuditSink
from covey.operations.context import Services
from covey.paths import Paths
from covey.settings import Settings
from covey.store.ports import LocalState
from covey.surfaces.http.app import HttpSettings, build_webhook_app
from covey.wiring.app_node import AppNode
from covey.wiring.apps import NodeApps
from covey.wiring.jobs import make_jobs
from covey.wiring.on_demand import OnDemand
from covey.wiring.proxy import make_routes
from covey.wiring.sources import make_pushes, make_sources, make_upkeep
from covey.wiring.webhooks import WEBHOOK_SERVICES, NodeWebhooks, PublicWebhooks

if TYPE_CHECKING:
    from covey.engines.containers.engine import ApiContainerEngine

HOSTING_SERVICES: tuple[type, ...] = (
    JobEngine,
    RoutesService,
    Uploads,
    DeployKeys,
    KnownHosts,
    Pushes,
    Apps,
    Sessions,
    AppOutput,
    *WEBHOOK_SERVICES,
)
"""What operations find here."""


class NodeHosting:
    """All of it, for as long as the node is unlocked."""

    def __init__(
        self,
        paths: Paths,
        settings: Settings,
        services: Services,
        database: Database,
        local: LocalState,
        node: AppNode,
        addresses: Callable[[], Sequence[str]],
        audit: AuditSink,
    ) -> None:
        self._services = services
        self.jobs = make_jobs(paths, settings, database)
        self.routes = make_routes(paths, settings, local)
        self.sources = make_sources(paths, settings, local, node.records)
        self._containers = OnDemand(lambda: _make_containers(paths, settings))
        self.engine = self._containers.stand_in()
        self.apps = NodeApps(
            paths, settings, node, self.jobs, self.engine, self.routes, self.sources.fetcher
        )
        self.pushes = make_pushes(self.sources, self.apps.apps, settings)
        self._upkeep = make_upkeep(
            self.sources, self.pushes, node.node, node.records, self.apps.hosting.deployments
        )
        self.apps.subscribe(self._upkeep.ended)
        host = settings.apps.webhook_host
        limits = HttpSettings(
            rate_limit_per_minute=settings.api.rate_limit_per_minute,
            max_body_bytes=settings.api.max_body_bytes,
            allowed_hosts=(host,),
        )
        app = build_webhook_app(lambda: services.get(Reception), audit, limits)
        public = PublicWebhooks(host, self.routes, app)
        self.webhooks = NodeWebhooks(local, self.jobs, self.apps, addresses, public)

    async def start(self) -> None:
        """Serve what was served before, go on with what was broken off, look after the rest."""
        self._services.provide(JobEngine, self.jobs)
        self._services.provide(RoutesService, self.routes)
        self._services.provide(Uploads, self.sources.uploads)
        self._services.provide(DeployKeys, self.sources.keys)
        self._services.provide(KnownHosts, self.sources.hosts)
        self._services.provide(Pushes, self.pushes)
        self._upkeep.start()
        await self.routes.start()
        await self.jobs.start()
        self.apps.start(self._services)
        self.pushes.start()
        await self.webhooks.start(self._services)

    async def stop(self) -> None:
        """Break off the jobs, which are resumed later; containers and the proxy go on serving."""
        for kind in HOSTING_SERVICES:
            self._services.withdraw(kind)
        await self.webhooks.stop(self._services)
        self._upkeep.stop()
        await self.pushes.stop()
        await self.apps.stop()
        await self.jobs.stop()
        await self.routes.stop()
        if self._containers.made is not None:
            await self.apps.close()


def _make_containers(paths: Paths, settings: Settings) -> ApiContainerEngine:
    from covey.engines.containers.engine import make_engine

    return make_engine(settings.apps, paths)
