"""Many streams over one connection: a pure state machine, bytes in, events and bytes out.

A stream carries messages both ways. Each direction has a window: the receiver gives credit back as
its messages are consumed, so that a slow reader holds its sender back and nobody else. Frames are
`kind (1) · stream (4) · length (4) · payload`, and need not be aligned with the pieces that arrive.
"""

from __future__ import annotations

import struct
from collections import deque
from dataclasses import dataclass, field
from enum import IntEnum

from covey.errors import UnreachableError

WINDOW_BYTES = 256 * 1024
"""What one stream may have under way in one direction, at first."""

WIDEST_BYTES = 2 * 1024 * 1024
"""What one stream may have under way once its reader has shown that it keeps up."""

_ALL_WIDER_BYTES = 16 * 1024 * 1024

MAX_PAYLOAD = 64 * 1024
MAX_STREAMS = 256
"""Open streams that either side may have begun."""

_HEAD = struct.Struct(">BII")
_NUMBER = struct.Struct(">I")
_NONCE = struct.Struct(">Q")
_COST = 64
_SMALL_PART = 4096
_MAX_CONTROL = 4096
_LAST_STREAM = 2**31


class FrameKind(IntEnum):
    """What a frame does; `PART` is data whose message goes on in the next one."""

    OPEN = 1
    DATA = 2
    PART = 3
    CREDIT = 4
    END = 5
    RESET = 6
    PING = 7
    PONG = 8


class MuxError(UnreachableError):
    """The other side breaks the protocol: the connection must be closed."""

    code = "protocol"


@dataclass(frozen=True, slots=True)
class Opened:
    """The other side began a stream; `purpose` says what for."""

    stream: int
    purpose: int


@dataclass(frozen=True, slots=True)
class Received:
    """A piece of a message; `last` ends the message. `cost` is for `Mux.consumed`."""

    stream: int
    data: bytes
    last: bool

    @property
    def cost(self) -> int:
        """What the piece takes of the window."""
        return len(self.data) + _COST


@dataclass(frozen=True, slots=True)
class Ended:
    """The other side sends no more on the stream; `trailer` is its last word."""

    stream: int
    trailer: bytes


@dataclass(frozen=True, slots=True)
class WasReset:
    """The other side ended the stream at once, both ways."""

    stream: int
    reason: bytes


@dataclass(frozen=True, slots=True)
class Ponged:
    """The other side answered a ping."""

    nonce: int


Event = Opened | Received | Ended | WasReset | Ponged


@dataclass(slots=True)
class _Stream:
    window: int
    credit: int
    waiting: deque[memoryview] = field(default_factory=deque)
    backlog: int = 0
    trailer: bytes | None = None
    scheduled: bool = False
    end_sent: bool = False
    end_received: bool = False
    received: int = 0
    owed: int = 0


class Mux:
    """One side of a connection; `initiator` is true on exactly one of the two."""

    def __init__(
        self,
        *,
        initiator: bool,
        window: int = WINDOW_BYTES,
        max_payload: int = MAX_PAYLOAD,
        max_streams: int = MAX_STREAMS,
    ) -> None:
        self._window = window
        self._max_payload = max_payload
        self._max_streams = max_streams
        self._small = min(_SMALL_PART, window // 4)
        self._next = 1 if initiator else 2
        self._own = self._next % 2
        self._highest = 0
        self._theirs = 0
        self._streams: dict[int, _Stream] = {}
        self._turns: deque[int] = deque()
        self._control: deque[bytes] = deque()
        self._partial = b""
        self._widened = 0

    @property
    def streams(self) -> int:
        """How many streams are open."""
        return len(self._streams)

    @property
    def pending(self) -> bool:
        """Whether `take` has something to send now."""
        return bool(self._control or self._turns)

    def open(self, purpose: int) -> int:
        """Begin a stream and return its number; raises `UnreachableError` for too many."""
        if len(self._streams) - self._theirs >= self._max_streams or self._next > _LAST_STREAM:
            raise UnreachableError(
                "Too many calls to this member are under way.", hint="Try again in a moment."
            )
        number, self._next = self._next, self._next + 2
        self._streams[number] = _Stream(self._window, self._window)
        self._control.append(_frame(FrameKind.OPEN, number, bytes([purpose])))
        return number

    def is_open(self, stream: int) -> bool:
        """Whether anything may happen on the stream still."""
        return stream in self._streams

    def send(self, stream: int, message: bytes) -> None:
        """Queue one message; on a stream that is closed, or ended by this side, it is dropped."""
        found = self._streams.get(stream)
        if found is None or found.trailer is not None:
            return
        found.waiting.append(memoryview(message))
        found.backlog += len(message) + _COST
        self._schedule(stream, found)

    def end(self, stream: int, trailer: bytes = b"") -> None:
        """Send no more after what is queued; `trailer` must fit into one frame."""
        found = self._streams.get(stream)
        if found is None or found.trailer is not None:
            return
        found.trailer = trailer[: self._max_payload]
        self._schedule(stream, found)

    def reset(self, stream: int, reason: bytes = b"") -> None:
        """End the stream at once, both ways; what is queued is dropped."""
        if self._forget(stream):
            self._control.append(_frame(FrameKind.RESET, stream, reason[: self._max_payload]))

    def backlog(self, stream: int) -> int:
        """Return the bytes that are queued and not taken yet."""
        found = self._streams.get(stream)
        return 0 if found is None else found.backlog

    def consumed(self, stream: int, cost: int, *, widen: bool = False) -> None:
        """Give the other side credit for what was read; `widen` lets it send further ahead."""
        found = self._streams.get(stream)
        if found is None:
            return
        found.received -= cost
        found.owed += cost
        # Half a first window at a time: few frames, a sender without credit is always owed this
        # much, and on a slow line the sender hears of us long before a wide window is through.
        due = found.owed >= self._window // 2
        if due and widen:
            self._widen(found)
        if due and not found.end_received:
            self._control.append(_frame(FrameKind.CREDIT, stream, _NUMBER.pack(found.owed)))
            found.owed = 0

    def _widen(self, stream: _Stream) -> None:
        extra = min(stream.window, WIDEST_BYTES - stream.window)
        if extra > 0 and self._widened + extra <= _ALL_WIDER_BYTES:
            self._widened += extra
            stream.window += extra
            stream.owed += extra

    def ping(self, nonce: int) -> None:
        """Ask for a sign of life."""
        self._control.append(_frame(FrameKind.PING, 0, _NONCE.pack(nonce)))

    def take(self, limit: int) -> bytes:
        """Return what to send next, about `limit` bytes: one piece of each stream in turn."""
        parts: list[bytes | memoryview] = []
        size = 0
        while self._control:
            parts.append(self._control.popleft())
            size += len(parts[-1])
        while self._turns and size < limit:
            number = self._turns.popleft()
            stream = self._streams.get(number)
            if stream is None:
                continue
            stream.scheduled = False
            size += self._next_piece(number, stream, parts)
            if number in self._streams:
                self._schedule(number, stream)
        return b"".join(parts)

    def receive(self, data: bytes) -> list[Event]:
        """Take what arrived; raises `MuxError` if it breaks the protocol."""
        if self._partial:
            data = self._partial + data
        events: list[Event] = []
        at, end = 0, len(data)
        while end - at >= _HEAD.size:
            kind, stream, length = _HEAD.unpack_from(data, at)
            if length > self._max_payload:
                raise MuxError("The peer sent a frame that is too long.")
            stop = at + _HEAD.size + length
            if stop > end:
                break
            self._frame(kind, stream, data[at + _HEAD.size : stop], events)
            at = stop
            if len(self._control) > _MAX_CONTROL:
                raise MuxError("The peer asks for more answers than it reads.")
        self._partial = data[at:]
        return events

    def _frame(self, kind: int, stream: int, payload: bytes, events: list[Event]) -> None:
        match kind:
            case FrameKind.OPEN:
                self._opened(stream, payload, events)
            case FrameKind.DATA | FrameKind.PART:
                self._received(stream, payload, events, last=kind == FrameKind.DATA)
            case FrameKind.CREDIT:
                self._credited(stream, payload)
            case FrameKind.END:
                self._ended(stream, payload, events)
            case FrameKind.RESET:
                self._known(stream)
                if self._forget(stream):
                    events.append(WasReset(stream, payload))
            case FrameKind.PING:
                self._control.append(_frame(FrameKind.PONG, 0, payload))
            case FrameKind.PONG if len(payload) == _NONCE.size:
                events.append(Ponged(_NONCE.unpack(payload)[0]))
            case _:
                raise MuxError("The peer sent a frame that is not known here.")

    def _opened(self, stream: int, payload: bytes, events: list[Event]) -> None:
        if stream % 2 == self._own or stream <= self._highest or len(payload) != 1:
            raise MuxError("The peer began a stream that cannot be.")
        self._highest = stream
        if self._theirs >= self._max_streams:
            self._control.append(_frame(FrameKind.RESET, stream, b""))
            return
        self._theirs += 1
        self._streams[stream] = _Stream(self._window, self._window)
        events.append(Opened(stream, payload[0]))

    def _received(self, stream: int, payload: bytes, events: list[Event], *, last: bool) -> None:
        found = self._known(stream)
        if not (payload or last):
            raise MuxError("The peer sent a piece of a message with nothing in it.")
        if found is None:
            return
        event = Received(stream, payload, last)
        found.received += event.cost
        if found.end_received or found.received + found.owed > found.window:
            raise MuxError("The peer sent more than its credit.")
        events.append(event)

    def _credited(self, stream: int, payload: bytes) -> None:
        found = self._known(stream)
        if len(payload) != _NUMBER.size:
            raise MuxError("The peer sent a credit that is none.")
        if found is None:
            return
        found.credit += _NUMBER.unpack(payload)[0]
        if found.credit > _LAST_STREAM:
            raise MuxError("The peer sent more credit than there can be.")
        self._schedule(stream, found)

    def _ended(self, stream: int, payload: bytes, events: list[Event]) -> None:
        found = self._known(stream)
        if found is None:
            return
        if found.end_received:
            raise MuxError("The peer ended a stream twice.")
        found.end_received = True
        events.append(Ended(stream, payload))
        if found.end_sent:
            self._forget(stream)

    def _known(self, stream: int) -> _Stream | None:
        """Return an open stream, or None for one that was; raises `MuxError` for one that never."""
        mine = stream % 2 == self._own
        if not 0 < stream <= (self._next - 2 if mine else self._highest):
            raise MuxError("The peer sent a frame for a stream that never was.")
        return self._streams.get(stream)

    def _forget(self, stream: int) -> bool:
        found = self._streams.pop(stream, None)
        if found is not None:
            self._widened -= found.window - self._window
        if found is not None and stream % 2 != self._own:
            self._theirs -= 1
        return found is not None

    def _schedule(self, number: int, stream: _Stream) -> None:
        if not stream.scheduled and self._sendable(stream):
            stream.scheduled = True
            self._turns.append(number)

    def _sendable(self, stream: _Stream) -> bool:
        if not stream.waiting:
            return stream.trailer is not None and not stream.end_sent
        room = stream.credit - _COST
        return room >= min(len(stream.waiting[0]), self._small)

    def _next_piece(self, number: int, stream: _Stream, parts: list[bytes | memoryview]) -> int:
        if not stream.waiting:
            parts.append(_frame(FrameKind.END, number, stream.trailer or b""))
            stream.end_sent = True
            if stream.end_received:
                self._forget(number)
            return len(parts[-1])
        message = stream.waiting[0]
        size = min(len(message), self._max_payload, stream.credit - _COST)
        last = size == len(message)
        if last:
            stream.waiting.popleft()
        else:
            stream.waiting[0] = message[size:]
        stream.credit -= size + _COST
        stream.backlog -= size + (_COST if last else 0)
        kind = FrameKind.DATA if last else FrameKind.PART
        parts += [_HEAD.pack(kind, number, size), message[:size]]
        return size + _HEAD.size


def _frame(kind: FrameKind, stream: int, payload: bytes) -> bytes:
    return _HEAD.pack(kind, stream, len(payload)) + payload
