"""The apps of this node: made, deployed, changed, rested and destroyed."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

import msgspec

from covey.apps.config.merge import effective, override_text
from covey.apps.config.model import WEB
from covey.apps.deploy import DEPLOY, DeployJob, Hosting
from covey.apps.layout import owner_of, pool_of
from covey.apps.model import App, Deployment, DeploymentState, Preview, Running, Trigger
from covey.apps.names import check_app_name
from covey.apps.plan import plan_routes
from covey.apps.reconcile import Reconciler
from covey.apps.scheduled import scheduled_job
from covey.apps.sources import Source
from covey.apps.webhooks.ports import Origin
from covey.errors import ConflictError, InvalidRequestError, NotFoundError
from covey.fleet.hosts import HostRecords
from covey.jobs.api import NewJob
from covey.jobs.model import Job, Priority
from covey.store.api import NodeId

DEFAULT_ENVIRONMENT = "production"


class ElsewhereError(ConflictError):
    """The app runs on another machine; `details["host"]` names it."""

    code = "elsewhere"


@dataclass(frozen=True, slots=True)
class Wanted:
    """A deployment that is asked for; a `source` of None means the app's own."""

    trigger: Trigger
    caller: str
    source: Source | None = None
    of: int | None = None
    commit: str = ""
    message: str = ""
    origin: Origin | None = None


class Apps:
    """The service behind the operations on apps. Changes are for apps of this node alone."""

    def __init__(
        self,
        node: NodeId,
        hosting: Hosting,
        hosts: HostRecords,
        reconciler: Reconciler,
        own_name: Callable[[], str],
    ) -> None:
        self.node = node
        self.hosting = hosting
        self.records = hosting.records
        self.deployments = hosting.deployments
        self._hosts = hosts
        self._reconciler = reconciler
        self._own_name = own_name

    def host_name(self, node: NodeId) -> str:
        """Return the name of the machine on which an app runs."""
        if node == self.node:
            return self._own_name()
        record = self._hosts.of_member(node)
        return node[:8] if record is None else record.name

    def here(self, name: str) -> App:
        """Return an app of this node.

        Raises `NotFoundError`, and `ElsewhereError` if it runs on another machine.
        """
        app = self.records.get(name)
        if app.host != self.node:
            host = self.host_name(app.host)
            raise ElsewhereError(
                f"{name} runs on {host}.",
                hint=f"Ask that machine: covey -H {host} …",
                details={"host": host},
            )
        return app

    async def create(
        self,
        name: str,
        *,
        project: str | None = None,
        environment: str | None = None,
        source: Source | None = None,
        preview: Preview | None = None,
        overrides: dict[str, object] | None = None,
    ) -> App:
        """Make an app on this node; raises `ConflictError` if its name is taken."""
        check_app_name(name)
        app = App(
            name=name,
            host=self.node,
            project=project or name,
            environment=environment or DEFAULT_ENVIRONMENT,
            created=datetime.now(UTC),
            source=source,
            overrides=overrides or {},
            preview=preview,
        )
        self._check_place(app)
        return await self.records.create(app)

    async def update(
        self,
        app: App,
        *,
        project: str | None = None,
        environment: str | None = None,
        source: Source | None = None,
    ) -> App:
        """Change what an app belongs to or comes from."""
        changed = msgspec.structs.replace(
            app,
            project=project or app.project,
            environment=environment or app.environment,
            source=source or app.source,
        )
        self._check_place(changed)
        if changed != app:
            await self.records.put(changed)
        return changed

    async def deploy(self, app: App, wanted: Wanted) -> Deployment:
        """Enqueue a deployment; an older one of the app that has not begun is superseded."""
        source = wanted.source
        if wanted.of is None:
            source = wanted.source or app.source
            if source is None:
                raise InvalidRequestError(
                    f"{app.name} has no source to deploy from.",
                    hint="Run `covey deploy DIR`, or name one: "
                    f"covey apps source {app.name} --git URL",
                )
        number = await self.deployments.next_number(app.name)
        deployment = Deployment(
            app=app.name,
            number=number,
            trigger=wanted.trigger,
            state=DeploymentState.QUEUED,
            created=datetime.now(UTC),
            caller=wanted.caller,
            source=source,
            of=wanted.of,
            origin=wanted.origin,
            commit=wanted.commit,
            message=wanted.message,
        )
        await self.deployments.put(deployment)
        waiting = self.deployments.waiting(app.name, before=number)
        job = await self.hosting.jobs.enqueue(
            NewJob(
                DEPLOY,
                DeployJob(app.name, number),
                f"{_TITLES[wanted.trigger]} {app.name} (deployment {number})",
                subject=owner_of(app.name),
                priority=Priority.HIGH,
                key=owner_of(app.name),
                supersede=True,
                caller=wanted.caller,
            )
        )
        for item in waiting:
            await self._superseded(item, number)
        latest = self.deployments.get(app.name, number)
        if latest.job != job.id:
            latest = msgspec.structs.replace(latest, job=job.id)
            await self.deployments.put(latest)
        return latest

    async def rollback(self, app: App, to: int | None, caller: str) -> Deployment:
        """Run an earlier release again: that of deployment `to`, or the one before."""
        running = self.running(app)
        if to is None:
            before = self.deployments.before(app.name, running.number)
            if before is None:
                raise NotFoundError(
                    f"{app.name} has no earlier version to go back to.",
                    hint=f"See what there was: covey apps releases {app.name}",
                )
            to = before.number
        found = self.deployments.get(app.name, to)
        if found.release is None or found.state is not DeploymentState.SUCCEEDED:
            raise ConflictError(
                f"Deployment {to} of {app.name} never served, so there is nothing to go back to.",
                hint=f"Choose one of: covey apps releases {app.name}",
            )
        return await self.deploy(
            app,
            Wanted(Trigger.ROLLBACK, caller, of=to, commit=found.commit, message=found.message),
        )

    async def again(self, app: App, trigger: Trigger, caller: str) -> Deployment:
        """Run the present release anew, with the variables and overrides of now."""
        number = self.running(app).number
        found = self.deployments.get(app.name, number)
        return await self.deploy(
            app, Wanted(trigger, caller, of=number, commit=found.commit, message=found.message)
        )

    async def scale(self, app: App, replicas: dict[str, int], caller: str) -> Deployment:
        """Change how many containers processes have, and roll that out."""
        running = self.running(app)
        known = {WEB, *running.release.config.processes}
        unknown = sorted(replicas.keys() - known)
        if unknown:
            raise NotFoundError(
                f"{app.name} has no process {unknown[0]}.",
                hint=f"It has: {', '.join(sorted(known))}.",
            )
        overrides = app.overrides
        for process, count in replicas.items():
            key = "deploy.replicas" if process == WEB else f"processes.{process}.replicas"
            overrides = override_text(overrides, key, str(count))
        return await self.configure(app, overrides, caller, Trigger.SCALE) or await self.again(
            app, Trigger.SCALE, caller
        )

    async def configure(
        self, app: App, overrides: dict[str, object], caller: str, trigger: Trigger = Trigger.CONFIG
    ) -> Deployment | None:
        """Keep new overrides; if the app runs, check them and roll them out."""
        running = self.deployments.running(app.name)
        if running is not None:
            effective(running.release.file, overrides)
        changed = msgspec.structs.replace(app, overrides=overrides)
        await self.records.put(changed)
        if running is None or changed.stopped:
            return None
        return await self.again(changed, trigger, caller)

    async def stop(self, app: App) -> App:
        """Stop an app's containers; its names answer that it is stopped."""
        running = self.running(app)
        async with self.hosting.lock(app.name):
            app = msgspec.structs.replace(self.here(app.name), stopped=True)
            await self.records.put(app)
            routes = plan_routes(self.hosting.here, app, running.release)
            await self.hosting.routes.put(owner_of(app.name), routes)
            await self.hosting.rollout.end(
                app.name, running.number, running.release.config.deploy.grace
            )
            await self.hosting.routes.switch(pool_of(app.name), ())
        return app

    async def start(self, app: App, caller: str) -> Deployment:
        """Start a stopped app again."""
        if not app.stopped:
            raise ConflictError(
                f"{app.name} is not stopped.",
                hint=f"To start it anew: covey apps restart {app.name}",
            )
        return await self.again(app, Trigger.START, caller)

    async def set_maintenance(self, app: App, *, on: bool) -> App:
        """Show a page that says so instead of the app, or the app again."""
        running = self.running(app)
        async with self.hosting.lock(app.name):
            app = msgspec.structs.replace(self.here(app.name), maintenance=on)
            await self.records.put(app)
            routes = plan_routes(self.hosting.here, app, running.release)
            await self.hosting.routes.put(owner_of(app.name), routes)
        return app

    async def run_scheduled(self, app: App, name: str, caller: str) -> Job:
        """Enqueue a scheduled command now; raises `NotFoundError` if the app has none such."""
        known = self.running(app).release.config.cron
        if name not in known:
            raise NotFoundError(
                f"{app.name} has no scheduled command {name}.",
                hint=f"It has: {', '.join(sorted(known)) or 'none'}.",
            )
        return await self.hosting.jobs.enqueue(scheduled_job(app.name, name, caller))

    async def destroy(self, app: App, *, volumes: bool) -> None:
        """Remove an app with all that Covey made for it; volumes with their data only if asked."""
        name = app.name
        for job in self.hosting.jobs.find(subject=owner_of(name)):
            if not job.state.ended:
                await self.hosting.jobs.cancel(job.id)
        async with self.hosting.lock(name):
            for schedule in self.hosting.jobs.schedules(owner_of(name) + "/"):
                await self.hosting.jobs.remove_schedule(schedule.name)
            await self.hosting.routes.remove(owner_of(name))
            await self.deployments.forget_app(name)
            await self.records.remove(name)
            await self.hosting.sweep.run()
            if volumes:
                labels = {**self.hosting.here.naming.own, "covey.app": name}
                for volume in await self.hosting.engine.list_volumes(labels):
                    await self.hosting.engine.remove_volume(volume)
        shutil.rmtree(self.hosting.here.places.static / name, ignore_errors=True)
        self.hosting.locks.pop(name, None)

    def running(self, app: App) -> Running:
        """Return what is in service; raises `ConflictError` if nothing is."""
        found = self.deployments.running(app.name)
        if found is None:
            raise ConflictError(
                f"{app.name} is not deployed yet.", hint=f"Deploy it: covey deploy {app.name}"
            )
        return found

    def urls(self, app: App) -> list[str]:
        """Return where an app of this node can be reached."""
        found = []
        for route in self.hosting.routes.of(owner_of(app.name)):
            for host in route.hosts:
                url = self.hosting.routes.url(host) + route.path.removesuffix("/")
                if url not in found:
                    found.append(url)
        return found

    def _check_place(self, app: App) -> None:
        self.hosting.environment.check(app)

    async def _superseded(self, item: Deployment, by: int) -> None:
        latest = self.deployments.get(item.app, item.number)
        if latest.state is DeploymentState.QUEUED:
            ended = msgspec.structs.replace(
                latest,
                state=DeploymentState.SUPERSEDED,
                ended=datetime.now(UTC),
                reason=f"Deployment {by} was asked for before this one began.",
            )
            await self.deployments.put(ended)
            self.hosting.changed(ended)


_TITLES = {
    Trigger.DEPLOY: "Deploy",
    Trigger.PUSH: "Deploy",
    Trigger.WEBHOOK: "Deploy",
    Trigger.PREVIEW: "Deploy",
    Trigger.ROLLBACK: "Roll back",
    Trigger.RESTART: "Restart",
    Trigger.SCALE: "Scale",
    Trigger.CONFIG: "Reconfigure",
    Trigger.START: "Start",
}
