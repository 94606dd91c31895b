"""The apps of a node, put together: what is needed of them is made once there is an app."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from covey.apps.building import Builder, BuildLimits
from covey.apps.containers import ContainerEngine, Resources
from covey.apps.deploy import DeployJobs
from covey.apps.deployments import Deployments
from covey.apps.environment import AppEnvironment
from covey.apps.health import HealthChecks
from covey.apps.hosting import Hosting
from covey.apps.layout import ONEOFF, Naming, Places, release_process
from covey.apps.model import App, Deployment, Release
from covey.apps.output import AppOutput
from covey.apps.plan import Here
from covey.apps.reconcile import Reconciler
from covey.apps.records import AppRecords
from covey.apps.retirement import Retirements
from covey.apps.rollout import Rollout
from covey.apps.routing.api import Routes
from covey.apps.scheduled import ScheduledCommands
from covey.apps.service import Apps
from covey.apps.sessions import Sessions
from covey.apps.sources import SourceFetcher
from covey.apps.sweep import Sweep
from covey.apps.withdrawal import Withdrawals
from covey.engines.probe import SocketProbe
from covey.errors import CoveyError, NotFoundError
from covey.jobs.engine import JobEngine
from covey.operations.context import Services
from covey.paths import Paths
from covey.settings import Settings
from covey.wiring.app_node import AppNode

_log = logging.getLogger("covey.apps")


class NodeApps:
    """The apps of one node, for as long as it is unlocked."""

    def __init__(
        self,
        paths: Paths,
        settings: Settings,
        parts: AppNode,
        jobs: JobEngine,
        engine: ContainerEngine,
        routes: Routes,
        fetcher: SourceFetcher,
    ) -> None:
        wanted = settings.apps
        naming = Naming(parts.node)
        places = Places(Path(paths.state_dir) / "builds", Path(paths.data_dir) / "apps" / "sites")
        here = Here(naming, places, wanted.domain, wanted.log_bytes)
        records = AppRecords(parts.records)
        deployments = Deployments(parts.local)
        environment = AppEnvironment(parts.env, deployments.running)
        health = HealthChecks(engine, SocketProbe())
        self._jobs = jobs
        self._listeners: list[Callable[[Deployment], None]] = []
        sweep = Sweep(
            engine,
            deployments,
            records,
            naming,
            places,
            wanted.keep_images,
            self._is_running,
        )
        limits = BuildLimits(
            Resources(wanted.build_cpus or None, wanted.build_memory or None),
            wanted.build_timeout,
        )
        self.hosting = Hosting(
            here=here,
            records=records,
            deployments=deployments,
            environment=environment,
            engine=engine,
            routes=routes,
            rollout=Rollout(engine, routes, health, naming),
            sweep=sweep,
            builder=Builder(engine, fetcher, environment, deployments, here, limits),
            jobs=jobs,
            in_service=self._in_service,
            changed=self._changed,
        )
        self._retirements = Retirements(self.hosting)
        withdrawals = Withdrawals(self.hosting, self._retirements)
        self._scheduled = ScheduledCommands(self.hosting, max(1, settings.jobs.at_once // 2))
        jobs.register(DeployJobs(self.hosting, self._retirements, withdrawals).kind())
        jobs.register(self._scheduled.kind())
        self.reconciler = Reconciler(self.hosting, self._retirements, withdrawals)
        self.apps = Apps(
            parts.node, self.hosting, parts.hosts, self._retirements, withdrawals, parts.own_name
        )
        self._sessions = Sessions(self.hosting)
        self._output = AppOutput(
            engine, naming, lambda name: self.apps.records.find(name) is not None
        )

    def subscribe(self, listener: Callable[[Deployment], None]) -> None:
        """Call `listener` when a deployment begins and when it ends."""
        self._listeners.append(listener)

    def start(self, services: Services) -> None:
        """Offer the services, and look after what should run. The jobs are started already."""
        services.provide(Apps, self.apps)
        services.provide(Sessions, self._sessions)
        services.provide(AppOutput, self._output)
        self.reconciler.start()

    async def stop(self) -> None:
        """Look after the apps no longer; the containers run on."""
        await self.reconciler.stop()
        await self._retirements.stop()

    async def close(self) -> None:
        """Let go of the container engine."""
        try:
            await self.hosting.engine.close()
        except CoveyError as error:
            _log.warning("%s", error)

    async def _in_service(self, app: App, release: Release) -> None:
        await self._scheduled.follow(app, release)
        self.reconciler.wake()

    def _changed(self, deployment: Deployment) -> None:
        for listener in self._listeners:
            try:
                listener(deployment)
            except Exception:  # noqa: BLE001 - who listens must not fail a deployment
                _log.exception("deployment %d of %s", deployment.number, deployment.app)

    def _is_running(self, process: str) -> bool:
        """Whether something of this node still runs or will find a one-off container."""
        if self._sessions.is_running(process):
            return True
        under_way = self.hosting.deployments.unfinished()
        if any(process == release_process(item.number) for item in under_way):
            return True
        try:
            return not self._jobs.get(process.removeprefix(ONEOFF)).state.ended
        except NotFoundError:
            return False
