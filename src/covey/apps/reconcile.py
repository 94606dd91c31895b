"""Wanted and actual, compared: crashed containers start again, leftovers go, others are left alone.

A container that ends again and again is started ever more seldom, and anew as soon as it is
deployed anew.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from dataclasses import dataclass

from covey.apps.containers import ContainerSpec, ContainerState, ContainerStatus
from covey.apps.deploy import DeployJobs, Hosting
from covey.apps.layout import ONEOFF, owner_of, read_labels
from covey.apps.model import App, Deployment, Running
from covey.apps.plan import Given, plan_release
from covey.apps.rollout import Side
from covey.errors import CoveyError, NotFoundError, UnreachableError
from covey.jobs.model import Job

_EVERY_S = 60.0
_FIRST_WAIT_S = 1.0
_LONGEST_WAIT_S = 300.0
_STEADY_S = 60.0
_log = logging.getLogger("covey.apps")


@dataclass(slots=True)
class _Backoff:
    """When a container may be started again; times in seconds of the event loop's clock."""

    wait_s: float = 0.0
    not_before: float = 0.0
    started: float = 0.0


class Reconciler:
    """Sees to it that what should run does; wakes each minute and when a container ends."""

    def __init__(self, hosting: Hosting, jobs: DeployJobs) -> None:
        self._hosting = hosting
        self._deploy_jobs = jobs
        self._backoffs: dict[str, _Backoff] = {}
        self._wake = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin, if this node has apps or had some; else wait until it gets one."""
        self._tasks = [asyncio.create_task(self._follow())]

    async def stop(self) -> None:
        """End; the containers run on."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []

    def wake(self) -> None:
        """Look now."""
        self._wake.set()

    def failing(self) -> list[str]:
        """Return the names of the containers that ended lately and were started again."""
        return sorted(name for name, item in self._backoffs.items() if item.wait_s)

    async def _follow(self) -> None:
        while True:
            self._wake.clear()
            if self._has_work():
                self._listen()
                try:
                    await self.run()
                except UnreachableError as error:
                    _log.warning("apps cannot be looked after now: %s", error)
                except CoveyError as error:
                    _log.error("apps could not be looked after: %s", error)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._rest()):
                    await self._wake.wait()

    def _has_work(self) -> bool:
        deployments = self._hosting.deployments
        return bool(
            deployments.all_running()
            or deployments.unfinished()
            or deployments.retiring()
            or self._hosting.records.on(self._hosting.here.naming.node)
        )

    def _rest(self) -> float | None:
        if not self._has_work():
            return None
        now = asyncio.get_running_loop().time()
        due = [item.not_before for item in self._backoffs.values() if item.not_before > now]
        return min([_EVERY_S, *(at - now for at in due)])

    def _listen(self) -> None:
        if len(self._tasks) == 1:
            self._tasks.append(asyncio.create_task(self._hear_endings()))

    async def _hear_endings(self) -> None:
        while True:
            try:
                async for event in self._hosting.engine.events():
                    if event.action in {"die", "died", "oom"}:
                        self._wake.set()
            except CoveyError as error:
                _log.info("events of containers stopped: %s", error)
            await asyncio.sleep(_EVERY_S)

    async def run(self) -> None:
        """Compare once, and act."""
        hosting = self._hosting
        for item in hosting.deployments.unfinished():
            await self._settle(item)
        for retiring, number in hosting.deployments.retiring():
            await self._deploy_jobs.enqueue_retirement(retiring, number)
        under_way = {item.app for item in hosting.deployments.unfinished()}
        for name, running in hosting.deployments.all_running().items():
            app = hosting.records.find(name)
            if app is None or app.stopped or name in under_way or hosting.lock(name).locked():
                continue
            async with hosting.lock(name):
                try:
                    await self._look_after(app, running)
                except UnreachableError:
                    raise
                except CoveyError as error:
                    _log.warning("%s: %s", name, error)
        await hosting.sweep.run()

    async def _settle(self, deployment: Deployment) -> None:
        job = self._job(deployment)
        if job is not None and not job.state.ended:
            return
        if not deployment.job:
            reason = "The daemon ended before it could begin."
        elif job is None or job.failure is None:
            reason = "Its job ended without a result."
        else:
            reason = job.failure.message
        await self._deploy_jobs.settle(deployment, reason)

    def _job(self, deployment: Deployment) -> Job | None:
        if deployment.job:
            with contextlib.suppress(NotFoundError):
                return self._hosting.jobs.get(deployment.job)
        # Killed between the enqueueing of the job and the note of its id.
        for job in self._hosting.jobs.find(subject=owner_of(deployment.app)):
            if not job.state.ended and job.title.endswith(f"(deployment {deployment.number})"):
                return job
        return None

    async def _look_after(self, app: App, running: Running) -> None:
        hosting = self._hosting
        deployment = hosting.deployments.get(app.name, running.number)
        if running.release.built.static:
            given = Given(app, deployment, running.release, {})
            plan = plan_release(hosting.here, given)
            await hosting.routes.put(owner_of(app.name), plan.routes)
            return
        variables = await hosting.environment.resolve(app, running.release.config.env)
        given = Given(app, deployment, running.release, variables.values)
        side = Side(app.name, running.number, plan_release(hosting.here, given))
        labels = hosting.here.naming.labels(app.name, running.number)
        actual = {state.name: state for state in await hosting.engine.list_containers(labels)}
        await hosting.rollout.prepare(side.plan)
        for item in side.plan.containers:
            await self._keep_up(item.spec, actual.get(item.spec.name))
        await hosting.rollout.point_to(side)
        await hosting.routes.put(owner_of(app.name), side.plan.routes)

    async def _keep_up(self, spec: ContainerSpec, state: ContainerState | None) -> None:
        """Start one container that should run and does not, unless it is too soon."""
        name = spec.name
        now = asyncio.get_running_loop().time()
        backoff = self._backoffs.setdefault(name, _Backoff())
        if state is not None and state.status is ContainerStatus.RUNNING:
            if now - backoff.started > _STEADY_S:
                self._backoffs.pop(name, None)
            return
        if now < backoff.not_before:
            return
        first = backoff.wait_s == 0.0
        backoff.wait_s = _FIRST_WAIT_S if first else min(2 * backoff.wait_s, _LONGEST_WAIT_S)
        backoff.not_before = now + backoff.wait_s
        backoff.started = now
        _log.warning("%s does not run%s; starting it", name, _why(state))
        if state is None:
            identifier = await self._hosting.engine.create(spec)
        else:
            identifier = state.id
        await self._hosting.engine.start(identifier)


def _why(state: ContainerState | None) -> str:
    if state is None:
        return " (it is gone)"
    found = read_labels(state.labels)
    if found is not None and found.process.startswith(ONEOFF):
        return ""
    if state.out_of_memory:
        return " (out of memory)"
    return "" if state.exit_code is None else f" (status {state.exit_code})"
