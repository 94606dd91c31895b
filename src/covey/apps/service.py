"""The apps of this node: made, deployed, changed, rested and destroyed."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime

import msgspec

from covey.apps.config.load import AppFile
from covey.apps.config.merge import effective, override_text
from covey.apps.config.model import WEB
from covey.apps.deploy import DEPLOY, DeployJob
from covey.apps.hosting import Hosting
from covey.apps.layout import owner_of, pool_of
from covey.apps.model import App, Deployment, DeploymentState, Preview, Running, Trigger
from covey.apps.names import check_app_name
from covey.apps.plan import plan_routes
from covey.apps.retirement import Retirements
from covey.apps.scheduled import scheduled_job
from covey.apps.sources import Source
from covey.apps.sweep import kept_releases
from covey.apps.webhooks.ports import Origin
from covey.apps.withdrawal import Withdrawals
from covey.errors import ConflictError, CoveyError, InvalidRequestError, NotFoundError
from covey.fleet.hosts import HostRecords
from covey.jobs.api import NewJob
from covey.jobs.model import Job, JobState, Priority
from covey.store.api import NodeId

DEFAULT_ENVIRONMENT = "production"
_ACTIVE = frozenset({JobState.SCHEDULED, JobState.QUEUED, JobState.RUNNING})
_MOST_JOBS = 1000
_STOP_PATIENCE_S = 60.0


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
        retirements: Retirements,
        withdrawals: Withdrawals,
        own_name: Callable[[], str],
    ) -> None:
        self.node = node
        self.hosting = hosting
        self.records = hosting.records
        self.deployments = hosting.deployments
        self._hosts = hosts
        self._retirements = retirements
        self._withdrawals = withdrawals
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
        async with self.hosting.queue(name):
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
        async with self.hosting.queue(app.name):
            app = self.here(app.name)
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

    async def follow_place(self, before: App, after: App, caller: str) -> None:
        """Roll out the variables and the network of another project or environment."""
        moved = (before.project, before.environment) != (after.project, after.environment)
        if moved and not after.stopped and self.deployments.running(after.name) is not None:
            await self.again(after, Trigger.CONFIG, caller)

    async def deploy(self, app: App, wanted: Wanted) -> Deployment:
        """Enqueue a deployment; an older one of the app that has not begun is superseded.

        One that brings no version of its own is not enqueued if another waits: that one will begin
        with the variables and overrides of now, and its version would be lost.
        """
        async with self.hosting.queue(app.name):
            app = self.here(app.name)
            waiting = self.deployments.waiting(app.name)
            if wanted.of is not None:
                return await self._enqueue(app, wanted, None, waiting)
            if not wanted.trigger.builds:
                for item in waiting:
                    if self._waits(item):
                        return item
                return await self._enqueue(app, wanted, None, waiting)
            source = wanted.source or app.source
            if source is None:
                raise InvalidRequestError(
                    f"{app.name} has no source to deploy from.",
                    hint=f"Run `covey deploy DIR`, or name one: covey apps source {app.name} "
                    "--git URL",
                )
            return await self._enqueue(app, wanted, source, waiting)

    async def _enqueue(
        self, app: App, wanted: Wanted, source: Source | None, waiting: list[Deployment]
    ) -> Deployment:
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
        deployment = msgspec.structs.replace(deployment, job=job.id)
        await self.deployments.put(deployment)
        for item in waiting:
            await self._superseded(item, number)
        return deployment

    async def cancel(self, app: App, number: int | None) -> Deployment:
        """Cancel a deployment that has not ended, or all; returns the newest of them."""
        chosen = [
            item
            for item in self.deployments.unfinished()
            if item.app == app.name and number in {None, item.number}
        ]
        if number is not None and not chosen:
            state = self.deployments.get(app.name, number).state
            raise ConflictError(
                f"Deployment {number} of {app.name} has ended: {state.value}.",
                hint=f"To go back to an earlier version: covey apps rollback {app.name}",
            )
        if not chosen:
            raise ConflictError(
                f"Nothing of {app.name} is being deployed.",
                hint=f"See what was: covey apps deployments {app.name}",
            )
        # First those that wait: they would begin.
        for item in reversed(chosen):
            with suppress(NotFoundError):
                await self.hosting.jobs.cancel(item.job)
            await self._withdrawals.settle(app.name, item.number)
        return self.deployments.get(app.name, chosen[-1].number)

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
        await self.hosting.builder.require(app, to, found.release)
        return await self.deploy(
            app,
            Wanted(Trigger.ROLLBACK, caller, of=to, commit=found.commit, message=found.message),
        )

    def releases(self, app: App) -> list[Deployment]:
        """Return the deployments to which an app can go back, the newest first."""
        keep = self.hosting.sweep.keep_images
        return [item for item, _ in kept_releases(self.deployments, app, keep)]

    async def again(self, app: App, trigger: Trigger, caller: str) -> Deployment:
        """Run anew what is in service by then, with the variables and overrides of then."""
        self.running(app)
        return await self.deploy(app, Wanted(trigger, caller))

    async def scale(self, app: App, replicas: dict[str, int], caller: str) -> Deployment | None:
        """Change how many containers processes have, and roll that out unless it is stopped."""
        if self.running(app).release.built.static:
            raise ConflictError(
                f"{app.name} is a static site: it has no containers.",
                hint="The proxy serves it by itself.",
            )
        for process in sorted(replicas):
            self.check_process(app, process)

        def change(overrides: dict[str, object]) -> dict[str, object]:
            for process, count in replicas.items():
                key = "deploy.replicas" if process == WEB else f"processes.{process}.replicas"
                overrides = override_text(overrides, key, str(count))
            return overrides

        return await self.configure(app, change, caller, Trigger.SCALE)

    def file_of(self, app: App) -> AppFile:
        """Return the app file of the version in service, or an empty one."""
        running = self.deployments.running(app.name)
        return AppFile() if running is None else running.release.file

    def check_process(self, app: App, process: str) -> None:
        """Raise `NotFoundError` if an app that runs has no such process."""
        running = self.deployments.running(app.name)
        known = {process} if running is None else {WEB, *running.release.config.processes}
        if process not in known:
            raise NotFoundError(
                f"{app.name} has no process {process}.",
                hint=f"It has: {', '.join(sorted(known))}.",
            )

    async def configure(
        self,
        app: App,
        change: Callable[[dict[str, object]], dict[str, object]],
        caller: str,
        trigger: Trigger = Trigger.CONFIG,
    ) -> Deployment | None:
        """Keep changed overrides; if the app runs, check them and roll them out."""
        async with self.hosting.queue(app.name):
            app = self.here(app.name)
            app = msgspec.structs.replace(app, overrides=change(app.overrides))
            running = self.deployments.running(app.name)
            if running is not None:
                config = effective(running.release.file, app.overrides).config
                release = msgspec.structs.replace(running.release, config=config)
                routes = plan_routes(self.hosting.here, app, release)
                self.hosting.routes.check(owner_of(app.name), routes)
            await self.records.put(app)
        if running is None or app.stopped:
            return None
        return await self.again(app, trigger, caller)

    async def stop(self, app: App) -> App:
        """Stop an app's containers once their requests have ended; its names answer with a page.

        A deployment of the app that is under way or waits is cancelled: it would start it again.
        """
        self.running(app)
        await self._cancel(app.name, DEPLOY)
        async with self.hosting.lock(app.name):
            app = await self._change(app.name, stopped=True)
            running = self.running(app)
            routes = plan_routes(self.hosting.here, app, running.release)
            await self.hosting.routes.put(owner_of(app.name), routes)
            retiring = await self._retirements.begin(app.name, running.number)
        await asyncio.wait([retiring], timeout=_STOP_PATIENCE_S)
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
        self.running(app)
        async with self.hosting.lock(app.name):
            app = await self._change(app.name, maintenance=on)
            running = self.running(app)
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

    async def destroy(self, app: App, *, volumes: bool) -> list[str]:
        """Remove an app with all that Covey made for it; volumes with their data only if asked.

        Returns the names of the volumes that stay. The app's record goes last: until then it can
        be destroyed again, whatever failed.
        """
        hosting, name = self.hosting, app.name
        await self._cancel(name)
        async with hosting.lock(name):
            for schedule in hosting.jobs.schedules(owner_of(name) + "/"):
                await hosting.jobs.remove_schedule(schedule.name)
            await hosting.routes.remove(owner_of(name), (pool_of(name),))
            await hosting.rollout.remove_all(name)
            there = await hosting.engine.list_volumes(hosting.here.naming.of_app(name))
            for volume in there if volumes else ():
                await hosting.engine.remove_volume(volume)
            await hosting.environment.forget(name)
            sites = hosting.here.places.static / name
            await asyncio.to_thread(shutil.rmtree, sites, ignore_errors=True)
            await self.deployments.set_unswept(unswept=True)
            async with hosting.queue(name):
                await self.deployments.forget_app(name)
                await self.records.remove(name)
        # One that was asked for meanwhile finds no app.
        await self._cancel(name)
        with suppress(CoveyError):
            # What cannot be removed now is removed by the next sweep.
            await hosting.sweep.run()
            await self.deployments.set_unswept(unswept=False)
        return [] if volumes else [item.partition(".")[2] for item in there]

    async def settle(self, app: str, number: int) -> Deployment:
        """Return a deployment; one whose job has ended without a word has ended then, too."""
        await self._withdrawals.settle(app, number)
        return self.deployments.get(app, number)

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

    async def _change(self, name: str, **changes: bool) -> App:
        async with self.hosting.queue(name):
            app = msgspec.structs.replace(self.here(name), **changes)
            await self.records.put(app)
        return app

    async def _cancel(self, app: str, kind: str | None = None) -> None:
        """Cancel the jobs of an app, those that wait first."""
        found = self.hosting.jobs.find(
            states=_ACTIVE, kind=kind, subject=owner_of(app), limit=_MOST_JOBS
        )
        for job in found:
            await self.hosting.jobs.cancel(job.id)
        for item in self.deployments.unfinished():
            if item.app == app:
                await self._withdrawals.settle(app, item.number)

    def _waits(self, item: Deployment) -> bool:
        """Whether a deployment's job has not begun."""
        try:
            job = self.hosting.jobs.get(item.job)
        except NotFoundError:
            return False
        return not job.state.ended and not job.cancelling

    async def _superseded(self, item: Deployment, by: int) -> None:
        """Note that a deployment was superseded, unless its job had begun by then."""
        try:
            job = self.hosting.jobs.get(item.job)
        except NotFoundError:
            return
        if job.state is JobState.SUPERSEDED:
            ended = msgspec.structs.replace(
                item,
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
