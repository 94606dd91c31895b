"""What a session sends of the logs: which origin next, how much, and what the peer lacks (pure)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass

from msgspec.structs import replace

from covey.store.api import NodeId
from covey.store.entry import MAX_PAYLOAD_BYTES, Entry
from covey.store.ports import Trust
from covey.store.wire import (
    MAX_RUN,
    Ack,
    AskDigests,
    Batch,
    Digests,
    Fetch,
    Payloads,
    Verdict,
    pack,
)

WINDOW = 4
"""Batches that may be under way unacknowledged in each direction: bounds the memory of both."""

BATCH_ENTRIES = 1024
BATCH_BYTES = 1 << 20

_STRIP_BYTES = 4 << 20
_READ_AT_ONCE = 64
_MAX_WANTS = 4096
_MAX_FLOWS = 10_000
"""A peer may name so many logs: more are forgotten, so that it cannot fill this node's memory."""

Read = Callable[[NodeId, int, int], Sequence[Entry]]


@dataclass(slots=True)
class _Flow:
    """One origin's log on its way to the peer: what it holds, and up to where it was sent."""

    theirs: int = 0
    sent: int = 0
    under_way: int = 0
    parked: bool = False
    rewinding: bool = False
    rewound_to: int = -1
    unprovable: int = -1


class Sending:
    """The flows of all origins to one peer, in turn, within the window."""

    def __init__(self, read: Read, trust: Trust, ours: Mapping[NodeId, int]) -> None:
        self._read = read
        self._trust = trust
        self._ours = dict(ours)
        self._flows: dict[NodeId, _Flow] = {}
        self._under_way = 0
        self._peer_wants: set[tuple[NodeId, int]] = set()

    def grew(self, heads: Mapping[NodeId, int]) -> None:
        """Take note of how far the logs are held here now."""
        for origin, seq in heads.items():
            self._ours[origin] = max(seq, self._ours.get(origin, 0))

    def peer_holds(self, origin: NodeId, seq: int) -> None:
        """Take note of what the peer holds, so that it is not sent back."""
        known = origin in self._ours or origin in self._flows
        if not known and len(self._flows) >= _MAX_FLOWS:
            return
        flow = self._flow(origin)
        flow.theirs = max(flow.theirs, seq)
        flow.sent = max(flow.sent, flow.theirs)

    def peer_takes(self, heads: Mapping[NodeId, int]) -> None:
        """Take note of how far the peer holds origins that it takes, perhaps again, from there."""
        for origin, seq in heads.items():
            self.peer_holds(origin, seq)
            flow = self._flows.get(origin)
            if flow is not None and flow.parked:
                flow.parked, flow.sent = False, flow.theirs

    def peer_has(self, origin: NodeId) -> int:
        """Return how far the peer is known to hold a log."""
        flow = self._flows.get(origin)
        return 0 if flow is None else flow.theirs

    def acknowledged(self, ack: Ack) -> bool:
        """Take back the credit of one batch; False if none was under way."""
        flow = self._flows.get(ack.origin)
        if flow is None or flow.under_way == 0:
            return False
        flow.under_way -= 1
        self._under_way -= 1
        match ack.verdict:
            case Verdict.OK:
                flow.theirs = max(flow.theirs, ack.seq)
                flow.sent = max(flow.sent, flow.theirs)
            case Verdict.GAP if not flow.parked:
                flow.theirs = ack.seq
                flow.rewinding = True
            case Verdict.GAP:
                pass
            case Verdict.UNKNOWN | Verdict.REMOVED | Verdict.REJECTED:
                flow.parked = True
        if flow.rewinding and flow.under_way == 0:
            flow.rewinding = False
            flow.parked = flow.theirs <= flow.rewound_to
            flow.sent = flow.rewound_to = flow.theirs
        return True

    def next_batch(self, absent: Callable[[NodeId], Container[int]]) -> Batch | None:
        """Return the next batch within the window, None if there is nothing to send now."""
        if self._under_way >= WINDOW:
            return None
        for origin in list(self._ours):
            flow = self._flow(origin)
            limit = self._limit(origin)
            if flow.parked or flow.rewinding or flow.sent >= limit or flow.unprovable == limit:
                continue
            vouched = limit if self._trust.cutoff_chain(origin) is not None else None
            batch = collect(self._read, origin, flow.sent, limit, absent, vouched)
            if batch is None:
                flow.unprovable = limit
                continue
            flow.sent = batch.last
            flow.under_way += 1
            self._under_way += 1
            self._ours[origin] = self._ours.pop(origin)
            return batch
        return None

    def behind(self) -> int:
        """Return how many entries the peer has not acknowledged yet."""
        flows = ((self._limit(origin), self.peer_has(origin)) for origin in self._ours)
        return sum(max(0, limit - theirs) for limit, theirs in flows)

    def ahead(self) -> int:
        """Return how many entries that count the peer said to hold that are not held here."""
        flows = (
            (self._counted(origin, flow.theirs), self._ours.get(origin, 0))
            for origin, flow in self._flows.items()
        )
        return sum(max(0, theirs - ours) for theirs, ours in flows)

    def digests(self, asked: AskDigests) -> Digests:
        """Return the digests of a range, as far as it is held."""
        joined, signature = bytearray(), b""
        for entry in _each(
            self._read,
            asked.origin,
            asked.after,
            min(asked.last, self._limit(asked.origin)),
            MAX_RUN,
        ):
            joined += entry.digest
            signature = entry.signature
        return Digests(asked.origin, asked.after, bytes(joined), signature)

    def payloads(self, asked: Fetch) -> Payloads:
        """Return the entries asked for that are held, as many as one message takes."""
        return self._payloads(asked.origin, asked.seqs, answer=True)

    def filled(self, places: Iterable[tuple[NodeId, int]]) -> list[Payloads]:
        """Return the entries among these that the peer had asked for in vain."""
        due: dict[NodeId, list[int]] = {}
        for origin, seq in sorted(self._peer_wants.intersection(places)):
            due.setdefault(origin, []).append(seq)
        return [self._payloads(origin, seqs, answer=False) for origin, seqs in due.items()]

    def _payloads(self, origin: NodeId, seqs: Collection[int], *, answer: bool) -> Payloads:
        found: list[Entry] = []
        absent: list[int] = []
        size = 0
        for seq in seqs:
            if size > BATCH_BYTES:
                break
            held = self._read(origin, seq - 1, 1) if 0 < seq <= self._limit(origin) else ()
            payload = held[0].payload if held and held[0].seq == seq else None
            if payload is None or len(payload) > MAX_PAYLOAD_BYTES:
                absent.append(seq)
                continue
            found.append(held[0])
            size += len(payload)
        self._peer_wants.difference_update((origin, entry.seq) for entry in found)
        if len(self._peer_wants) < _MAX_WANTS:
            self._peer_wants.update((origin, seq) for seq in absent)
        return Payloads(origin, [entry.seq for entry in found], pack(found), absent, answer)

    def _limit(self, origin: NodeId) -> int:
        return self._counted(origin, self._ours.get(origin, 0))

    def _counted(self, origin: NodeId, seq: int) -> int:
        cutoff = self._trust.cutoff(origin)
        return seq if cutoff is None else min(seq, cutoff)

    def _flow(self, origin: NodeId) -> _Flow:
        return self._flows.setdefault(origin, _Flow())


def collect(
    read: Read,
    origin: NodeId,
    after: int,
    last: int,
    absent: Callable[[NodeId], Container[int]],
    vouched: int | None = None,
) -> Batch | None:
    """Return a batch that ends in a signed head (or at `vouched`), None if there is no such end.

    `absent` gives the stubs whose payload this node would like to have itself. Of a run too long
    for a message the later payloads stay behind: the peer asks for them one by one.
    """
    entries: list[Entry] = []
    end = size = 0
    for entry in _each(read, origin, after, last, MAX_RUN):
        entries.append(entry)
        size += len(entry.payload or b"")
        full = len(entries) > BATCH_ENTRIES or size > BATCH_BYTES
        if full and end:
            break
        if entry.signature or entry.seq == vouched:
            end = len(entries)
            if full:
                break
    if not end:
        return None
    signature = entries[end - 1].signature
    sent, stripped = _strip(entries[:end])
    stubs = {entry.seq for entry in sent if entry.payload is None} - stripped
    wanted = absent(origin) if stubs else ()
    return Batch(
        origin, after, pack(sent, stripped.union(s for s in stubs if s in wanted)), signature
    )


def _strip(entries: list[Entry]) -> tuple[list[Entry], set[int]]:
    """Turn what is too long for one message into stubs; returns their sequence numbers as well."""
    kept: list[Entry] = []
    stripped: set[int] = set()
    size = 0
    for entry in entries:
        length = len(entry.payload or b"")
        size += length
        if length > MAX_PAYLOAD_BYTES or (length and size > _STRIP_BYTES):
            size -= length
            stripped.add(entry.seq)
            kept.append(replace(entry, payload=None))
        else:
            kept.append(entry)
    return kept, stripped


def _each(read: Read, origin: NodeId, after: int, last: int, most: int) -> Iterable[Entry]:
    """Yield entries in order, reading as many at once as are likely to fit a batch."""
    at_once, size, end = _READ_AT_ONCE, 0, min(last, after + most)
    begin = after
    while after < end:
        part = read(origin, after, min(at_once, end - after))
        if not part:
            return
        yield from part
        after = part[-1].seq
        size += sum(len(entry.payload or b"") for entry in part)
        room = (BATCH_BYTES - size) * (after - begin) // max(size, 1)
        at_once = min(max(room, _READ_AT_ONCE), BATCH_ENTRIES)
