"""The warm links that calls travel on: one to each member that answers, and relays to the rest."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from covey.errors import CoveyError, RefusedError, UnreachableError
from covey.remote.call_link import CallLink, Frames, LinkStream
from covey.remote.calls import CallHeader, CallStream, IncomingCall, Route
from covey.remote.mux import MAX_STREAMS
from covey.remote.relay import (
    ask_for_relay,
    introduce,
    read_introduction,
    read_relay_request,
    refuse,
    splice,
)
from covey.remote.streamed_calls import OutgoingCall, ServedCall
from covey.remote.tls_frames import TlsFrames
from covey.store.api import NodeId
from covey.store.ports import Channel

_DIRECT_WAIT_S = 1.0
_RELAY_WAIT_S = 10.0
_IDLE_S = 120.0
_HEADER_S = 10.0
_MOST_RELAYED = 8
"""Relayed connections from one member to another, at the one between and at the target."""

_MOST_LENT = MAX_STREAMS // 2
"""Relayed connections to one target: the rest of its streams is for calls of this node."""

_log = logging.getLogger("covey.remote")


class Purpose(IntEnum):
    """What a stream is for: a call, a relay that is asked for, or one that is brought."""

    CALL = 1
    RELAY = 2
    RELAYED = 3


ServeCall = Callable[[CallHeader, IncomingCall, NodeId, str], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class CallTrust:
    """What links need to know of the fleet; `certified` raises `CoveyError` for a stranger."""

    me: NodeId
    is_member: Callable[[NodeId], bool]
    certified: Callable[[bytes], NodeId]
    client_tls: Callable[[], ssl.SSLContext]
    server_tls: Callable[[], ssl.SSLContext]


@dataclass(frozen=True, slots=True)
class LinkHealth:
    """How a member is reached for calls: `via` is the member between, of a relayed link."""

    route: Route
    via: NodeId | None
    rtt_ms: float | None
    since: float
    streams: int


class CallLinks:
    """Implements `PeerCalls`; `serve` runs the calls of others, `dial_now` hurries the dialling."""

    def __init__(self, trust: CallTrust, serve: ServeCall, dial_now: Callable[[], None]) -> None:
        self._trust = trust
        self._serve = serve
        self._dial_now = dial_now
        self._direct: dict[NodeId, CallLink] = {}
        self._relayed: dict[NodeId, CallLink] = {}
        self._running: dict[CallLink, asyncio.Task[None]] = {}
        self._attempts: dict[NodeId, asyncio.Task[CallLink]] = {}
        self._lent: Counter[tuple[NodeId, NodeId]] = Counter()
        self._changed = asyncio.Event()

    async def run(self, channel: Channel) -> None:
        """Carry calls on a channel to a member until it ends: the session of `Links`."""
        peer = channel.peer

        async def accept(purpose: int, stream: LinkStream) -> None:
            await self._accept(purpose, stream, peer)

        link = CallLink(channel, me=self._trust.me, peer=peer, accept=accept)
        self._direct[peer] = link
        self._announce_change()
        try:
            await link.run()
        finally:
            if self._direct.get(peer) is link:
                del self._direct[peer]

    async def open(self, node_id: NodeId, call: CallHeader) -> CallStream:
        """Start a call, directly or through another member; raises `UnreachableError`."""
        link = await self._link_to(node_id)
        route = Route.DIRECT if link.via is None else Route.RELAYED
        outgoing = OutgoingCall(link.open(Purpose.CALL), route)
        await outgoing.begin(call)
        return outgoing

    def health(self, node_id: NodeId) -> LinkHealth | None:
        """Return how a member is reached, or None while it is not."""
        link = self._present(node_id)
        if link is None:
            return None
        route = Route.DIRECT if link.via is None else Route.RELAYED
        via = None if link.via is None else NodeId(link.via)
        return LinkHealth(route, via, link.rtt_ms, link.since, link.mux.streams)

    async def cut_strangers(self) -> None:
        """End at once every link to who is a member no more."""
        for link in [*self._direct.values(), *self._running]:
            if not self._trust.is_member(NodeId(link.peer)):
                await link.close()

    async def close(self) -> None:
        """End all links."""
        for attempt in self._attempts.values():
            attempt.cancel()
        for link in [*self._direct.values(), *self._running]:
            await link.close()
        for task in list(self._running.values()):
            task.cancel()
        await asyncio.gather(*self._running.values(), return_exceptions=True)

    def _present(self, node_id: NodeId) -> CallLink | None:
        for links in (self._direct, self._relayed):
            link = links.get(node_id)
            if link is not None and link.is_open:
                return link
        return None

    async def _link_to(self, node_id: NodeId) -> CallLink:
        if not self._trust.is_member(node_id):
            raise RefusedError(f"Node {node_id[:8]} is not a member of this fleet.")
        link = self._present(node_id)
        if link is not None:
            return link
        self._dial_now()
        attempt = self._attempts.get(node_id)
        if attempt is None:
            # One for all who want it: in turn, the last would wait as often as there are callers.
            attempt = asyncio.create_task(self._attempt(node_id))
            self._attempts[node_id] = attempt
            attempt.add_done_callback(lambda task: self._attempted(node_id, task))
        try:
            return await asyncio.shield(attempt)
        except asyncio.CancelledError:
            if not attempt.cancelled():
                raise
            raise UnreachableError("This node has just ended its connections.") from None

    async def _attempt(self, node_id: NodeId) -> CallLink:
        relaying = asyncio.ensure_future(self._relay_to(node_id))
        try:
            return await self._first_link(node_id, relaying)
        finally:
            relaying.cancel()
            await asyncio.gather(relaying, return_exceptions=True)

    def _attempted(self, node_id: NodeId, attempt: asyncio.Task[CallLink]) -> None:
        del self._attempts[node_id]
        if not attempt.cancelled():
            # Those who waited may all have left: then nobody else looks at what went wrong.
            attempt.exception()

    async def _first_link(
        self, node_id: NodeId, relaying: asyncio.Future[CallLink | None]
    ) -> CallLink:
        """Return the direct link if it comes soon, else the relayed one."""
        until = time.monotonic() + _DIRECT_WAIT_S
        while True:
            link = self._present(node_id)
            if link is not None:
                return link
            left = until - time.monotonic()
            if relaying.done() and left <= 0:
                raise UnreachableError(
                    "This host does not answer, neither directly nor through another member.",
                    hint="Check that it is up and its agent runs: covey peers",
                )
            self._changed.clear()
            changing = asyncio.ensure_future(self._changed.wait())
            waiting: set[asyncio.Future[Any]] = {changing}
            if not relaying.done():
                waiting.add(relaying)
            timeout = left if relaying.done() else None
            try:
                await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED, timeout=timeout)
            finally:
                changing.cancel()

    async def _relay_to(self, node_id: NodeId) -> CallLink | None:
        """Ask all who are linked directly at the same time; the first that leads there is used."""
        through = [link for link in self._direct.values() if link.is_open]
        asking = [asyncio.create_task(self._relay_through(link, node_id)) for link in through]
        try:
            async with asyncio.timeout(_RELAY_WAIT_S):
                for each in asyncio.as_completed(asking):
                    with contextlib.suppress(CoveyError):
                        return await each
        except TimeoutError:
            _log.info("no relay to %s answered in time", node_id[:8])
        finally:
            for task in asking:
                task.cancel()
            await asyncio.gather(*asking, return_exceptions=True)
        return None

    async def _relay_through(self, between: CallLink, node_id: NodeId) -> CallLink:
        stream = between.open(Purpose.RELAY)
        try:
            await ask_for_relay(stream, node_id)
            frames = TlsFrames(stream, self._trust.client_tls(), server_side=False)
            self._prove(await frames.handshake(), node_id)
            return self._begin_relayed(frames, node_id, between.peer)
        except BaseException:
            stream.reset()
            raise

    def _begin_relayed(self, frames: Frames, peer: NodeId, via: str) -> CallLink:
        async def accept(purpose: int, stream: LinkStream) -> None:
            # No relay is asked for inside a relay: a chain would have no bound.
            if purpose != Purpose.CALL:
                raise RefusedError("A relayed connection carries calls alone.")
            await self._serve_call(stream, peer, f"mesh, through {via[:8]}")

        link = CallLink(
            frames, me=self._trust.me, peer=peer, accept=accept, via=via, idle_s=_IDLE_S
        )
        if not self._has_relayed(peer):
            self._relayed[peer] = link
        self._running[link] = asyncio.create_task(self._run_relayed(link, peer))
        self._announce_change()
        return link

    def _prove(self, certificate: bytes, meant: NodeId) -> None:
        """Raise `RefusedError` unless the certificate is that of the member that is meant."""
        if self._trust.certified(certificate) != meant or meant == self._trust.me:
            raise RefusedError("The relayed connection is to another node than the one meant.")

    def _has_relayed(self, peer: NodeId) -> bool:
        present = self._relayed.get(peer)
        return present is not None and present.is_open

    async def _run_relayed(self, link: CallLink, peer: NodeId) -> None:
        _log.info("calls with %s go through %s", peer[:8], (link.via or "")[:8])
        try:
            await link.run()
        finally:
            self._running.pop(link, None)
            if self._relayed.get(peer) is link:
                del self._relayed[peer]

    async def _accept(self, purpose: int, stream: LinkStream, peer: NodeId) -> None:
        match purpose:
            case Purpose.CALL:
                await self._serve_call(stream, peer, "mesh")
            case Purpose.RELAY:
                await self._relay_for(stream, peer)
            case Purpose.RELAYED:
                await self._accept_relayed(stream, peer)
            case _:
                stream.reset()

    async def _serve_call(self, stream: LinkStream, peer: NodeId, address: str) -> None:
        if not self._trust.is_member(peer):
            stream.reset()
            return
        call = ServedCall(stream)
        try:
            async with asyncio.timeout(_HEADER_S):
                header = await call.header()
        except (CoveyError, TimeoutError):
            stream.reset()
            return
        await self._serve(header, call, peer, address)

    async def _relay_for(self, stream: LinkStream, origin: NodeId) -> None:
        """Join a stream of `origin` to one to whom it means, if that one is linked directly."""
        try:
            target = await read_relay_request(stream)
            link = self._direct.get(target)
            if target in {origin, self._trust.me} or link is None or not link.is_open:
                raise UnreachableError(f"There is no connection to {target[:8]} here.")
            if not self._trust.is_member(target):
                raise RefusedError(f"Node {target[:8]} is not a member of this fleet.")
            self._check_lent(origin, target)
            onward = link.open(Purpose.RELAYED)
            await introduce(onward, origin)
        except CoveyError as error:
            refuse(stream, error)
            return
        self._lent[origin, target] += 1
        try:
            await splice(stream, onward)
        finally:
            self._lent[origin, target] -= 1
            self._lent += Counter()

    def _check_lent(self, origin: NodeId, target: NodeId) -> None:
        """Raise `UnreachableError` if one member would take what others need to reach another."""
        to_target = sum(count for (_, to), count in self._lent.items() if to == target)
        if self._lent[origin, target] >= _MOST_RELAYED or to_target >= _MOST_LENT:
            raise UnreachableError(f"Too many connections to {target[:8]} go through here.")

    async def _accept_relayed(self, stream: LinkStream, between: NodeId) -> None:
        """Be the far end of a relay: who asks proves itself by its certificate inside."""
        try:
            origin = await read_introduction(stream)
            frames = TlsFrames(stream, self._trust.server_tls(), server_side=True)
            async with asyncio.timeout(_RELAY_WAIT_S):
                self._prove(await frames.handshake(), origin)
            if sum(link.peer == origin for link in self._running) >= _MOST_RELAYED:
                raise RefusedError("There are too many relayed connections from there.")
        except (CoveyError, TimeoutError) as error:
            _log.warning("a connection relayed by %s was refused: %s", between[:8], error)
            stream.reset()
            return
        link = self._begin_relayed(frames, origin, between)
        task = self._running.get(link)
        if task is not None:
            await asyncio.shield(task)

    def _announce_change(self) -> None:
        self._changed.set()
