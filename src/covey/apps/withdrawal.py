"""Attempts that failed or were cancelled: what served before serves again, and nothing is left.

How an attempt is going to have ended is recorded first. A daemon that is killed meanwhile goes on
with undoing, never with the attempt.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime

import msgspec

from covey.apps.config.model import Strategy
from covey.apps.hosting import Hosting
from covey.apps.layout import owner_of, pool_of
from covey.apps.model import App, Deployment, DeploymentState, Running
from covey.apps.plan import plan_routes
from covey.apps.retirement import Retirements
from covey.apps.sides import plan_side
from covey.errors import CoveyError, UnreachableError
from covey.jobs.model import Job, JobState

_ENDED_AS = {
    JobState.CANCELLED: DeploymentState.CANCELLED,
    JobState.SUPERSEDED: DeploymentState.SUPERSEDED,
}

Say = Callable[[str], None]


class Withdrawals:
    """Takes back what deployments did."""

    def __init__(self, hosting: Hosting, retirements: Retirements) -> None:
        self._hosting = hosting
        self._retirements = retirements

    async def withdraw(
        self,
        deployment: Deployment,
        state: DeploymentState,
        reason: str,
        hint: str | None,
        say: Say,
    ) -> None:
        """Undo what an attempt did, and record how it ended."""
        hosting = self._hosting
        async with hosting.lock(deployment.app):
            latest = hosting.deployments.find(deployment.app, deployment.number)
            if latest is None:
                # The app was destroyed.
                await hosting.rollout.remove(deployment.app, deployment.number)
                return
            marked = msgspec.structs.replace(latest, undoing=state, reason=reason, hint=hint)
            with suppress(CoveyError):
                await hosting.deployments.put(marked)
            await self._undo(marked, say)
            await self.end(marked, state, reason, hint)

    async def go_on(self, deployment: Deployment, say: Say) -> None:
        """Go on with undoing after a crash."""
        state = deployment.undoing or DeploymentState.FAILED
        await self.withdraw(deployment, state, deployment.reason, deployment.hint, say)

    async def settle(self, app: str, number: int) -> None:
        """End a deployment whose job ended without it, as after one that broke off too often."""
        hosting = self._hosting
        async with hosting.queue(app):
            deployment = hosting.deployments.find(app, number)
            if deployment is None or deployment.state.ended:
                return
            job = _job_of(hosting, deployment)
            if job is not None and not job.state.ended:
                return
        if deployment.state is DeploymentState.QUEUED:
            await self.end(deployment, *_how(deployment, job))
        elif deployment.undoing is not None:
            await self.go_on(deployment, lambda _text: None)
        else:
            state, reason = _how(deployment, job)
            await self.withdraw(deployment, state, reason, None, lambda _text: None)

    async def settle_before(self, app: str, number: int, say: Say) -> None:
        """End earlier deployments of an app that could not be undone at their end."""
        for item in self._hosting.deployments.unfinished():
            if (item.app, item.state) == (app, DeploymentState.RUNNING) and item.number < number:
                say(f"deployment {item.number} was broken off; undoing it first")
                await self.settle(app, item.number)

    async def end(
        self,
        deployment: Deployment,
        state: DeploymentState,
        reason: str = "",
        hint: str | None = None,
    ) -> None:
        """Record how a deployment ended."""
        hosting = self._hosting
        latest = hosting.deployments.find(deployment.app, deployment.number)
        if latest is None:
            return
        ended = msgspec.structs.replace(
            latest, state=state, undoing=None, ended=datetime.now(UTC), reason=reason, hint=hint
        )
        await hosting.deployments.put(ended)
        hosting.changed(ended)
        if state is not DeploymentState.SUCCEEDED:
            with suppress(CoveyError):
                # Whatever is left is swept the next time.
                await hosting.sweep.run()

    async def _undo(self, deployment: Deployment, say: Say) -> None:
        hosting = self._hosting
        app = hosting.records.find(deployment.app)
        running = hosting.deployments.running(deployment.app)
        is_last = running is None or running.number in {deployment.number, deployment.replaces}
        if app is None or deployment.release is None or not is_last:
            # It took no request, or a newer version serves already.
            await hosting.rollout.remove(deployment.app, deployment.number)
            return
        deploy = deployment.release.config.deploy
        if deploy.strategy is Strategy.RECREATE:
            # Never both at one time: they would write to the same volumes.
            await hosting.rollout.end(app.name, deployment.number, deploy.grace)
        drains = await hosting.rollout.takes_requests(app.name, deployment.number)
        await self._bring_back(app, deployment, say)
        if drains:
            await self._retirements.begin(app.name, deployment.number)
            return
        await hosting.rollout.remove(app.name, deployment.number)
        for volume in deployment.volumes:
            try:
                await hosting.engine.remove_volume(volume)
            except UnreachableError:
                raise
            except CoveyError as error:
                say(f"the volume {volume} stays: {error.message}")

    async def _bring_back(self, app: App, deployment: Deployment, say: Say) -> None:
        """Let what served before serve again, or let the app rest again."""
        hosting = self._hosting
        if deployment.replaces is None:
            await hosting.deployments.clear_running(app.name)
            await hosting.routes.remove(owner_of(app.name), (pool_of(app.name),))
            return
        before = hosting.deployments.find(app.name, deployment.replaces)
        if before is None or before.release is None:
            return
        running = Running(app.name, before.number, before.release, datetime.now(UTC))
        if deployment.resting or app.stopped:
            await self._rest_again(app.name, running)
            return
        if before.release.built.static:
            await hosting.builder.link_site(app.name, before.release.built_by)
        side = await plan_side(hosting, app, before, before.release)
        try:
            await hosting.rollout.restore(side, say)
        except UnreachableError:
            raise
        except CoveyError as error:
            # It is started again and again, as whatever serves and ends.
            say(f"deployment {before.number} does not serve again yet: {error.message}")
        await hosting.deployments.set_running(running)
        await hosting.in_service(app, before.release)

    async def _rest_again(self, name: str, running: Running) -> None:
        """Leave an app as stopped as it was before a deployment that was to start it."""
        hosting = self._hosting
        async with hosting.queue(name):
            app = msgspec.structs.replace(hosting.records.get(name), stopped=True)
            await hosting.records.put(app)
        routes = plan_routes(hosting.here, app, running.release)
        await hosting.routes.put(owner_of(name), routes)
        await hosting.routes.switch(pool_of(name), ())
        await hosting.deployments.set_running(running)


def _job_of(hosting: Hosting, deployment: Deployment) -> Job | None:
    if deployment.job:
        with suppress(CoveyError):
            return hosting.jobs.get(deployment.job)
    # Killed between the enqueueing of the job and the note of its id.
    for job in hosting.jobs.find(subject=owner_of(deployment.app)):
        if not job.state.ended and job.title.endswith(f"(deployment {deployment.number})"):
            return job
    return None


def _how(deployment: Deployment, job: Job | None) -> tuple[DeploymentState, str]:
    """Say how a deployment ended whose job has."""
    if job is None:
        began = "could go on" if deployment.job else "could begin"
        return DeploymentState.FAILED, f"The daemon ended before it {began}."
    if job.state in _ENDED_AS:
        past = "cancelled" if job.state is JobState.CANCELLED else "superseded by a newer one"
        return _ENDED_AS[job.state], f"It was {past}."
    reason = "Its job ended without a result." if job.failure is None else job.failure.message
    return DeploymentState.FAILED, reason
