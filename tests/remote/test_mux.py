"""The multiplexer under any interleaving: order, credit, fairness, bounds, and its refusals."""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from covey.errors import UnreachableError
from covey.remote import mux
from covey.remote.mux import Ended, Mux, MuxError, Opened, Ponged, Received, WasReset

WINDOW = 1024
PAYLOAD = 256
WIDEST = 3 * WINDOW
ALL_WIDER = 4 * WINDOW


def frame(kind: int, stream: int, payload: bytes = b"") -> bytes:
    return struct.pack(">BII", kind, stream, len(payload)) + payload


def small(*, initiator: bool, streams: int = 8) -> Mux:
    return Mux(initiator=initiator, window=WINDOW, max_payload=PAYLOAD, max_streams=streams)


@pytest.fixture(autouse=True, scope="module")
def narrow() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mux, "WIDEST_BYTES", WIDEST)
        patch.setattr(mux, "_ALL_WIDER_BYTES", ALL_WIDER)
        yield


class Side:
    """A mux with what was sent on it and what came out of it."""

    def __init__(self, *, initiator: bool) -> None:
        self.mux = small(initiator=initiator)
        self.wire: deque[bytes] = deque()
        self.unread: dict[int, deque[Received]] = {}
        self.sent: dict[int, list[bytes]] = {}
        self.got: dict[int, list[bytes]] = {}
        self.open: set[int] = set()
        self.half_closed: set[int] = set()
        self.trailers: dict[int, bytes] = {}
        self.resets: set[int] = set()
        self.pieces: dict[int, bytes] = {}

    def begin(self, stream: int) -> None:
        self.open.add(stream)
        self.unread[stream] = deque()
        self.sent[stream] = []
        self.got[stream] = []
        self.pieces[stream] = b""

    def take_in(self, data: bytes) -> None:
        for event in self.mux.receive(data):
            match event:
                case Opened(stream, _):
                    self.begin(stream)
                case Received(stream):
                    self.unread[stream].append(event)
                case Ended(stream, trailer):
                    self.trailers[stream] = trailer
                case WasReset(stream):
                    self.resets.add(stream)
                    self.open.discard(stream)
                case Ponged():
                    pass

    def read_one(self, stream: int) -> None:
        event = self.unread[stream].popleft()
        self.mux.consumed(stream, event.cost, widen=not self.unread[stream])
        self.pieces[stream] += event.data
        if event.last:
            self.got[stream].append(self.pieces[stream])
            self.pieces[stream] = b""


class Conversation(RuleBasedStateMachine):
    """Two muxes, and a connection that keeps order and cuts bytes anywhere."""

    def __init__(self) -> None:
        super().__init__()
        self.sides = (Side(initiator=True), Side(initiator=False))

    def pick(self, data: st.DataObject, side: Side, of: set[int]) -> int:
        return data.draw(st.sampled_from(sorted(of)))

    @rule(at=st.sampled_from([0, 1]))
    def begin(self, at: int) -> None:
        side = self.sides[at]
        try:
            side.begin(side.mux.open(7))
        except UnreachableError:
            assert side.mux.streams >= 8

    @rule(at=st.sampled_from([0, 1]), data=st.data(), message=st.binary(max_size=3 * WINDOW))
    def send(self, at: int, data: st.DataObject, message: bytes) -> None:
        side = self.sides[at]
        streams = side.open - side.half_closed
        if streams:
            stream = self.pick(data, side, streams)
            if side.mux.is_open(stream):
                side.mux.send(stream, message)
                side.sent[stream].append(message)

    @rule(at=st.sampled_from([0, 1]), data=st.data())
    def end(self, at: int, data: st.DataObject) -> None:
        side = self.sides[at]
        if side.open - side.half_closed:
            stream = self.pick(data, side, side.open - side.half_closed)
            side.mux.end(stream, b"bye")
            side.half_closed.add(stream)

    @rule(at=st.sampled_from([0, 1]), data=st.data())
    def reset(self, at: int, data: st.DataObject) -> None:
        side = self.sides[at]
        if side.open:
            stream = self.pick(data, side, side.open)
            side.mux.reset(stream)
            side.open.discard(stream)
            side.resets.add(stream)

    @rule(at=st.sampled_from([0, 1]), nonce=st.integers(0, 2**64 - 1))
    def ping(self, at: int, nonce: int) -> None:
        self.sides[at].mux.ping(nonce)

    @rule(at=st.sampled_from([0, 1]), limit=st.integers(1, 4096))
    def emit(self, at: int, limit: int) -> None:
        side = self.sides[at]
        chunk = side.mux.take(limit)
        if chunk:
            side.wire.append(chunk)

    @rule(at=st.sampled_from([0, 1]), cut=st.integers(1, 300))
    def deliver(self, at: int, cut: int) -> None:
        wire = self.sides[at].wire
        if wire:
            chunk = wire.popleft()
            if len(chunk) > cut:
                wire.appendleft(chunk[cut:])
            self.sides[1 - at].take_in(chunk[:cut])

    @rule(at=st.sampled_from([0, 1]), data=st.data())
    def read(self, at: int, data: st.DataObject) -> None:
        side = self.sides[at]
        readable = {stream for stream, waiting in side.unread.items() if waiting}
        if readable:
            side.read_one(self.pick(data, side, readable))

    def move(self, at: int) -> bool:
        """Send, deliver and read all that one side can; returns whether there was anything."""
        side = self.sides[at]
        side.wire.append(side.mux.take(512))
        moved = any(side.wire)
        while side.wire:
            self.sides[1 - at].take_in(side.wire.popleft())
        for stream, waiting in side.unread.items():
            while waiting:
                side.read_one(stream)
                moved = True
        return moved

    @invariant()
    def unread_is_bounded(self) -> None:
        for side in self.sides:
            held = [sum(event.cost for event in waiting) for waiting in side.unread.values()]
            assert max(held, default=0) <= WIDEST
            assert sum(held) <= 16 * WINDOW + ALL_WIDER

    @precondition(lambda self: any(side.sent for side in self.sides))
    @rule()
    def drain(self) -> None:
        """Once everybody reads, everything arrives, in order and whole: there is no deadlock."""
        rounds = 0
        while any([self.move(0), self.move(1)]) or any(side.mux.pending for side in self.sides):
            rounds += 1
            assert rounds < 100_000, "it never came to rest"
        gone = self.sides[0].resets | self.sides[1].resets
        for at, side in enumerate(self.sides):
            other = self.sides[1 - at]
            for stream, sent in side.sent.items():
                if stream in gone:
                    assert sent[: len(other.got[stream])] == other.got.get(stream, [])
                else:
                    assert other.got[stream] == sent
                    assert (stream in other.trailers) == (stream in side.half_closed)


TestConversation = Conversation.TestCase
TestConversation.settings = settings(max_examples=60, stateful_step_count=60, deadline=None)


@given(sizes=st.lists(st.integers(0, 5000), min_size=2, max_size=6))
@settings(max_examples=40, deadline=None)
def test_streams_take_turns(sizes: list[int]):
    """Of streams with work and credit, none sends a second piece before each sent one."""
    side = small(initiator=True)
    streams = [side.open(1) for _ in sizes]
    for stream, size in zip(streams, sizes, strict=True):
        side.send(stream, bytes(size))
    other = small(initiator=False)
    first = [event for event in other.receive(side.take(1)) if isinstance(event, Opened)]
    assert len(first) == len(sizes)
    order = []
    while chunk := side.take(1):
        order += [event.stream for event in other.receive(chunk) if isinstance(event, Received)]
    assert order[: len(sizes)] == streams


def test_a_reader_that_stops_holds_back_its_own_stream_alone():
    one, two = small(initiator=True), small(initiator=False)
    slow, fast = one.open(1), one.open(1)
    one.send(slow, bytes(100_000))
    got = 0
    for _ in range(200):
        one.send(fast, bytes(900))
        while chunk := one.take(4096):
            for event in two.receive(chunk):
                if isinstance(event, Received) and event.stream == fast:
                    two.consumed(fast, event.cost)
                    got += len(event.data)
            one.receive(two.take(4096))
    assert got == 200 * 900
    assert one.backlog(slow) > 98_000
    assert one.backlog(fast) == 0


def test_a_reader_that_keeps_up_is_sent_more_ahead():
    one, two = small(initiator=True), small(initiator=False)
    stream = one.open(1)
    one.send(stream, bytes(100_000))
    ahead = []
    for _ in range(60):
        arrived = [e for e in two.receive(one.take(10**6)) if isinstance(e, Received)]
        ahead.append(sum(event.cost for event in arrived))
        for event in arrived:
            two.consumed(stream, event.cost, widen=True)
        one.receive(two.take(10**6))
    assert ahead[0] <= WINDOW
    assert 2 * WINDOW < max(ahead) <= WIDEST


def test_a_wide_window_is_answered_as_often_as_a_narrow_one():
    """On a slow line credit is the sign of life, as pings wait behind what is under way."""
    one, two = small(initiator=True), small(initiator=False)
    stream = one.open(1)
    one.send(stream, bytes(1_000_000))
    unanswered = 0
    for _ in range(400):
        for event in two.receive(one.take(1)):
            if isinstance(event, Received):
                two.consumed(stream, event.cost, widen=True)
                unanswered += event.cost
        answer = two.take(10**6)
        one.receive(answer)
        unanswered = 0 if answer else unanswered
        assert unanswered <= WINDOW // 2


def test_a_ping_is_answered_with_its_nonce():
    one, two = small(initiator=True), small(initiator=False)
    one.ping(2**64 - 1)
    assert two.receive(one.take(100)) == []
    assert one.receive(two.take(100)) == [Ponged(2**64 - 1)]


def test_what_is_under_way_to_a_reset_stream_is_dropped():
    one, two = small(initiator=True), small(initiator=False)
    stream = one.open(1)
    two.receive(one.take(100))
    one.send(stream, b"late")
    late = one.take(100)
    two.reset(stream, b"why")
    assert one.receive(two.take(100)) == [WasReset(stream, b"why")]
    assert two.receive(late) == []
    one.send(stream, b"dropped")
    assert not one.pending
    assert one.streams == two.streams == 0


def test_one_stream_too_many_is_refused_and_harms_no_other():
    one = Mux(initiator=True, max_streams=9)
    two = small(initiator=False, streams=2)
    streams = [one.open(1) for _ in range(3)]
    assert [event.stream for event in two.receive(one.take(1000))] == streams[:2]
    assert one.receive(two.take(1000)) == [WasReset(streams[2], b"")]
    for _ in range(7):
        one.open(1)
    with pytest.raises(UnreachableError):
        one.open(1)


@pytest.mark.parametrize(
    "sent",
    [
        frame(99, 1),
        frame(1, 2, b"\1"),
        frame(1, 1, b""),
        frame(1, 1, b"\1") + frame(1, 1, b"\1"),
        frame(2, 1, b"data"),
        frame(2, 0, b"data"),
        frame(4, 2, b"\0\0\0\1"),
        frame(1, 1, b"\1") + frame(4, 1, b"\1"),
        frame(1, 1, b"\1") + frame(4, 1, b"\xff\xff\xff\xff"),
        frame(1, 1, b"\1") + frame(2, 1, bytes(PAYLOAD)) * 5,
        frame(1, 1, b"\1") + frame(2, 1, b"") * 17,
        frame(1, 1, b"\1") + frame(3, 1, b""),
        frame(1, 1, b"\1") + frame(5, 1) + frame(5, 1),
        frame(1, 1, b"\1") + frame(5, 1) + frame(2, 1, b"data"),
        frame(2, 1, bytes(PAYLOAD + 1)),
        struct.pack(">BII", 2, 1, 2**32 - 1),
        frame(7, 0, bytes(8)) * 5000,
    ],
)
def test_who_breaks_the_protocol_is_cut_off(sent: bytes):
    with pytest.raises(MuxError):
        small(initiator=False).receive(sent)


@given(noise=st.binary(max_size=600))
@settings(max_examples=200, deadline=None)
def test_noise_is_refused_or_waited_on_and_never_crashes(noise: bytes):
    side = small(initiator=False)
    try:
        side.receive(noise)
    except MuxError:
        return
    assert side.streams <= 8
