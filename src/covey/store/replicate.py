"""One session with a peer as a state machine: frames and results in, frames and requests out.

Both sides greet with their version vectors, exchange the roster when it differs, and from then on
each pushes what the other lacks, old and new alike. Nothing here waits, reads a clock of its own or
touches a network; reading the node's log is the only thing that it calls out for.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from covey.store.api import NodeId
from covey.store.ingest import Outcome
from covey.store.ports import LogChanged, LogView
from covey.store.receiving import Apply, Receiving, Supply
from covey.store.sending import Sending
from covey.store.wire import (
    PROTOCOL,
    Ack,
    AskDigests,
    Batch,
    Digests,
    EndCode,
    Fetch,
    FrameError,
    Goodbye,
    Head,
    Hello,
    Message,
    Payloads,
    Roster,
    Vector,
    decode,
    encode,
    protocol_of,
)

_COUNT_BYTES = 8
_OTHER_VERSION = "the nodes run versions of Covey that cannot replicate with each other"
_PEER_REMOVED = "the peer was removed from the fleet"


class Frame(msgspec.Struct, frozen=True):
    """Bytes to send, in this order."""

    data: bytes


class Merge(msgspec.Struct, frozen=True):
    """Asks for `RosterPort.merge`; then `Session.merged` is due."""

    statements: Sequence[bytes]


class Ended(msgspec.Struct, frozen=True):
    """The session's end: after it nothing is sent or taken. `by_peer` tells who ended it."""

    code: EndCode
    message: str
    by_peer: bool = False

    @property
    def lasting(self) -> bool:
        """Whether a new session would end the same way until someone changes something."""
        return self.code not in {EndCode.LOST, EndCode.STOPPING, EndCode.PROTOCOL, EndCode.STORAGE}

    @property
    def hint(self) -> str | None:
        """What the user can do about it, None if it passes by itself."""
        match self.code:
            case EndCode.LOST | EndCode.STOPPING:
                return None
            case EndCode.PROTOCOL:
                return "if it happens again, compare `covey --version` on both nodes"
            case EndCode.VERSION:
                return "update Covey on the older of the two nodes"
            case EndCode.OTHER_FLEET | EndCode.OTHER_NODE:
                return "check the address in `fleet.peers`: another node answers there"
            case EndCode.WRONG_KEY:
                return "remove the node that was set up wrongly, and join it anew"
            case EndCode.REMOVED:
                return "to take the node back, invite it: covey invite"
            case EndCode.STRANGER:
                return "join it to the fleet: covey invite, then covey join TOKEN there"
            case EndCode.STORAGE:
                return "run `covey doctor` on the node whose store has the trouble"


Out = Frame | Apply | Supply | Merge | Ended


class SessionStats(msgspec.Struct, frozen=True):
    """How a session with one peer does.

    `behind` is what the peer lacks of this node's entries, `ahead` what this node lacks of the
    peer's. `clock_skew_ms` is how far the peer's wall clock is ahead. `refused` gives the origins
    whose entries cannot be taken from this peer, and why.
    """

    peer: NodeId
    connected_ms: int
    last_seen_ms: int
    ready: bool
    clock_skew_ms: int
    entries_sent: int
    entries_received: int
    bytes_sent: int
    bytes_received: int
    behind: int
    ahead: int
    quarantined: int
    refused: dict[NodeId, str]


class Session:
    """The state of one session; each method returns what to do next, in order."""

    def __init__(self, view: LogView, peer: NodeId) -> None:
        self._view = view
        self._peer = peer
        heads = view.heads()
        self._heads = {origin: head.seq for origin, head in heads.items()}
        self._told = dict(self._heads)
        self._hello = Hello(
            PROTOCOL,
            view.fleet_id,
            view.node_id,
            view.wall_ms(),
            {origin: Head(head.seq, head.chain) for origin, head in heads.items()},
            view.roster.digest(),
            dict(view.key_tags()),
        )
        self._sending = Sending(view.read, view.trust, self._heads)
        self._receiving = Receiving()
        self._greeted: Hello | None = None
        self._ready = False
        self._ended = False
        self._roster_sent = self._hello.roster
        self._roster_theirs: bytes | None = None
        self._merging = 0
        self._out: list[Out] = []
        self._frames_out = self._frames_in = 0
        self._bytes_out = self._bytes_in = self._entries_out = 0
        self._connected_ms = self._seen_ms = self._hello.wall_ms
        self._skew_ms = 0

    def start(self) -> list[Out]:
        """Greet the peer; call once, first."""
        self._send(self._hello)
        return self._take()

    def receive(self, frame: bytes) -> list[Out]:
        """Take one frame."""
        if self._ended:
            return []
        self._seen_ms = self._view.wall_ms()
        self._bytes_in += len(frame)
        self._frames_in += 1
        if int.from_bytes(frame[:_COUNT_BYTES], "big") != self._frames_in:
            return self.end(EndCode.PROTOCOL, "a frame was lost, doubled or out of order")
        body = memoryview(frame)[_COUNT_BYTES:]
        try:
            message = decode(body)
        except FrameError as error:
            if self._greeted is None and (protocol_of(body) or PROTOCOL) != PROTOCOL:
                return self.end(EndCode.VERSION, _OTHER_VERSION)
            return self.end(EndCode.PROTOCOL, error.message)
        if isinstance(message, Goodbye):
            self._ended = True
            return [Ended(_end_code(message.code), message.message, by_peer=True)]
        if (self._greeted is None) != isinstance(message, Hello):
            return self.end(EndCode.PROTOCOL, "the greeting was missing or came twice")
        self._dispatch(message)
        return self._take()

    def applied(self, batch: Batch, outcome: Outcome) -> list[Out]:
        """Take the outcome of an `Apply`."""
        for each in self._receiving.applied(batch, outcome):
            match each:
                case Ack():
                    if each.seq:
                        self._told[each.origin] = max(each.seq, self._told.get(each.origin, 0))
                    self._send(each)
                case AskDigests():
                    self._send(each)
                case Apply():
                    self._out.append(each)
        return self._take()

    def supplied(self) -> list[Out]:
        """Take note that a `Supply` was done."""
        self._receiving.supplied()
        return self._take()

    def merged(self) -> list[Out]:
        """Take note that a `Merge` was done."""
        self._merging -= 1
        return self.roster_changed()

    def roster_changed(self) -> list[Out]:
        """Take note that the roster changed, by whomever."""
        if self._roster_theirs is not None and not self._merging:
            self._settle_roster()
        return self._take()

    def committed(self, change: LogChanged) -> list[Out]:
        """Take note of a commit to the node's log."""
        self._sending.grew(change.heads)
        told: dict[NodeId, int] = {}
        for origin, seq in change.heads.items():
            self._heads[origin] = max(seq, self._heads.get(origin, 0))
            retry = origin in self._receiving.refused
            saves = seq < self._sending.peer_has(origin) and seq > self._told.get(origin, 0)
            if retry or (saves and not self._receiving.busy(origin)):
                told[origin] = seq
        if self._ready:
            self._tell(told)
            for payloads in self._sending.filled(change.healed):
                self._send(payloads)
        for origin, seq in change.missing:
            self._receiving.want(origin, (seq,))
        return self._take()

    def end(self, code: EndCode, message: str) -> list[Out]:
        """End the session, telling the peer why."""
        if self._ended:
            return []
        self._send(Goodbye(code, message))
        self._ended = True
        out, self._out = [each for each in self._out if isinstance(each, Frame)], []
        return [*out, Ended(code, message)]

    def stats(self) -> SessionStats:
        """Return how the session does."""
        return SessionStats(
            self._peer,
            connected_ms=self._connected_ms,
            last_seen_ms=self._seen_ms,
            ready=self._ready and not self._ended,
            clock_skew_ms=self._skew_ms,
            entries_sent=self._entries_out,
            entries_received=self._receiving.entries,
            bytes_sent=self._bytes_out,
            bytes_received=self._bytes_in,
            behind=self._sending.behind(),
            ahead=self._sending.ahead(),
            quarantined=self._receiving.quarantined,
            refused=dict(self._receiving.refused),
        )

    def _dispatch(self, message: Message) -> None:
        match message:
            case Hello():
                self._greet(message)
            case Roster():
                self._roster_theirs = message.digest
                self._merging += 1
                self._out.append(Merge(message.statements))
            case Vector():
                self._sending.peer_takes(message.heads)
            case Batch():
                self._sending.peer_holds(message.origin, message.last)
                self._extend(self._receiving.batch(message), "more batches than it may")
            case Ack():
                if not self._sending.acknowledged(message):
                    self._fault("an answer to nothing")
            case AskDigests() | Digests() | Fetch() | Payloads():
                self._repair(message)
            case Goodbye():
                pass

    def _repair(self, message: AskDigests | Digests | Fetch | Payloads) -> None:
        match message:
            case AskDigests():
                self._send(self._sending.digests(message))
            case Digests():
                apply = self._receiving.digests(message)
                self._extend(None if apply is None else [apply], "digests that were not asked for")
            case Fetch():
                self._send(self._sending.payloads(message))
            case Payloads():
                self._extend(self._receiving.payloads(message), "entries that were not asked for")

    def _greet(self, hello: Hello) -> None:
        self._greeted = hello
        self._skew_ms = hello.wall_ms - self._seen_ms
        if hello.protocol != PROTOCOL:
            self._close(EndCode.VERSION, _OTHER_VERSION)
        elif hello.fleet != self._view.fleet_id:
            self._close(EndCode.OTHER_FLEET, "the nodes belong to different fleets")
        elif hello.node != self._peer or hello.node == self._view.node_id:
            self._close(EndCode.OTHER_NODE, "the peer is not the node that it says it is")
        elif self._view.trust.cutoff(self._peer) is not None:
            self._close(EndCode.REMOVED, _PEER_REMOVED)
        elif any(self._hello.tags.get(each, tag) != tag for each, tag in hello.tags.items()):
            self._close(EndCode.WRONG_KEY, "the nodes hold different data keys of one generation")
        else:
            self._compare(hello.heads)
            if hello.roster == self._hello.roster:
                self._roster_theirs = hello.roster
                self._settle_roster()
            else:
                self._send_roster()

    def _compare(self, theirs: Mapping[NodeId, Head]) -> None:
        held = {origin: head.seq for origin, head in theirs.items()}
        self._view.met(self._peer, held)
        self._sending.peer_takes(held)
        for origin, mine in self._hello.heads.items():
            other = theirs.get(origin)
            if other is not None and other.seq == mine.seq and other.chain != mine.chain:
                self._receiving.refused[origin] = (
                    "its log here and at the peer differ: the node was restored from a copy and "
                    "wrote again"
                )

    def _settle_roster(self) -> None:
        """Go on by the roster that is held now; sends it where the peer's differs."""
        trust = self._view.trust
        if trust.cutoff(self._peer) is not None:
            self._close(EndCode.REMOVED, _PEER_REMOVED)
        elif trust.cutoff(self._view.node_id) is not None:
            self._close(EndCode.REMOVED, "this node was removed from the fleet")
        elif trust.public_key(self._peer) is None:
            self._close(EndCode.STRANGER, "no statement says that the peer is a member")
        else:
            if self._view.roster.digest() not in {self._roster_sent, self._roster_theirs}:
                self._send_roster()
            if not self._ready:
                self._ready = True
                for origin, seqs in self._view.missing().items():
                    self._receiving.want(origin, seqs)
            self._tell({origin: self._heads.get(origin, 0) for origin in self._receiving.refused})

    def _send_roster(self) -> None:
        roster = self._view.roster
        self._roster_sent = roster.digest()
        self._send(Roster(self._roster_sent, roster.export()))

    def _tell(self, heads: Mapping[NodeId, int]) -> None:
        if heads:
            self._told.update(heads)
            self._send(Vector(dict(heads)))

    def _extend(self, out: Iterable[Apply | Supply] | None, fault: str) -> None:
        if out is None:
            self._fault(fault)
        else:
            self._out.extend(out)

    def _fault(self, what: str) -> None:
        self._close(EndCode.PROTOCOL, f"the peer sent {what}")

    def _close(self, code: EndCode, message: str) -> None:
        self._out = self.end(code, message)

    def _send(self, message: Message) -> None:
        if self._ended:
            return
        self._frames_out += 1
        data = self._frames_out.to_bytes(_COUNT_BYTES, "big") + encode(message)
        self._bytes_out += len(data)
        self._out.append(Frame(data))

    def _take(self) -> list[Out]:
        if self._ready and not self._ended:
            while (batch := self._sending.next_batch(self._absent)) is not None:
                self._entries_out += len(batch.run.payloads)
                self._send(batch)
            if (fetch := self._receiving.next_fetch()) is not None:
                self._send(fetch)
        out, self._out = self._out, []
        return out

    def _absent(self, origin: NodeId) -> Sequence[int]:
        return self._view.missing().get(origin, ())


def _end_code(code: str) -> EndCode:
    return EndCode(code) if code in EndCode.__members__.values() else EndCode.PROTOCOL
