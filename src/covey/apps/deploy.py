"""A deployment as a job: fetch, build, release command, start, switch, watch, prune.

Until the switch the version before is not touched. Whatever fails or is cancelled, that version
serves afterwards, and nothing stays of the attempt. The version before is retired by a job of its
own, since its last requests may take long.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import NoneType

import msgspec

from covey.apps.building import Builder
from covey.apps.containers import ContainerEngine
from covey.apps.deployments import Deployments
from covey.apps.environment import AppEnvironment
from covey.apps.layout import ONEOFF, owner_of, pool_of
from covey.apps.masking import Masking
from covey.apps.model import App, Deployment, DeploymentState, Release, Running
from covey.apps.oneoff import run_to_end
from covey.apps.plan import Given, Here, plan_command, plan_release, plan_routes
from covey.apps.records import AppRecords
from covey.apps.rollout import Rollout, Side
from covey.apps.routing.api import Routes
from covey.apps.sweep import Sweep
from covey.errors import ConflictError, CoveyError
from covey.jobs.api import JobKind, JobRun, Jobs, NewJob
from covey.jobs.model import Priority

DEPLOY = "apps.deploy"
RETIRE = "apps.retire"
_RELEASE_LIMIT_S = 3600.0


class DeployJob(msgspec.Struct, frozen=True):
    """What a job about one deployment is enqueued with."""

    app: str
    number: int


@dataclass(frozen=True, slots=True)
class Hosting:
    """What hosts the apps of this node."""

    here: Here
    records: AppRecords
    deployments: Deployments
    environment: AppEnvironment
    engine: ContainerEngine
    routes: Routes
    rollout: Rollout
    sweep: Sweep
    builder: Builder
    jobs: Jobs
    in_service: Callable[[App, Release], Awaitable[None]] = field(repr=False)
    """Called when a release begins to serve."""
    changed: Callable[[Deployment], None] = field(repr=False)
    """Called when a deployment begins and when it ends."""
    locks: dict[str, asyncio.Lock] = field(default_factory=dict)

    def lock(self, app: str) -> asyncio.Lock:
        """Return the lock that is held while an app's containers are changed."""
        return self.locks.setdefault(app, asyncio.Lock())


@dataclass(slots=True)
class _Attempt:
    """One run of a deployment's job."""

    job: JobRun
    app: App
    deployment: Deployment
    say: Masking
    old: Side | None = None
    old_release: Release | None = None


class DeployJobs:
    """Runs deployments as jobs."""

    def __init__(self, hosting: Hosting) -> None:
        self._hosting = hosting

    def kinds(self) -> tuple[JobKind, ...]:
        """Return the kinds of jobs under which deployments run."""
        return (JobKind(DEPLOY, self.run), JobKind(RETIRE, self.retire))

    async def run(self, job: JobRun) -> None:
        """Bring one deployment into service, or let it be as if it had not been tried."""
        asked = job.payload(DeployJob)
        deployment = self._hosting.deployments.get(asked.app, asked.number)
        if deployment.state.ended and deployment.state is not DeploymentState.SUCCEEDED:
            return
        app = self._hosting.records.get(asked.app)
        async with self._hosting.lock(app.name):
            attempt = await self._begin(job, app, deployment)
            if deployment.state is not DeploymentState.SUCCEEDED:
                await self._attempt(attempt)
            await self._finish(attempt)

    async def retire(self, job: JobRun) -> None:
        """End a version that was replaced, once its requests have ended."""
        asked = job.payload(DeployJob)
        hosting = self._hosting
        deployment = hosting.deployments.find(asked.app, asked.number)
        app = hosting.records.find(asked.app)
        if app is not None and deployment is not None and deployment.release is not None:
            side = await self._side(app, deployment, deployment.release)
            await hosting.rollout.retire(side, job.log)
        else:
            await hosting.rollout.remove(asked.app, asked.number)
        await hosting.deployments.set_retiring(asked.app, asked.number, retiring=False)

    async def settle(self, deployment: Deployment, reason: str) -> None:
        """End a deployment whose job ended without it, as after a job that broke off too often."""
        app = self._hosting.records.find(deployment.app)
        if app is None:
            return
        async with self._hosting.lock(app.name):
            await self._undo(app, deployment, lambda _text: None)
            await self._end(deployment, DeploymentState.FAILED, reason)

    async def enqueue_retirement(self, app: str, number: int) -> None:
        """See to it that a deployment that was replaced is retired."""
        await self._hosting.deployments.set_retiring(app, number, retiring=True)
        await self._hosting.jobs.enqueue(
            NewJob(
                RETIRE,
                DeployJob(app, number),
                f"End deployment {number} of {app} when its requests have ended",
                subject=owner_of(app),
                priority=Priority.LOW,
                unique=f"retire/{app}/{number}",
            )
        )

    async def _attempt(self, attempt: _Attempt) -> None:
        job = attempt.job
        try:
            await self._carry_out(attempt)
        except asyncio.CancelledError:
            if not job.stopping:
                await self._undo(attempt.app, attempt.deployment, attempt.say)
                await self._end(attempt.deployment, DeploymentState.CANCELLED, "It was cancelled.")
            raise
        except CoveyError as error:
            switched = self._serves(attempt.deployment)
            await self._undo(attempt.app, attempt.deployment, attempt.say)
            state = DeploymentState.ROLLED_BACK if switched else DeploymentState.FAILED
            message = attempt.say.clean(error.message)
            hint = None if error.hint is None else attempt.say.clean(error.hint)
            await self._end(attempt.deployment, state, message, hint)
            raise type(error)(message, hint=hint, details=error.details) from error
        except Exception:
            await self._undo(attempt.app, attempt.deployment, attempt.say)
            message = "Something went wrong inside Covey; the log of this machine says what."
            await self._end(attempt.deployment, DeploymentState.FAILED, message)
            raise

    async def _begin(self, job: JobRun, app: App, deployment: Deployment) -> _Attempt:
        hosting = self._hosting
        if deployment.state is DeploymentState.QUEUED:
            running = hosting.deployments.running(app.name)
            deployment = msgspec.structs.replace(
                deployment,
                state=DeploymentState.RUNNING,
                started=datetime.now(UTC),
                job=job.id,
                replaces=None if running is None else running.number,
            )
            await hosting.deployments.put(deployment)
            hosting.changed(deployment)
        attempt = _Attempt(job, app, deployment, Masking(job.log))
        old = await self._old(app, deployment)
        if old is not None:
            attempt.old, attempt.old_release = old
        return attempt

    async def _old(self, app: App, deployment: Deployment) -> tuple[Side, Release] | None:
        """Return what the deployment replaces, if that serves or served until just now."""
        if deployment.replaces is None or app.stopped:
            return None
        before = self._hosting.deployments.find(app.name, deployment.replaces)
        if before is None or before.release is None:
            return None
        return await self._side(app, before, before.release), before.release

    async def _side(self, app: App, deployment: Deployment, release: Release) -> Side:
        """Plan a version that ran before: its containers are there, whatever its variables are."""
        given = Given(app, deployment, release, {})
        try:
            variables = await self._hosting.environment.resolve(app, release.config.env)
            given = Given(app, deployment, release, variables.values)
        except CoveyError:
            pass
        return Side(app.name, deployment.number, plan_release(self._hosting.here, given))

    async def _carry_out(self, attempt: _Attempt) -> None:
        job, hosting, say = attempt.job, self._hosting, attempt.say
        release = await self._release(attempt)
        app = msgspec.structs.replace(attempt.app, stopped=False)
        variables = await hosting.environment.resolve(app, release.config.env)
        say.learn(variables.secrets)
        given = Given(app, attempt.deployment, release, variables.values)
        new = Side(app.name, attempt.deployment.number, plan_release(hosting.here, given))
        hosting.routes.check(owner_of(app.name), new.plan.routes)
        job.progress(0.6, "starting")
        command = release.config.release
        if command is not None and attempt.deployment.trigger.builds and release.built.image:
            await job.step("release", lambda: self._release_command(given, command, say), NoneType)
        await job.step("start", lambda: hosting.rollout.start(new, attempt.old, say), NoneType)
        job.progress(0.8, "switching")
        await job.step("switch", lambda: self._switch(app, attempt, new, release), NoneType)
        job.progress(0.9, "watching")
        await job.step("watch", lambda: hosting.rollout.watch(new, new.plan.watch_s), NoneType)
        await self._end(attempt.deployment, DeploymentState.SUCCEEDED, "")

    async def _release(self, attempt: _Attempt) -> Release:
        """Build what is to run, or find what ran before."""
        job, hosting = attempt.job, self._hosting
        deployment = attempt.deployment
        if deployment.release is None:
            if deployment.of is None:
                release = await hosting.builder.build(
                    job, attempt.app, deployment, attempt.say, self._note_source
                )
            else:
                release = await hosting.builder.again(attempt.app, deployment.of)
            found = hosting.deployments.get(deployment.app, deployment.number)
            attempt.deployment = msgspec.structs.replace(found, release=release)
            await hosting.deployments.put(attempt.deployment)
        assert attempt.deployment.release is not None  # noqa: S101 - for the type checker
        return attempt.deployment.release

    async def _note_source(self, deployment: Deployment) -> None:
        await self._hosting.deployments.put(deployment)
        self._hosting.changed(deployment)

    async def _release_command(self, given: Given, command: str, say: Masking) -> None:
        name = f"{ONEOFF}release-{given.deployment.number}"
        spec = plan_command(self._hosting.here, given, name, command)
        say(f"$ {command}")
        await self._hosting.rollout.prepare(plan_release(self._hosting.here, given))
        status = await run_to_end(self._hosting.engine, spec, say, limit_s=_RELEASE_LIMIT_S)
        if status != 0:
            raise ConflictError(
                f"The release command ended with status {status}, so nothing was switched.",
                hint="Its output is above: " + command,
            )

    async def _switch(self, app: App, attempt: _Attempt, new: Side, release: Release) -> None:
        hosting = self._hosting
        number = attempt.deployment.number
        if release.built.static:
            await hosting.builder.link_site(app.name, release.built_by)
        await hosting.rollout.switch(new, attempt.say)
        running = Running(app.name, number, release, datetime.now(UTC))
        await hosting.deployments.set_running(running)
        latest = hosting.records.find(app.name)
        if latest is not None and latest.stopped:
            await hosting.records.put(msgspec.structs.replace(latest, stopped=False))
        await hosting.in_service(app, release)
        attempt.say(f"deployment {number} serves")

    async def _finish(self, attempt: _Attempt) -> None:
        """Do what follows a success, and can be repeated."""
        replaced = attempt.deployment.replaces
        if replaced is not None and replaced != attempt.deployment.number:
            await self.enqueue_retirement(attempt.app.name, replaced)
        await self._hosting.sweep.prune(attempt.app)

    def _serves(self, deployment: Deployment) -> bool:
        running = self._hosting.deployments.running(deployment.app)
        return running is not None and running.number == deployment.number

    async def _undo(self, app: App, deployment: Deployment, say: Callable[[str], None]) -> None:
        """Bring back what served before, and remove what the attempt made."""
        hosting = self._hosting
        found = await self._old(app, deployment)
        if found is not None:
            old, release = found
            if release.built.static:
                await hosting.builder.link_site(app.name, release.built_by)
            await hosting.rollout.restore(old, say)
            running = Running(app.name, old.number, release, datetime.now(UTC))
            await hosting.deployments.set_running(running)
            await hosting.in_service(app, release)
        elif deployment.replaces is None:
            await hosting.deployments.clear_running(app.name)
            await hosting.routes.remove(owner_of(app.name))
        elif self._serves(deployment):
            await self._rest_again(app, deployment.replaces)
        await hosting.rollout.remove(app.name, deployment.number)

    async def _rest_again(self, app: App, number: int) -> None:
        """Leave an app as stopped as it was before a deployment that was to start it."""
        hosting = self._hosting
        before = hosting.deployments.get(app.name, number)
        await hosting.records.put(app)
        await hosting.routes.switch(pool_of(app.name), ())
        if before.release is not None:
            running = Running(app.name, number, before.release, datetime.now(UTC))
            await hosting.deployments.set_running(running)
            routes = plan_routes(hosting.here, app, before.release)
            await hosting.routes.put(owner_of(app.name), routes)

    async def _end(
        self, deployment: Deployment, state: DeploymentState, reason: str, hint: str | None = None
    ) -> None:
        hosting = self._hosting
        latest = hosting.deployments.get(deployment.app, deployment.number)
        ended = msgspec.structs.replace(
            latest, state=state, ended=datetime.now(UTC), reason=reason, hint=hint
        )
        await hosting.deployments.put(ended)
        hosting.changed(ended)
        if state is not DeploymentState.SUCCEEDED:
            await hosting.sweep.run()
