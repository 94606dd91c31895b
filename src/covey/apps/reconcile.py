"""Wanted and actual, compared: crashed containers start again, leftovers go, others are left alone.

A container that ends again and again is started ever more seldom, and anew as soon as it is
deployed anew.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass

from covey.apps.containers import ContainerSpec, ContainerState, ContainerStatus
from covey.apps.hosting import Hosting
from covey.apps.layout import is_replica, owner_of
from covey.apps.model import App, Running
from covey.apps.own_containers import find_own
from covey.apps.plan import plan_routes
from covey.apps.retirement import Retirements
from covey.apps.sides import known_side, plan_side
from covey.apps.starting import start_container
from covey.apps.withdrawal import Withdrawals
from covey.errors import ConflictError, CoveyError, UnreachableError

_EVERY_S = 60.0
_SWEEP_EVERY_S = 900.0
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

    def __init__(
        self, hosting: Hosting, retirements: Retirements, withdrawals: Withdrawals
    ) -> None:
        self._hosting = hosting
        self._retirements = retirements
        self._withdrawals = withdrawals
        self._backoffs: dict[str, _Backoff] = {}
        self._swept: float | None = None
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
            rest: float | None = _EVERY_S
            try:
                if self._has_work():
                    self._listen()
                    await self.run()
                rest = self._rest()
            except UnreachableError as error:
                _log.warning("apps cannot be looked after now: %s", error)
            except CoveyError as error:
                _log.error("apps could not be looked after: %s", error)
            except Exception:  # noqa: BLE001 - logged whole
                # One mistake must not leave all apps alone.
                _log.exception("apps could not be looked after")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(rest):
                    await self._wake.wait()

    def _has_work(self) -> bool:
        deployments = self._hosting.deployments
        return bool(
            deployments.all_running()
            or deployments.unfinished()
            or deployments.retiring()
            or deployments.unswept()
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
                    if event.action in {"die", "oom"} and is_replica(event.labels):
                        self._wake.set()
            except CoveyError as error:
                _log.info("events of containers stopped: %s", error)
            except Exception:  # noqa: BLE001 - logged whole
                _log.exception("events of containers stopped")
            await asyncio.sleep(_EVERY_S)

    async def run(self) -> None:
        """Compare once, and act. What goes wrong with one app does not concern the others."""
        hosting = self._hosting
        for item in hosting.deployments.unfinished():
            with _told(item.app):
                await self._withdrawals.settle(item.app, item.number)
        self._retirements.resume()
        for name in hosting.deployments.all_running():
            if not hosting.lock(name).locked():
                async with hosting.lock(name):
                    with _told(name):
                        await self._look_after(name)
        await self._sweep()
        now = asyncio.get_running_loop().time()
        self._backoffs = {
            name: item
            for name, item in self._backoffs.items()
            if now - item.started <= _LONGEST_WAIT_S + _STEADY_S
        }

    async def _sweep(self) -> None:
        """Remove what a crash has left: whatever ends in order sweeps by itself."""
        now, unswept = asyncio.get_running_loop().time(), self._hosting.deployments.unswept()
        if unswept or self._swept is None or now - self._swept >= _SWEEP_EVERY_S:
            await self._hosting.sweep.run()
            self._swept = now
        if unswept:
            await self._hosting.deployments.set_unswept(unswept=False)

    async def _look_after(self, name: str) -> None:
        """Bring an app to what it should be, unless a deployment is exchanging its versions."""
        hosting = self._hosting
        app, running = hosting.records.find(name), hosting.deployments.running(name)
        if app is None or running is None or self._is_exchanged(name):
            return
        if app.stopped:
            await self._keep_stopped(app, running)
            return
        deployment = hosting.deployments.get(name, running.number)
        side = known_side(hosting, app, deployment, running.release)
        wanted = {item.spec.name for item in side.plan.containers}
        there = await hosting.rollout.running(side)
        if wanted <= {state.name for state in there}:
            for container in wanted:
                self._found_running(container)
        else:
            side = await plan_side(hosting, app, deployment, running.release)
            await hosting.rollout.prepare(side.plan)
            for item in side.plan.containers:
                await self._keep_up(item.spec, complete=side.complete)
            there = await hosting.rollout.running(side)
        await hosting.routes.put(owner_of(name), side.plan.routes)
        await hosting.rollout.point_to(side, there)

    def _is_exchanged(self, app: str) -> bool:
        """Whether a deployment has begun to run its version: it looks after both versions."""
        unfinished = self._hosting.deployments.unfinished()
        return any(item.app == app and item.release is not None for item in unfinished)

    async def _keep_stopped(self, app: App, running: Running) -> None:
        """End what a stop that was broken off has left."""
        hosting = self._hosting
        routes = plan_routes(hosting.here, app, running.release)
        await hosting.routes.put(owner_of(app.name), routes)
        labels = hosting.here.naming.labels(app.name, running.number)
        if any(is_replica(one.labels) for one in await hosting.engine.list_containers(labels)):
            await self._retirements.begin(app.name, running.number)

    def _found_running(self, container: str) -> None:
        """Forget how often a container was started, once it has run for long."""
        backoff = self._backoffs.get(container, _Backoff())
        now = asyncio.get_running_loop().time()
        if now - backoff.started > max(_STEADY_S, backoff.wait_s):
            self._backoffs.pop(container, None)

    async def _keep_up(self, spec: ContainerSpec, *, complete: bool) -> None:
        """Start one container that should run and does not, unless it is too soon."""
        name = spec.name
        state = await find_own(self._hosting.engine, spec)
        if state is not None and state.status is ContainerStatus.RUNNING:
            self._found_running(name)
            return
        now = asyncio.get_running_loop().time()
        backoff = self._backoffs.get(name, _Backoff())
        if state is None and not complete:
            raise ConflictError(
                f"{name} is gone, and cannot be made again: not all its variables have values.",
                hint="See which: covey env doctor",
            )
        if now < backoff.not_before:
            return
        first = backoff.wait_s == 0.0
        backoff.wait_s = _FIRST_WAIT_S if first else min(2 * backoff.wait_s, _LONGEST_WAIT_S)
        backoff.not_before = now + backoff.wait_s
        backoff.started = now
        self._backoffs[name] = backoff
        _log.warning("%s does not run%s; starting it", name, _why(state))
        await start_container(self._hosting.engine, spec, None if state is None else state.id)


@contextlib.contextmanager
def _told(app: str) -> Iterator[None]:
    """Log what goes wrong with an app; an engine that is away concerns all."""
    try:
        yield
    except UnreachableError:
        raise
    except CoveyError as error:
        _log.warning("%s: %s", app, error)
    except Exception:  # noqa: BLE001 - logged whole
        _log.exception("%s could not be looked after", app)


def _why(state: ContainerState | None) -> str:
    if state is None:
        return " (it is gone)"
    if state.out_of_memory:
        return " (out of memory)"
    return "" if state.exit_code is None else f" (status {state.exit_code})"
