"""A deployment as a job: fetch, build, release command, start, switch, watch, prune.

Until the switch the version before is not touched. Whatever fails or is cancelled, that version
serves afterwards, and nothing stays of the attempt.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from types import NoneType

import msgspec

from covey.apps.hosting import Hosting
from covey.apps.layout import owner_of
from covey.apps.masking import Masking
from covey.apps.model import App, Deployment, DeploymentState, Release, Running
from covey.apps.plan import Given, plan_release
from covey.apps.release_command import run_release_command
from covey.apps.retirement import Retirements
from covey.apps.rollout import Side
from covey.apps.sides import plan_side
from covey.apps.withdrawal import Withdrawals
from covey.errors import ConflictError, CoveyError
from covey.jobs.api import JobKind, JobRun

DEPLOY = "apps.deploy"
_LONGEST_LINE = 1000
_MOST_LINES = 60


class DeployJob(msgspec.Struct, frozen=True):
    """What a job about one deployment is enqueued with."""

    app: str
    number: int


@dataclass(slots=True)
class _Attempt:
    """One run of a deployment's job."""

    job: JobRun
    deployment: Deployment
    say: Masking


class DeployJobs:
    """Runs deployments as jobs."""

    def __init__(
        self, hosting: Hosting, retirements: Retirements, withdrawals: Withdrawals
    ) -> None:
        self._hosting = hosting
        self._retirements = retirements
        self._withdrawals = withdrawals

    def kind(self) -> JobKind:
        """Return the kind of job under which deployments run."""
        return JobKind(DEPLOY, self.run)

    async def run(self, job: JobRun) -> None:
        """Bring one deployment into service, or let it be as if it had not been tried."""
        asked = job.payload(DeployJob)
        say = Masking(job.log)
        await self._withdrawals.settle_before(asked.app, asked.number, say)
        attempt = _Attempt(job, await self._begin(job, asked), say)
        if attempt.deployment.undoing is not None:
            await self._withdrawals.go_on(attempt.deployment, say)
            raise _failed(self._hosting.deployments.get(asked.app, asked.number))
        if attempt.deployment.state is not DeploymentState.SUCCEEDED:
            await self._attempt(attempt)
        try:
            await self._finish(attempt.deployment)
        except asyncio.CancelledError:
            if job.stopping:
                raise
            # It serves: there is nothing left to cancel.
            await self._finish(attempt.deployment)

    async def _begin(self, job: JobRun, asked: DeployJob) -> Deployment:
        """Note that a deployment has begun, and what it finds; raises if it has failed before."""
        hosting = self._hosting
        async with hosting.queue(asked.app):
            deployment = hosting.deployments.get(asked.app, asked.number)
            app = hosting.records.get(asked.app)
            if deployment.state.ended and deployment.state is not DeploymentState.SUCCEEDED:
                raise _failed(deployment)
            if deployment.state is not DeploymentState.QUEUED:
                return deployment
            running = hosting.deployments.running(app.name)
            replaces = None if running is None else running.number
            deployment = msgspec.structs.replace(
                deployment,
                state=DeploymentState.RUNNING,
                started=datetime.now(UTC),
                job=job.id,
                replaces=replaces,
                resting=app.stopped,
            )
            if replaces is not None and deployment.of is None and not deployment.trigger.builds:
                # The version of now: a newer one may have come since it was asked for.
                before = hosting.deployments.find(app.name, replaces)
                deployment = msgspec.structs.replace(
                    deployment,
                    of=replaces,
                    commit="" if before is None else before.commit,
                    message="" if before is None else before.message,
                )
            await hosting.deployments.put(deployment)
        hosting.changed(deployment)
        return deployment

    async def _attempt(self, attempt: _Attempt) -> None:
        job, say = attempt.job, attempt.say
        withdraw = self._withdrawals.withdraw
        try:
            await self._carry_out(attempt)
        except asyncio.CancelledError:
            if not job.stopping:
                state = DeploymentState.CANCELLED
                await withdraw(attempt.deployment, state, "It was cancelled.", None, say)
            raise
        except CoveyError as error:
            deployment = attempt.deployment
            switched = self._hosting.deployments.serves(deployment.app, deployment.number)
            state = DeploymentState.ROLLED_BACK if switched else DeploymentState.FAILED
            message = _short(say.clean(error.message))
            hint = None if error.hint is None else _short(say.clean(error.hint))
            await withdraw(attempt.deployment, state, message, hint, say)
            raise type(error)(message, hint=hint, details=error.details) from error
        except Exception:
            message = "Something went wrong inside Covey; the log of this machine says what."
            await withdraw(attempt.deployment, DeploymentState.FAILED, message, None, say)
            raise

    async def _carry_out(self, attempt: _Attempt) -> None:
        job, hosting = attempt.job, self._hosting
        release = await self._release(attempt)
        async with hosting.lock(attempt.deployment.app):
            new = await self._bring_into_service(attempt, release)
        job.progress(0.9, "watching")
        await job.step("watch", lambda: self._watch(new, attempt.say), NoneType)
        if not hosting.deployments.serves(attempt.deployment.app, attempt.deployment.number):
            raise ConflictError(
                "It was taken out of service while it was watched.",
                hint=f"Deploy again: covey deploy {attempt.deployment.app}",
            )
        replaced = attempt.deployment.replaces
        if replaced is not None and replaced != attempt.deployment.number:
            # Before this one is over: nothing else tells a sweep that the old one still drains.
            await hosting.deployments.set_retiring(attempt.deployment.app, replaced, retiring=True)
        await self._withdrawals.end(attempt.deployment, DeploymentState.SUCCEEDED)

    async def _watch(self, new: Side, say: Masking) -> None:
        """Watch a version until its time is over, or another deployment of the app waits for it."""
        deployments = self._hosting.deployments
        await self._hosting.rollout.watch(
            new, new.plan.watch_s, lambda: bool(deployments.waiting(new.app))
        )
        if new.plan.watch_s > 0 and deployments.waiting(new.app):
            say("it is not watched any longer: another deployment waits")

    async def _bring_into_service(self, attempt: _Attempt, release: Release) -> Side:
        """Start a release beside the version before, and let it take that one's place."""
        job, hosting, say = attempt.job, self._hosting, attempt.say
        # What holds now, not what held when the build began.
        app = hosting.records.get(attempt.deployment.app)
        found = hosting.deployments.get(app.name, attempt.deployment.number)
        deployment = attempt.deployment = msgspec.structs.replace(found, release=release)
        await hosting.deployments.put(deployment)
        old = await self._replaced(app, deployment)
        app = msgspec.structs.replace(app, stopped=False)
        variables = await hosting.environment.resolve(app, release.config)
        say.learn(variables.secrets)
        given = Given(app, deployment, release, variables.values)
        new = Side(app.name, deployment.number, plan_release(hosting.here, given))
        hosting.routes.check(owner_of(app.name), new.plan.routes)
        await self._note_volumes(deployment, new)
        job.progress(0.6, "starting")
        command = release.config.release
        if command is not None and deployment.trigger.builds and release.built.image:
            await run_release_command(hosting, job, given, new.plan, command, say)
        await job.step("start", lambda: hosting.rollout.start(new, old, say), NoneType)
        job.progress(0.8, "switching")
        await job.step("switch", lambda: self._switch(app, new, release, say), NoneType)
        return new

    async def _note_volumes(self, deployment: Deployment, new: Side) -> None:
        """Note which volumes are about to be made: they go again if the version never serves."""
        hosting = self._hosting
        if new.plan.volumes:
            there = await hosting.engine.list_volumes(hosting.here.naming.of_app(new.app))
            fresh = new.plan.volumes.keys() - set(there) - set(deployment.volumes)
            if fresh:
                volumes = (*deployment.volumes, *sorted(fresh))
                await hosting.deployments.put(msgspec.structs.replace(deployment, volumes=volumes))

    async def _keep_volumes(self, new: Side) -> None:
        """What a version that serves has written is not taken back."""
        deployment = self._hosting.deployments.get(new.app, new.number)
        if deployment.volumes:
            await self._hosting.deployments.put(msgspec.structs.replace(deployment, volumes=()))

    async def _replaced(self, app: App, deployment: Deployment) -> Side | None:
        """Return what the deployment replaces, if that serves or served until just now."""
        if deployment.replaces is None or deployment.resting:
            return None
        before = self._hosting.deployments.find(app.name, deployment.replaces)
        if before is None or before.release is None:
            return None
        return await plan_side(self._hosting, app, before, before.release)

    async def _release(self, attempt: _Attempt) -> Release:
        """Build what is to run, or find what ran before."""
        job, hosting = attempt.job, self._hosting
        deployment = attempt.deployment
        if deployment.release is not None:
            return deployment.release
        app = hosting.records.get(deployment.app)
        if deployment.of is not None:
            return await hosting.builder.again(app, deployment.of)
        if not deployment.trigger.builds:
            raise ConflictError(
                f"{app.name} is not deployed yet.", hint=f"Deploy it: covey deploy {app.name}"
            )
        return await hosting.builder.build(job, app, deployment, attempt.say, self._note_source)

    async def _note_source(self, deployment: Deployment) -> None:
        await self._hosting.deployments.put(deployment)
        self._hosting.changed(deployment)

    async def _switch(self, app: App, new: Side, release: Release, say: Masking) -> None:
        hosting = self._hosting
        if release.built.static:
            await hosting.builder.link_site(app.name, release.built_by)
        await self._keep_volumes(new)
        await hosting.rollout.switch(new, say)
        running = Running(app.name, new.number, release, datetime.now(UTC))
        await hosting.deployments.set_running(running)
        async with hosting.queue(app.name):
            latest = hosting.records.find(app.name)
            if latest is not None and latest.stopped:
                await hosting.records.put(msgspec.structs.replace(latest, stopped=False))
        await hosting.in_service(app, release)
        say(f"deployment {new.number} serves")

    async def _finish(self, deployment: Deployment) -> None:
        """Do what follows a success, and can be repeated."""
        replaced = deployment.replaces
        if replaced is not None and replaced != deployment.number:
            await self._retirements.begin(deployment.app, replaced)
        with suppress(CoveyError):
            # Whatever is left is swept the next time.
            await self._hosting.sweep.prune(deployment.app)


def _short(text: str) -> str:
    """Leave out what no record can hold: what an app printed last may be one endless line."""
    lines = text.splitlines()
    shown = [line if len(line) <= _LONGEST_LINE else f"{line[:_LONGEST_LINE]} …" for line in lines]
    return "\n".join(shown[:_MOST_LINES])


def _failed(deployment: Deployment) -> ConflictError:
    return ConflictError(
        deployment.reason or f"Deployment {deployment.number} has ended before.",
        hint=deployment.hint or f"Deploy again: covey deploy {deployment.app}",
    )
