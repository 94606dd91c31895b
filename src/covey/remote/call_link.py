"""One connection to a member, and the streams on it: the multiplexer joined to a channel."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Protocol

from covey.errors import CoveyError, UnreachableError
from covey.fleet.waiting import wait_a_while
from covey.remote.calls import MAX_MESSAGE_BYTES
from covey.remote.mux import Ended, Event, Mux, MuxError, Opened, Ponged, Received, WasReset

_BATCH_BYTES = 128 * 1024
_BACKLOG_BYTES = 128 * 1024
_PING_BUSY_S = 3.0
_PING_IDLE_S = 30.0
_PATIENCE_S = 10.0
_FAR_MS = 2.0
MOST_ASSEMBLED_BYTES = 64 << 20
"""What all messages together that have come in part may take on one connection."""

_log = logging.getLogger("covey.remote")


class Frames(Protocol):
    """An ordered connection to one member; its methods raise `UnreachableError` at its end."""

    async def send(self, frame: bytes) -> None:
        """Send bytes, waiting while the peer does not read."""

    async def receive(self) -> bytes:
        """Return the next bytes."""

    async def close(self) -> None:
        """End the connection."""


class StreamResetError(UnreachableError):
    """The other side ended the stream at once; `reason` is what it said."""

    code = "stream_reset"

    def __init__(self, message: str, reason: bytes = b"") -> None:
        super().__init__(message)
        self.reason = reason


class LinkStream:
    """One stream: messages both ways, each side ending its own."""

    def __init__(self, link: CallLink, number: int) -> None:
        self._link = link
        self.number = number
        self.trailer = b""
        self._held: deque[Received] = deque()
        self._given = asyncio.Event()
        self._room = asyncio.Event()
        self._ended = False
        self._broken: UnreachableError | None = None
        self.closed = asyncio.Event()
        """Set when the stream was reset, by either side or with its link."""

    async def send(self, message: bytes) -> None:
        """Send one message; waits while much is queued. Raises `UnreachableError` at its end."""
        mux = self._link.mux
        while mux.backlog(self.number) > _BACKLOG_BYTES and self._broken is None:
            self._room.clear()
            await self._room.wait()
        if self._broken is not None:
            raise self._broken
        mux.send(self.number, message)
        self._link.wake()

    def end(self, trailer: bytes = b"") -> None:
        """Send no more; `trailer` follows what is queued."""
        self._link.mux.end(self.number, trailer)
        self._link.wake()

    async def receive(self) -> bytes | None:
        """Return the next message, or None at the end, when `trailer` is there.

        Raises `UnreachableError`, and `MuxError` for a message that is too long.
        """
        parts: list[bytes] = []
        size = taken = 0
        try:
            while True:
                piece = await self._next()
                if piece is None:
                    return None
                if piece.last and not parts:
                    return piece.data
                size += len(piece.data)
                if size > MAX_MESSAGE_BYTES or not self._link.has_room(piece.cost):
                    self.reset()
                    raise MuxError("The peer sent a message that is too long, or many at once.")
                parts.append(piece.data)
                taken += piece.cost
                self._link.assembled += piece.cost
                if piece.last:
                    return b"".join(parts)
        finally:
            self._link.assembled -= taken

    async def _next(self) -> Received | None:
        while not self._held:
            if self._ended:
                return None
            if self._broken is not None:
                raise self._broken
            self._given.clear()
            await self._given.wait()
        piece = self._held.popleft()
        self._link.consumed(self.number, piece.cost, keeps_up=not self._held)
        if self._link.mux.pending:
            self._link.wake()
        return piece

    def reset(self, reason: bytes = b"") -> None:
        """End the stream at once, both ways."""
        self._link.reset(self, reason)

    def take(self, event: Received | Ended) -> None:
        """Hold what arrived; for the link alone."""
        match event:
            case Received():
                self._held.append(event)
            case Ended(trailer=trailer):
                self._ended = True
                self.trailer = trailer
        self._given.set()

    def sent(self) -> None:
        """Let the sender go on; for the link alone."""
        self._room.set()

    def fail(self, error: UnreachableError) -> None:
        """Wake everybody who waits, in vain; what had arrived can be read. For the link alone."""
        if self._broken is None:
            self._broken = error
        self._given.set()
        self._room.set()
        self.closed.set()


Accept = Callable[[int, LinkStream], Awaitable[None]]


class CallLink:
    """The connection to `peer`; `accept` runs each stream that the peer begins, by its purpose.

    `via` is the member between, of a relayed connection; it ends after `idle_s` without streams.
    """

    def __init__(
        self,
        frames: Frames,
        *,
        me: str,
        peer: str,
        accept: Accept,
        via: str | None = None,
        idle_s: float = math.inf,
    ) -> None:
        self.mux = Mux(initiator=me < peer)
        self.peer = peer
        self.via = via
        self.since = time.time()
        self.used_at = time.monotonic()
        self.rtt_ms: float | None = None
        self.assembled = 0
        """Bytes of messages that have come in part."""
        self._idle_s = idle_s
        self._frames = frames
        self._accept = accept
        self._streams: dict[int, LinkStream] = {}
        self._running: set[asyncio.Task[None]] = set()
        self._wake = asyncio.Event()
        self._busy = asyncio.Event()
        self._unanswered_since: float | None = None
        self._lost: UnreachableError | None = None

    @property
    def is_open(self) -> bool:
        """Whether streams can be opened."""
        return self._lost is None

    @property
    def is_idle(self) -> bool:
        """Whether no stream is open."""
        return not self._streams

    def open(self, purpose: int) -> LinkStream:
        """Begin a stream; raises `UnreachableError` if the connection has ended."""
        if self._lost is not None:
            raise self._lost
        stream = LinkStream(self, self.mux.open(purpose))
        self._add(stream)
        self.wake()
        return stream

    async def run(self) -> None:
        """Carry the streams until the connection ends, and end it if the peer misbehaves."""
        tasks = [
            asyncio.create_task(self._read()),
            asyncio.create_task(self._write()),
            asyncio.create_task(self._beat()),
        ]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._fail_streams()
            for task in (*tasks, *self._running):
                task.cancel()
            ended = await asyncio.gather(*tasks, *self._running, return_exceptions=True)
            for problem in ended:
                if isinstance(problem, Exception) and not isinstance(problem, CoveyError):
                    _log.error("a link to %s broke", self.peer[:8], exc_info=problem)
            await self._frames.close()

    async def close(self) -> None:
        """End the connection: `run` returns, and each stream fails."""
        self._fail_streams()
        await self._frames.close()

    def has_room(self, size: int) -> bool:
        """Whether so many bytes more of unfinished messages may be held."""
        return self.assembled + size <= MOST_ASSEMBLED_BYTES

    def wake(self) -> None:
        """Have what is queued sent."""
        self._wake.set()

    def consumed(self, number: int, cost: int, *, keeps_up: bool) -> None:
        """Give credit for what a stream has read; one that waits for the line may have more."""
        self.mux.consumed(number, cost, widen=keeps_up and self._is_far)

    @property
    def _is_far(self) -> bool:
        return self.rtt_ms is not None and self.rtt_ms >= _FAR_MS

    def reset(self, stream: LinkStream, reason: bytes) -> None:
        """End a stream at once."""
        self.mux.reset(stream.number, reason)
        self.wake()
        self._streams.pop(stream.number, None)
        stream.fail(StreamResetError("The call was ended here."))

    async def _read(self) -> None:
        while True:
            data = await self._frames.receive()
            self._unanswered_since = None
            for event in self.mux.receive(data):
                self._take(event)
            if self.mux.pending:
                self.wake()

    async def _write(self) -> None:
        while True:
            self._wake.clear()
            while chunk := self.mux.take(_BATCH_BYTES):
                await self._frames.send(chunk)
                for stream in list(self._streams.values()):
                    stream.sent()
                    self._drop_if_over(stream)
            await self._wake.wait()

    async def _beat(self) -> None:
        """Ping often while there are streams, and end a connection whose other end is silent."""
        while True:
            self.mux.ping(time.monotonic_ns())
            self.wake()
            self._unanswered_since = self._unanswered_since or time.monotonic()
            await self._pause()
            if self._silent_s() > _PATIENCE_S:
                _log.info("nothing was heard of %s for %.0f s", self.peer[:8], _PATIENCE_S)
                return
            if self.is_idle and time.monotonic() - self.used_at > self._idle_s:
                return

    async def _pause(self) -> None:
        if not self._is_calm():
            await asyncio.sleep(_PING_BUSY_S)
        if self._is_calm():
            self._busy.clear()
            await wait_a_while(self._busy, _PING_IDLE_S)

    def _silent_s(self) -> float:
        since = self._unanswered_since
        return 0.0 if since is None else time.monotonic() - since

    def _is_calm(self) -> bool:
        return self.is_idle and self._unanswered_since is None

    def _take(self, event: Event) -> None:
        match event:
            case Opened(number, purpose):
                stream = LinkStream(self, number)
                self._add(stream)
                task = asyncio.create_task(self._serve(purpose, stream))
                self._running.add(task)
                task.add_done_callback(self._running.discard)
            case Received(number) | Ended(number):
                found = self._streams.get(number)
                if found is not None:
                    found.take(event)
                if found is not None and isinstance(event, Ended):
                    self._drop_if_over(found)
            case WasReset(number, reason):
                gone = self._streams.pop(number, None)
                if gone is not None:
                    gone.fail(StreamResetError("The other side ended the call.", reason))
            case Ponged(nonce):
                self.rtt_ms = (time.monotonic_ns() - nonce) / 1_000_000

    async def _serve(self, purpose: int, stream: LinkStream) -> None:
        try:
            await self._accept(purpose, stream)
        except CoveyError as error:
            _log.info("a stream of %s ended: %s", self.peer[:8], error.message)
            stream.reset()
        except Exception:  # noqa: BLE001 - logged; the other streams go on
            _log.exception("a stream of %s failed", self.peer[:8])
            stream.reset()

    def _add(self, stream: LinkStream) -> None:
        self._streams[stream.number] = stream
        self.used_at = time.monotonic()
        self._busy.set()

    def _drop_if_over(self, stream: LinkStream) -> None:
        """Forget a stream that both sides have ended; who holds it may read what is left."""
        if not self.mux.is_open(stream.number):
            self._streams.pop(stream.number, None)
            self.used_at = time.monotonic()

    def _fail_streams(self) -> None:
        if self._lost is None:
            self._lost = UnreachableError(
                "The connection to the other node broke off.",
                hint="Try again; covey peers shows the connections.",
            )
        for stream in list(self._streams.values()):
            stream.fail(self._lost)
        self._streams.clear()
