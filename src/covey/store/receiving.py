"""What a session receives of the logs: one batch after the other for each origin (pure)."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

import msgspec

from covey.store.api import NodeId
from covey.store.ingest import Accepted, Gap, Mismatch, Outcome, Rejected, Removed, UnknownOrigin
from covey.store.sending import WINDOW
from covey.store.wire import Ack, AskDigests, Batch, Digests, Fetch, Payloads, Verdict

_FETCH_AT_ONCE = 256
_MAX_REFUSED = 10_000
"""So many refused logs of one peer are remembered: it may invent any number of them."""


class Apply(msgspec.Struct, frozen=True):
    """Asks for `Replica.apply`; its outcome goes to `Session.applied`."""

    batch: Batch
    listed: Digests | None = None


class Supply(msgspec.Struct, frozen=True):
    """Asks for `Replica.supply`; then `Session.supplied` is due."""

    payloads: Payloads


@dataclass(slots=True)
class _Queue:
    """The batches of one origin: the first is being applied, or waits for its digests."""

    batches: deque[Batch] = field(default_factory=deque)
    asked: AskDigests | None = None


class Receiving:
    """The batches of all origins from one peer, and the missing payloads it is asked for."""

    def __init__(self) -> None:
        self.refused: dict[NodeId, str] = {}
        self.entries = 0
        self.quarantined = 0
        self._queues: dict[NodeId, _Queue] = {}
        self._held = 0
        self._supplies = 0
        self._wanted: dict[NodeId, set[int]] = {}
        self._asked: set[tuple[NodeId, int]] = set()
        self._fetch: Fetch | None = None

    def busy(self, origin: NodeId) -> bool:
        """Whether batches of an origin are being applied."""
        return origin in self._queues

    def batch(self, batch: Batch) -> list[Apply] | None:
        """Take a batch; returns what to apply now, None if the peer had no credit left."""
        if self._held >= WINDOW or not batch.run.payloads:
            return None
        self._held += 1
        queue = self._queues.setdefault(batch.origin, _Queue())
        queue.batches.append(batch)
        return [Apply(batch)] if len(queue.batches) == 1 else []

    def applied(self, batch: Batch, outcome: Outcome) -> list[Ack | AskDigests | Apply]:
        """Take the outcome of a batch; returns what to send and to apply next."""
        origin = batch.origin
        queue = self._queues[origin]
        ack = self._answer(origin, outcome)
        if ack is None:
            queue.asked = AskDigests(origin, batch.after, batch.last)
            return [queue.asked]
        queue.asked = None
        queue.batches.popleft()
        self._held -= 1
        if not queue.batches:
            del self._queues[origin]
            return [ack]
        return [ack, Apply(queue.batches[0])]

    def _answer(self, origin: NodeId, outcome: Outcome) -> Ack | None:
        match outcome:
            case Accepted():
                self.refused.pop(origin, None)
                self.entries += len(outcome.entries)
                self.quarantined += len(outcome.quarantined)
                return Ack(origin, outcome.head.seq, Verdict.OK)
            case Gap():
                return Ack(origin, outcome.held, Verdict.GAP)
            case UnknownOrigin():
                self._refuse(origin, "no statement says that its node is a member")
                return Ack(origin, 0, Verdict.UNKNOWN)
            case Removed():
                self._refuse(origin, f"its node was removed after entry {outcome.cutoff}")
                return Ack(origin, outcome.cutoff, Verdict.REMOVED)
            case Mismatch():
                return None
            case Rejected():
                self._refuse(origin, outcome.reason)
                return Ack(origin, outcome.held, Verdict.REJECTED)

    def _refuse(self, origin: NodeId, reason: str) -> None:
        if origin in self.refused or len(self.refused) < _MAX_REFUSED:
            self.refused[origin] = reason

    def digests(self, listed: Digests) -> Apply | None:
        """Take the digests asked for; None if they were not asked for."""
        queue = self._queues.get(listed.origin)
        if queue is None or queue.asked is None or queue.asked.after != listed.after:
            return None
        queue.asked = None
        return Apply(queue.batches[0], listed)

    def want(self, origin: NodeId, seqs: Iterable[int]) -> None:
        """Take note of missing payloads; each is asked for once in a session."""
        new = {seq for seq in seqs if (origin, seq) not in self._asked}
        if new:
            self._wanted.setdefault(origin, set()).update(new)

    def next_fetch(self) -> Fetch | None:
        """Return the next question for missing payloads, one at a time."""
        if self._fetch is not None or not self._wanted:
            return None
        origin, seqs = next(iter(self._wanted.items()))
        chosen = sorted(seqs)[:_FETCH_AT_ONCE]
        seqs.difference_update(chosen)
        if not seqs:
            del self._wanted[origin]
        self._asked.update((origin, seq) for seq in chosen)
        self._fetch = Fetch(origin, chosen)
        return self._fetch

    def payloads(self, payloads: Payloads) -> list[Supply] | None:
        """Take payloads; None if they were not asked for."""
        if any((payloads.origin, seq) not in self._asked for seq in payloads.seqs):
            return None
        if payloads.answer:
            if self._fetch is None or self._fetch.origin != payloads.origin:
                return None
            rest = set(self._fetch.seqs).difference(payloads.seqs, payloads.absent)
            self._fetch = None
            if payloads.seqs and rest:
                self._asked.difference_update((payloads.origin, seq) for seq in rest)
                self.want(payloads.origin, rest)
        if not payloads.seqs:
            return []
        self._supplies += 1
        return [Supply(payloads)] if self._supplies <= WINDOW else None

    def supplied(self) -> None:
        """Take note that payloads were dealt with."""
        self._supplies -= 1
