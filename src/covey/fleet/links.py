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

from covey.errors import CoveyError
from covey.store.api import NodeId
from covey.store.ports import Channel

_log = logging.getLogger("covey.fleet.links")
_FIRST_DELAY_S = 0.2
_LONGEST_DELAY_S = 60.0
_PARTING_S = 0.5
_HELD_S = 5.0


class Direction(StrEnum):
    """Which side opened a session."""

    OUT = "out"
    IN = "in"


class Dialer(Protocol):
    """Opens a channel to a member; raises `UnreachableError` or `RefusedError`."""

    async def dial(self, address: str) -> Channel:
        """Connect to `host:port` and prove both identities."""


class SessionRunner(Protocol):
    """Runs one replication session until the channel ends or either side ends it."""

    async def __call__(self, channel: Channel) -> None:
        """Exchange entries with the peer."""


@dataclass(slots=True)
class Link:
    """One open session with a peer."""

    peer: NodeId
    direction: Direction
    channel: Channel
    address: str
    since: float = field(default_factory=time.time)


@dataclass(slots=True)
class Route:
    """An address that is dialled, and how that goes."""

    address: str
    last_error: str | None = None
    failures: int = 0
    wake: asyncio.Event = field(default_factory=asyncio.Event)


def retry_delay(failures: int, draw: Callable[[], float] = random.random) -> float:
    """Seconds before the next try: doubling, capped, with full jitter of its upper half."""
    ceiling = min(_LONGEST_DELAY_S, _FIRST_DELAY_S * 2.0 ** min(failures, 10))
    return float(ceiling * (0.5 + draw() / 2))


def prefers(me: NodeId, peer: NodeId, direction: Direction) -> bool:
    """Whether, of two sessions with one peer, this one stays: the lower id's call does."""
    return (direction is Direction.OUT) == (me < peer)


class Links:
    """Keeps at most one session with each member, over whichever address answers.

    `addresses` is asked anew on each `refresh`; `is_member` decides who may stay connected.
    """

    def __init__(
        self,
        me: NodeId,
        dialer: Dialer,
        run: SessionRunner,
        *,
        addresses: Callable[[], Iterable[str]],
        is_member: Callable[[NodeId], bool],
    ) -> None:
        self._me = me
        self._dialer = dialer
        self._run = run
        self._addresses = addresses
        self._is_member = is_member
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
        wanted = set(self._addresses())
        for address in wanted - self._routes.keys():
            self._routes[address] = Route(address)
            self._tasks[address] = asyncio.create_task(self._keep(self._routes[address]))
        for address in self._routes.keys() - wanted:
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

    async def accept(self, channel: Channel, address: str) -> None:
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
            peer = self._peer_at.get(route.address)
            if peer is None or (peer != self._me and peer not in self._links):
                await self._try(route)
            # Before Python 3.12, wait_for ignores a cancellation that comes just after the event.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(retry_delay(route.failures)):
                    await route.wake.wait()

    async def _try(self, route: Route) -> None:
        started = time.monotonic()
        try:
            channel = await self._dialer.dial(route.address)
            self._peer_at[route.address] = channel.peer
            if channel.peer == self._me:
                await channel.close()
                return
            route.last_error = None
            await self._session(Link(channel.peer, Direction.OUT, channel, route.address))
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
        present = self._links.get(link.peer)
        if present is not None:
            if self._stays(present, link):
                await link.channel.close()
                return
            await self._drop(present)
        self._links[link.peer] = link
        _log.info("session with %s opened (%s, %s)", link.peer[:8], link.direction, link.address)
        began = time.monotonic()
        try:
            await self._run(link.channel)
        finally:
            if self._links.get(link.peer) is link:
                del self._links[link.peer]
            _log.info("session with %s ended", link.peer[:8])
            await link.channel.close()
            # One that was refused at once would be refused again at once.
            if time.monotonic() - began > _HELD_S:
                self._wake_routes_to(link.peer)

    def _stays(self, present: Link, fresh: Link) -> bool:
        """Whether the open session stays: a peer that calls again has lost it, though."""
        if present.direction is fresh.direction:
            return fresh.direction is Direction.OUT
        return prefers(self._me, fresh.peer, present.direction)

    def _wake_routes_to(self, peer: NodeId) -> None:
        for address, known in self._peer_at.items():
            route = self._routes.get(address)
            if known == peer and route is not None:
                route.failures = 0
                route.wake.set()

    async def _part(self, link: Link) -> None:
        """Drop a peer that is a member no more, once the session had a moment to tell it so."""
        await asyncio.sleep(_PARTING_S)
        await self._drop(link)

    async def _drop(self, link: Link) -> None:
        if self._links.get(link.peer) is link:
            del self._links[link.peer]
        await link.channel.close()
