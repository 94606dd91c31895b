"""The sessions with the other members: dialled, accepted, and kept at one for each peer."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from covey.errors import CoveyError, UnreachableError
from covey.fleet.discovery import Source, Target
from covey.fleet.pulse import LinkChannel, Pulse
from covey.fleet.waiting import wait_a_while
from covey.store.api import NodeId
from covey.store.ports import Channel

_log = logging.getLogger("covey.fleet.links")
_FIRST_DELAY_S = 0.2
_LONGEST_DELAY_S = 60.0
_URGENT_DELAY_S = 1.5
_PARTING_S = 0.5
_HELD_S = 5.0
_STAGGER_S = 0.2
_MOST_STAGGERED = 4
_MEET_S = 5.0
_POLL_S = 0.02


class Direction(StrEnum):
    """Which side opened a session."""

    OUT = "out"
    IN = "in"


class Dialer(Protocol):
    """Opens a channel to a member; raises `UnreachableError` or `RefusedError`."""

    async def dial(self, address: str) -> LinkChannel:
        """Connect to `host:port` and prove both identities."""


class SessionRunner(Protocol):
    """Runs one replication session until the channel ends or either side ends it."""

    async def __call__(self, channel: Channel) -> None:
        """Exchange entries with the peer."""


@dataclass(slots=True)
class Link:
    """One open session with a peer; `source` told of its address, None if the peer called."""

    peer: NodeId
    direction: Direction
    channel: LinkChannel
    address: str
    source: Source | None = None
    since: float = field(default_factory=time.time)
    pulse: Pulse = field(init=False)

    def __post_init__(self) -> None:
        self.pulse = Pulse(self.channel)


@dataclass(slots=True)
class Route:
    """An address that is dialled, and how that goes."""

    target: Target
    last_error: str | None = None
    failures: int = 0
    wake: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def address(self) -> str:
        """The address."""
        return self.target.address


def retry_delay(
    failures: int, draw: Callable[[], float] = random.random, longest: float = _LONGEST_DELAY_S
) -> float:
    """Seconds before the next try: doubling, capped, with full jitter of its upper half."""
    ceiling = min(longest, _FIRST_DELAY_S * 2.0 ** min(failures, 10))
    return float(ceiling * (0.5 + draw() / 2))


def prefers(me: NodeId, peer: NodeId, direction: Direction) -> bool:
    """Whether, of two sessions with one peer, this one stays: the lower id's call does."""
    return (direction is Direction.OUT) == (me < peer)


class Links:
    """Keeps at most one session with each member, over whichever address answers.

    `targets` is asked anew on each `refresh`; `is_member` decides who may stay connected. Whoever
    is held on to is dialled without long pauses, and its connection is tested each second.
    """

    def __init__(
        self,
        me: NodeId,
        dialer: Dialer,
        run: SessionRunner,
        *,
        targets: Callable[[], Iterable[Target]],
        is_member: Callable[[NodeId], bool],
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        self._me = me
        self._dialer = dialer
        self._run = run
        self._targets = targets
        self._is_member = is_member
        self._changed = changed
        self._held: NodeId | None = None
        self._links: dict[NodeId, Link] = {}
        self._routes: dict[str, Route] = {}
        self._peer_at: dict[str, NodeId] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._closing = False

    @property
    def open_links(self) -> list[Link]:
        """The open sessions."""
        return list(self._links.values())

    @property
    def routes(self) -> list[Route]:
        """The addresses that are dialled."""
        return list(self._routes.values())

    def peer_at(self, address: str) -> NodeId | None:
        """Who answered at an address, if anyone has."""
        return self._peer_at.get(address)

    def refresh(self) -> None:
        """Dial what is newly known, forget what is gone, drop peers that are members no more."""
        if self._closing:
            return
        wanted = {target.address: target for target in self._targets()}
        for address, target in wanted.items():
            route = self._routes.get(address)
            if route is not None:
                if route.target != target:
                    route.target = target
                    route.wake.set()
                continue
            self._routes[address] = Route(target)
            self._tasks[address] = asyncio.create_task(self._keep(self._routes[address]))
        for address in self._routes.keys() - wanted.keys():
            self._routes.pop(address)
            self._tasks.pop(address).cancel()
        for link in self.open_links:
            if not self._is_member(link.peer):
                asyncio.create_task(self._part(link))  # noqa: RUF006 - ends with its channel

    def dial_now(self) -> None:
        """Cut every waiting time short."""
        for route in self._routes.values():
            route.failures = 0
            route.wake.set()

    def hold_on_to(self, peer: NodeId | None) -> None:
        """Keep close to one peer, and to no other any more."""
        self._held = peer
        for link in self._links.values():
            link.pulse.quicken(fast=self._is_urgent(link))
        if peer is not None and peer not in self._links:
            self._wake_routes_to(peer)

    def dial_soon(self, peer: NodeId) -> None:
        """Cut the waiting time short for one peer."""
        self._wake_routes_to(peer)

    def link_with(self, peer: NodeId) -> Link | None:
        """Return the open session with a peer."""
        return self._links.get(peer)

    def last_error(self, addresses: Iterable[str]) -> str | None:
        """Return why the first of some addresses that failed did so."""
        routes = (self._routes.get(address) for address in addresses)
        return next((item.last_error for item in routes if item and item.last_error), None)

    async def meet(self, address: str) -> NodeId:
        """Dial an address that is among the targets now, and return who answers there.

        Raises `UnreachableError` with the reason if nobody does in time.
        """
        self.refresh()
        route = self._routes.get(address)
        if route is None:
            raise UnreachableError(f"{address} is this machine itself.")
        route.failures = 0
        route.wake.set()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_MEET_S):
                while not self._has_met(route):  # noqa: ASYNC110 - routes tell nobody
                    await asyncio.sleep(_POLL_S)
        found = self._peer_at.get(address)
        if found is None:
            raise UnreachableError(route.last_error or f"{address} did not answer in time.")
        return found

    def _has_met(self, route: Route) -> bool:
        peer = self._peer_at.get(route.address)
        return peer == self._me or peer in self._links or route.last_error is not None

    async def accept(self, channel: LinkChannel, address: str) -> None:
        """Run a session that a peer opened; returns when it ends."""
        await self._session(Link(channel.peer, Direction.IN, channel, address))

    async def close(self) -> None:
        """End all sessions and dial no more."""
        self._closing = True
        for task in self._tasks.values():
            task.cancel()
        for link in self.open_links:
            await self._drop(link)
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    async def _keep(self, route: Route) -> None:
        while True:
            route.wake.clear()
            # Of several addresses of one member, each waits whether the better ones answer.
            await asyncio.sleep(_STAGGER_S * min(route.target.rank, _MOST_STAGGERED))
            peer = self._peer_of(route)
            pause = _LONGEST_DELAY_S
            if peer is None or (peer != self._me and peer not in self._links):
                await self._try(route)
                longest = _URGENT_DELAY_S if self._wanted_soon(route) else _LONGEST_DELAY_S
                pause = retry_delay(route.failures, longest=longest)
            await wait_a_while(route.wake, pause)

    def _peer_of(self, route: Route) -> NodeId | None:
        """Return who answered there, or else who is said to be there.

        The cloud's address is dialled until somebody answered: nobody but it knows who it is.
        """
        return self._peer_at.get(route.address) or (
            None if route.target.urgent else route.target.peer
        )

    def _wanted_soon(self, route: Route) -> bool:
        return route.target.urgent or (
            self._held is not None and self._peer_of(route) == self._held
        )

    def _is_urgent(self, link: Link) -> bool:
        return link.peer == self._held or any(
            route.target.urgent and self._peer_at.get(route.address) == link.peer
            for route in self._routes.values()
        )

    async def _try(self, route: Route) -> None:
        started = time.monotonic()
        try:
            channel = await self._dialer.dial(route.address)
            self._peer_at[route.address] = channel.peer
            if channel.peer == self._me:
                await channel.close()
                return
            route.last_error = None
            target = route.target
            await self._session(
                Link(channel.peer, Direction.OUT, channel, target.address, target.source)
            )
        except CoveyError as error:
            if route.last_error != error.message:
                _log.info("peer at %s: %s", route.address, error.message)
            route.last_error = error.message
        # A session that held is no failure: the next try follows at once.
        held = time.monotonic() - started > _LONGEST_DELAY_S / 2
        route.failures = 0 if held else route.failures + 1

    async def _session(self, link: Link) -> None:
        if self._closing or not self._is_member(link.peer):
            await link.channel.close()
            return
        while (present := self._links.get(link.peer)) is not None:
            if await self._stays(present, link):
                await link.channel.close()
                return
            await self._drop(present)
        self._links[link.peer] = link
        _log.info("session with %s opened (%s, %s)", link.peer[:8], link.direction, link.address)
        link.pulse.quicken(fast=self._is_urgent(link))
        beating = asyncio.create_task(link.pulse.beat(self._changed))
        began = time.monotonic()
        self._changed()
        try:
            await self._run(link.pulse)
        finally:
            beating.cancel()
            if self._links.get(link.peer) is link:
                del self._links[link.peer]
            _log.info("session with %s ended", link.peer[:8])
            self._changed()
            await link.channel.close()
            if time.monotonic() - began > _HELD_S:
                self._wake_routes_to(link.peer)
            else:
                self._wake_routes_later(link.peer)

    async def _stays(self, present: Link, fresh: Link) -> bool:
        """Whether the open session stays; one that does not answer has been lost by the peer."""
        same = present.direction is fresh.direction
        if not same and not prefers(self._me, fresh.peer, present.direction):
            return False
        return await present.pulse.answers()

    def _wake_routes_to(self, peer: NodeId) -> None:
        for route in self._routes.values():
            if self._peer_of(route) == peer:
                route.failures = 0
                route.wake.set()

    def _wake_routes_later(self, peer: NodeId) -> None:
        """Try again after a pause: who hung up at once would do so again at once."""
        loop = asyncio.get_running_loop()
        for route in self._routes.values():
            if self._peer_of(route) == peer:
                loop.call_later(retry_delay(route.failures), route.wake.set)

    async def _part(self, link: Link) -> None:
        """Drop a peer that is a member no more, once the session had a moment to tell it so."""
        await asyncio.sleep(_PARTING_S)
        await self._drop(link)

    async def _drop(self, link: Link) -> None:
        if self._links.get(link.peer) is link:
            del self._links[link.peer]
        await link.channel.close()
