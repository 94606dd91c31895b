"""One version of an app taking the place of another: started beside it, checked, switched, drained.

Each method can be repeated after a crash: it finds what its earlier run left and goes on. One-off
containers (release commands, scheduled ones, people's) end by themselves, whatever version serves.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from covey.apps.config.model import WEB, Strategy
from covey.apps.containers import (
    PROCESS_LABEL,
    SLOT_LABEL,
    ContainerEngine,
    ContainerState,
    ContainerStatus,
)
from covey.apps.health import HealthChecks, UnhealthyError
from covey.apps.layout import Naming, is_replica, owner_of, pool_of, release_process
from covey.apps.own_containers import find_own
from covey.apps.plan import ContainerPlan, ReleasePlan
from covey.apps.routing.api import Routes
from covey.apps.starting import start_container
from covey.errors import ConflictError, UnreachableError

_SHORTEST_PAUSE_S = 0.5

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Side:
    """A deployment of an app and what it is made of.

    One that is not `complete` lacks its variables: no container can be made of it.
    """

    app: str
    number: int
    plan: ReleasePlan
    complete: bool = True


class Rollout:
    """Brings releases of this node's apps in and out of service."""

    def __init__(
        self, engine: ContainerEngine, routes: Routes, health: HealthChecks, naming: Naming
    ) -> None:
        self._engine = engine
        self._routes = routes
        self._health = health
        self._naming = naming

    async def start(self, new: Side, old: Side | None, say: Say) -> None:
        """Start every container of `new` and wait until all are healthy; `old` serves meanwhile.

        With `rolling` each healthy replica takes the requests of one old one. With `recreate` the
        old containers stop first. Raises `UnhealthyError`, and what the engine raises.
        """
        await self.prepare(new.plan)
        web = [item for item in new.plan.containers if item.process == WEB]
        others = [item for item in new.plan.containers if item.process != WEB]
        if new.plan.strategy is Strategy.RECREATE and old is not None:
            say(f"stopping deployment {old.number} first (strategy recreate)")
            await self._routes.switch(pool_of(new.app), ())
            await self._stop(await self._states(old.app, old.number), old.plan.grace_s)
        if new.plan.strategy is Strategy.ROLLING:
            before = [] if old is None else _addresses(await self.running(old), old.plan.port)
            fresh: list[str] = []
            for item in web:
                state = await self._bring_up(item, say)
                fresh.append(_address(state, new.plan.port))
                if before and old is not None:
                    mixed = [*fresh, *before[len(fresh) : len(web)]]
                    await self._routes.switch(pool_of(new.app), mixed)
            await _together(self._bring_up(item, say) for item in others)
        else:
            await _together(self._bring_up(item, say) for item in (*others, *web))

    async def switch(self, new: Side, say: Say) -> None:
        """Send requests to `new`, once all its containers still run."""
        for item in new.plan.containers:
            state = await find_own(self._engine, item.spec)
            if state is None or state.status is not ContainerStatus.RUNNING:
                await self._bring_up(item, say)
        await self.point_to(new, await self.running(new))
        await self._routes.put(owner_of(new.app), new.plan.routes)

    async def point_to(self, side: Side, running: Sequence[ContainerState]) -> None:
        """Let the app's pool lead to the web containers of a side among those that run."""
        addresses = _addresses(running, side.plan.port)
        if any(item.process == WEB for item in side.plan.containers) and not addresses:
            raise ConflictError(
                f"No web process of {side.app} runs, so there is nothing to send requests to.",
                hint=f"See what it says: covey apps logs {side.app}",
            )
        if addresses and tuple(addresses) != self._routes.addresses(pool_of(side.app)):
            await self._routes.switch(pool_of(side.app), addresses)

    async def running(self, side: Side) -> Sequence[ContainerState]:
        """Return the containers of a side that run."""
        states = await self._states(side.app, side.number)
        return [state for state in states if state.status is ContainerStatus.RUNNING]

    async def takes_requests(self, app: str, number: int) -> bool:
        """Whether the app's pool leads to a container of a deployment."""
        found = _published(await self._states(app, number))
        return not set(found).isdisjoint(self._routes.addresses(pool_of(app)))

    async def watch(self, new: Side, seconds: float, is_over: Callable[[], bool]) -> None:
        """Watch a version that serves, for that long or until `is_over`.

        Raises `UnhealthyError` if it dies or turns unhealthy.
        """
        if seconds > 0:
            await _together(self._watch_one(item, seconds, is_over) for item in new.plan.containers)

    async def retire(self, old: Side, say: Say) -> None:
        """Let a version that gets no new requests finish those it has, then stop and remove it."""
        states = await self._states(old.app, old.number)
        addresses = _published(states)
        workers = [state for state in states if state.labels[PROCESS_LABEL] != WEB]
        await self._stop(workers, old.plan.grace_s)
        if addresses and not await self._routes.drain(addresses, old.plan.drain_s):
            say(f"requests were still under way after {old.plan.drain_s:g} s; ending them")
        await self._stop(states, old.plan.grace_s)
        for state in states:
            await self._engine.remove(state.id)

    async def restore(self, old: Side, say: Say) -> None:
        """Bring a version that was replaced, wholly or in part, back into service."""
        await self.prepare(old.plan)
        for item in old.plan.containers:
            state = await find_own(self._engine, item.spec)
            if state is not None and state.status is not ContainerStatus.RUNNING:
                await start_container(self._engine, item.spec, state.id)
            elif state is None and old.complete:
                await start_container(self._engine, item.spec)
        await self.point_to(old, await self.running(old))
        await self._routes.put(owner_of(old.app), old.plan.routes)
        say(f"deployment {old.number} serves again")

    async def end(self, app: str, number: int, grace_s: float) -> None:
        """Stop and remove the containers of a version that gets no requests any more."""
        await self._stop(await self._states(app, number), grace_s)
        await self.remove(app, number)

    async def remove(self, app: str, number: int) -> None:
        """Remove all containers of a deployment, and that of its release command."""
        labels = self._naming.labels(app, number)
        for state in await self._engine.list_containers(labels):
            process = state.labels.get(PROCESS_LABEL)
            if process == release_process(number) or is_replica(state.labels):
                await self._engine.remove(state.id)

    async def remove_all(self, app: str) -> None:
        """Remove every container of an app, one-off ones too."""
        for state in await self._engine.list_containers(self._naming.of_app(app)):
            if PROCESS_LABEL in state.labels:
                await self._engine.remove(state.id)

    async def prepare(self, plan: ReleasePlan) -> None:
        """Make the network and the volumes of a release."""
        if plan.containers:
            await self._engine.create_network(plan.network, self._naming.own)
        for name, labels in plan.volumes.items():
            await self._engine.create_volume(name, labels)

    async def _bring_up(self, item: ContainerPlan, say: Say) -> ContainerState:
        name = f"{item.process}.{item.slot}"
        state = await find_own(self._engine, item.spec)
        if state is None or state.status is not ContainerStatus.RUNNING:
            if state is not None:
                await self._engine.remove(state.id)
            say(f"starting {name}")
            identifier = await start_container(self._engine, item.spec)
        else:
            identifier = state.id
        healthy = await self._health.wait_healthy(identifier, item.policy, say)
        say(f"{name} is healthy")
        return healthy

    async def _watch_one(
        self, item: ContainerPlan, seconds: float, is_over: Callable[[], bool]
    ) -> None:
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        pause = max(item.policy.interval_s, _SHORTEST_PAUSE_S)
        while (rest := until - loop.time()) > 0 and not is_over():
            await self._health.pause(item.spec.name, min(rest, pause))
            # An engine that is away says nothing about the app.
            with suppress(UnreachableError):
                await self._require_fit(item, seconds)

    async def _require_fit(self, item: ContainerPlan, seconds: float) -> None:
        state = await self._engine.inspect(item.spec.name)
        if state is None or state.status is not ContainerStatus.RUNNING:
            lines = await self._health.last_lines(item.spec.name)
            raise UnhealthyError(
                f"{item.process}.{item.slot} ended within {seconds:g} s of the switch.",
                hint="\n  ".join(["Its last output:", *lines]) if lines else None,
            )
        if item.process != WEB:
            return
        reason = await self._health.ask(state, item.policy)
        if reason is not None:
            # One slow answer under load is no reason to go back.
            reason = await self._health.ask(state, item.policy)
        if reason is not None:
            raise UnhealthyError(
                f"{item.process}.{item.slot} turned unhealthy after the switch: {reason}."
            )

    async def _stop(self, states: Sequence[ContainerState], grace_s: float) -> None:
        await _together(self._engine.stop(state.id, grace_s) for state in states)

    async def _states(self, app: str, number: int) -> Sequence[ContainerState]:
        """Return the containers of a deployment's processes.

        People's own containers of its image have the image's labels, and no process.
        """
        labels = self._naming.labels(app, number)
        return [
            state
            for state in await self._engine.list_containers(labels)
            if is_replica(state.labels)
        ]


async def _together(works: Iterable[Coroutine[Any, Any, object]]) -> None:
    """Run all to their end; if one fails, end the others before that is raised."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _addresses(running: Sequence[ContainerState], port: int) -> list[str]:
    """Return where the web containers among those that run take requests, in order of slot."""
    found = {
        int(state.labels.get(SLOT_LABEL, "0")): state
        for state in running
        if state.labels[PROCESS_LABEL] == WEB and port in state.ports
    }
    return [_address(found[slot], port) for slot in sorted(found)]


def _published(states: Sequence[ContainerState]) -> list[str]:
    return [
        f"{host}:{port}"
        for state in states
        if state.labels[PROCESS_LABEL] == WEB
        for host, port in state.ports.values()
    ]


def _address(state: ContainerState, port: int) -> str:
    host, published = state.ports[port]
    return f"{host}:{published}"
