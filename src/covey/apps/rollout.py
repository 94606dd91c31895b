"""One version of an app taking the place of another: started beside it, checked, switched, drained.

Each method can be repeated after a crash: it finds what its earlier run left and goes on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from covey.apps.config.model import WEB, Strategy
from covey.apps.containers import (
    PROCESS_LABEL,
    SLOT_LABEL,
    ContainerEngine,
    ContainerState,
    ContainerStatus,
)
from covey.apps.health import HealthChecks, UnhealthyError
from covey.apps.layout import Naming, owner_of, pool_of
from covey.apps.plan import ContainerPlan, ReleasePlan
from covey.apps.routing.api import Routes
from covey.errors import ConflictError

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Side:
    """A deployment of an app and what it is made of."""

    app: str
    number: int
    plan: ReleasePlan


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
            await self._stop_all(old)
        if new.plan.strategy is Strategy.ROLLING:
            before = await self._addresses(old)
            fresh: list[str] = []
            for item in web:
                state = await self._bring_up(item, say)
                fresh.append(_address(state, new.plan.port))
                if before and old is not None:
                    mixed = [*fresh, *before[len(fresh) : len(web)]]
                    await self._routes.switch(pool_of(new.app), mixed)
            await asyncio.gather(*(self._bring_up(item, say) for item in others))
        else:
            await asyncio.gather(*(self._bring_up(item, say) for item in (*others, *web)))

    async def switch(self, new: Side, say: Say) -> None:
        """Send requests to `new`, once all its containers still run."""
        for item in new.plan.containers:
            state = await self._engine.inspect(item.spec.name)
            if state is None or state.status is not ContainerStatus.RUNNING:
                await self._bring_up(item, say)
        await self.point_to(new)
        await self._routes.put(owner_of(new.app), new.plan.routes)

    async def point_to(self, side: Side) -> None:
        """Let the app's pool lead to the running web containers of a side."""
        addresses = await self._addresses(side)
        if any(item.process == WEB for item in side.plan.containers) and not addresses:
            raise ConflictError(
                f"No web process of {side.app} runs, so there is nothing to send requests to.",
                hint=f"See what it says: covey apps logs {side.app}",
            )
        if addresses and tuple(addresses) != self._routes.addresses(pool_of(side.app)):
            await self._routes.switch(pool_of(side.app), addresses)

    async def watch(self, new: Side, seconds: float) -> None:
        """Watch a version that serves; raises `UnhealthyError` if it dies or turns unhealthy."""
        if seconds <= 0 or not new.plan.containers:
            return
        watching = [
            asyncio.create_task(self._watch_one(item, seconds)) for item in new.plan.containers
        ]
        try:
            await asyncio.gather(*watching)
        finally:
            for task in watching:
                task.cancel()
            await asyncio.gather(*watching, return_exceptions=True)

    async def retire(self, old: Side, say: Say) -> None:
        """Let a version that gets no new requests finish those it has, then stop and remove it."""
        states = await self._states(old.app, old.number)
        addresses = [
            f"{host}:{port}"
            for state in states
            if state.labels.get(PROCESS_LABEL) == WEB
            for host, port in state.ports.values()
        ]
        workers = [state for state in states if state.labels.get(PROCESS_LABEL) != WEB]
        await asyncio.gather(*(self._engine.stop(s.id, old.plan.grace_s) for s in workers))
        if addresses and not await self._routes.drain(addresses, old.plan.drain_s):
            say(f"requests were still under way after {old.plan.drain_s:g} s; ending them")
        await asyncio.gather(*(self._engine.stop(s.id, old.plan.grace_s) for s in states))
        for state in states:
            await self._engine.remove(state.id)

    async def restore(self, old: Side, say: Say) -> None:
        """Bring a version that was replaced, wholly or in part, back into service."""
        await self.prepare(old.plan)
        for item in old.plan.containers:
            state = await self._engine.inspect(item.spec.name)
            if state is None:
                identifier = await self._engine.create(item.spec)
                await self._engine.start(identifier)
            elif state.status is not ContainerStatus.RUNNING:
                await self._engine.start(state.id)
        await self.point_to(old)
        await self._routes.put(owner_of(old.app), old.plan.routes)
        say(f"deployment {old.number} serves again")

    async def end(self, app: str, number: int, grace_s: float) -> None:
        """Stop and remove the containers of a version that gets no requests any more."""
        states = await self._states(app, number)
        await asyncio.gather(*(self._engine.stop(state.id, grace_s) for state in states))
        await self.remove(app, number)

    async def remove(self, app: str, number: int) -> None:
        """Remove all containers of a deployment."""
        for state in await self._states(app, number):
            await self._engine.remove(state.id)

    async def prepare(self, plan: ReleasePlan) -> None:
        """Make the network and the volumes of a release."""
        if plan.containers:
            await self._engine.create_network(plan.network, self._naming.own)
        for name, labels in plan.volumes.items():
            await self._engine.create_volume(name, labels)

    async def _bring_up(self, item: ContainerPlan, say: Say) -> ContainerState:
        name = f"{item.process}.{item.slot}"
        state = await self._engine.inspect(item.spec.name)
        if state is None or state.status is not ContainerStatus.RUNNING:
            if state is not None:
                await self._engine.remove(state.id)
            say(f"starting {name}")
            identifier = await self._engine.create(item.spec)
            await self._engine.start(identifier)
        else:
            identifier = state.id
        healthy = await self._health.wait_healthy(identifier, item.policy, say)
        say(f"{name} is healthy")
        return healthy

    async def _watch_one(self, item: ContainerPlan, seconds: float) -> None:
        ended = asyncio.ensure_future(self._engine.wait(item.spec.name))
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        try:
            while (rest := until - loop.time()) > 0:
                await asyncio.wait([ended], timeout=min(rest, max(item.policy.interval_s, 0.5)))
                state = await self._engine.inspect(item.spec.name)
                if ended.done() or state is None or state.status is not ContainerStatus.RUNNING:
                    lines = await self._health.last_lines(item.spec.name)
                    raise UnhealthyError(
                        f"{item.process}.{item.slot} ended within {seconds:g} s of the switch.",
                        hint="\n  ".join(["Its last output:", *lines]) if lines else None,
                    )
                if item.process != WEB:
                    continue
                reason = await self._health.ask(state, item.policy)
                if reason is not None:
                    # One slow answer under load is no reason to go back.
                    reason = await self._health.ask(state, item.policy)
                if reason is not None:
                    raise UnhealthyError(
                        f"{item.process}.{item.slot} turned unhealthy after the switch: {reason}."
                    )
        finally:
            ended.cancel()
            await asyncio.gather(ended, return_exceptions=True)

    async def _stop_all(self, side: Side) -> None:
        states = await self._states(side.app, side.number)
        await asyncio.gather(*(self._engine.stop(s.id, side.plan.grace_s) for s in states))

    async def _addresses(self, side: Side | None) -> list[str]:
        """Return where the running web containers of a side take requests, in order of slot."""
        if side is None:
            return []
        found = {
            int(state.labels.get(SLOT_LABEL, "0")): state
            for state in await self._states(side.app, side.number)
            if state.labels.get(PROCESS_LABEL) == WEB
            and state.status is ContainerStatus.RUNNING
            and side.plan.port in state.ports
        }
        return [_address(found[slot], side.plan.port) for slot in sorted(found)]

    async def _states(self, app: str, number: int) -> Sequence[ContainerState]:
        return await self._engine.list_containers(self._naming.labels(app, number))


def _address(state: ContainerState, port: int) -> str:
    host, published = state.ports[port]
    return f"{host}:{published}"
