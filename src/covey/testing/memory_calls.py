"""Calls between nodes in memory: a pair of call ends, and peers that serve without a network."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from covey.errors import UnreachableError
from covey.remote.call_errors import CallCancelledError, decode_error
from covey.remote.calls import CallHeader, CallStream, IncomingCall, Route
from covey.store.api import NodeId

_QUEUED = 8


class MemoryCall:
    """Both ends of one call; each direction holds a few messages, then its sender waits."""

    def __init__(self, route: Route = Route.DIRECT) -> None:
        self.caller = _CallerEnd(self, route)
        self.server = _ServerEnd(self)
        self.input: asyncio.Queue[bytes | None] = asyncio.Queue(_QUEUED)
        self.output: asyncio.Queue[bytes | None] = asyncio.Queue(_QUEUED)
        self.cancelled = asyncio.Event()
        self.finished = asyncio.Event()
        self.error = b""

    async def put(
        self, queue: asyncio.Queue[bytes | None], item: bytes | None, until: asyncio.Event
    ) -> bool:
        """Queue a message unless `until` comes first; returns whether it was queued."""
        return await self._first(queue.put(item), until)

    async def _first(self, work: Awaitable[object], until: asyncio.Event) -> bool:
        working = asyncio.ensure_future(work)
        stopping = asyncio.ensure_future(until.wait())
        try:
            await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
            return working.done()
        finally:
            working.cancel()
            stopping.cancel()


class _CallerEnd:
    """Implements `CallStream`."""

    def __init__(self, call: MemoryCall, route: Route) -> None:
        self._call = call
        self.route = route
        self._ended = False

    async def send(self, item: bytes) -> None:
        """Send one input item."""
        if not self._call.finished.is_set():
            await self._call.put(self._call.input, item, self._call.finished)

    async def end_input(self) -> None:
        """Say that there is no more input."""
        await self._call.put(self._call.input, None, self._call.finished)

    async def receive(self) -> bytes | None:
        """Return the next item, or None at the good end."""
        item = None if self._ended else await self._call.output.get()
        if item is not None:
            return item
        self._ended = True
        if self._call.error:
            raise decode_error(self._call.error)
        return None

    async def cancel(self) -> None:
        """Give the call up."""
        self._call.cancelled.set()


class _ServerEnd:
    """Implements `IncomingCall`."""

    def __init__(self, call: MemoryCall) -> None:
        self._call = call
        self._input_ended = False

    async def receive(self) -> bytes | None:
        """Return the next message, or None when there is no more input."""
        if self._input_ended:
            return None
        getting = asyncio.ensure_future(self._call.input.get())
        stopping = asyncio.ensure_future(self._call.cancelled.wait())
        try:
            await asyncio.wait({getting, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if not getting.done():
                raise CallCancelledError("The caller gave the call up.")
            item = getting.result()
        finally:
            getting.cancel()
            stopping.cancel()
        self._input_ended = item is None
        return item

    async def send(self, item: bytes) -> None:
        """Send one item."""
        if self._call.cancelled.is_set() or not await self._call.put(
            self._call.output, item, self._call.cancelled
        ):
            raise CallCancelledError("The caller gave the call up.")

    async def finish(self, error: bytes = b"") -> None:
        """End the call: well, or with an encoded error."""
        if self._call.finished.is_set():
            return
        self._call.finished.set()
        self._call.error = error
        await self._call.put(self._call.output, None, self._call.cancelled)

    async def cancelled(self) -> None:
        """Return once the caller gave the call up."""
        await self._call.cancelled.wait()


def call_pair(route: Route = Route.DIRECT) -> tuple[CallStream, IncomingCall]:
    """Return the two ends of one call."""
    call = MemoryCall(route)
    return call.caller, call.server


class MemoryPeers:
    """Implements `PeerCalls`; `servers` runs the calls of each member that can be reached."""

    def __init__(
        self, servers: Mapping[NodeId, Callable[[CallHeader, IncomingCall], Awaitable[None]]]
    ) -> None:
        self._servers = servers
        self._running: set[asyncio.Future[None]] = set()

    async def open(self, node_id: NodeId, call: CallHeader) -> CallStream:
        """Start a call."""
        serve = self._servers.get(node_id)
        if serve is None:
            raise UnreachableError(f"Member {node_id[:8]} cannot be reached.")
        caller, server = call_pair()
        running = asyncio.ensure_future(serve(call, server))
        self._running.add(running)
        running.add_done_callback(self._running.discard)
        return caller
