"""This node's logs as its sessions with peers use them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence

from covey.store.api import NodeId
from covey.store.clock import HybridClock
from covey.store.committing import Committed, Committer, Pending
from covey.store.entry import Entry
from covey.store.fence import Fence
from covey.store.folding import Folder
from covey.store.ingest import Accepted, Outcome, Rejected, heal, verify
from covey.store.own_log import OwnLog
from covey.store.ports import (
    ChainHead,
    LogChanged,
    LogStorage,
    PublishedMark,
    RosterPort,
    Trust,
)
from covey.store.seal import Sealer
from covey.store.wire import Batch, Digests, Payloads

_log = logging.getLogger("covey.store")


class LogReplica:
    """Implements `exchange.Replica`."""

    def __init__(
        self,
        storage: LogStorage,
        committer: Committer,
        folder: Folder,
        own: OwnLog,
        fence: Fence,
        mark: PublishedMark,
        *,
        fleet_id: str,
        trust: Trust,
        roster: RosterPort,
        sealer: Sealer,
        clock: HybridClock,
    ) -> None:
        self._storage = storage
        self._committer = committer
        self._folder = folder
        self._own = own
        self._fence = fence
        self._mark = mark
        self._fleet_id = fleet_id
        self._trust = trust
        self._roster = roster
        self._sealer = sealer
        self._clock = clock
        self._missing = _stubs_set_aside(storage)
        self.backwards: set[NodeId] = set()
        self.forked = False
        committer.subscribe(self._committed)

    @property
    def fleet_id(self) -> str:
        """The fleet: sessions with members of another are refused."""
        return self._fleet_id

    @property
    def node_id(self) -> NodeId:
        """This node's id."""
        return self._own.signer.node_id

    @property
    def trust(self) -> Trust:
        """Whose logs are accepted, and how far."""
        return self._trust

    @property
    def roster(self) -> RosterPort:
        """The signed membership statements."""
        return self._roster

    def wall_ms(self) -> int:
        """Return the wall clock's milliseconds since the epoch."""
        return self._clock.wall_ms()

    def key_tags(self) -> Mapping[bytes, bytes]:
        """Return `Sealer.tags()`, empty on a relay."""
        return self._sealer.tags()

    def heads(self) -> Mapping[NodeId, ChainHead]:
        """Return how far each origin's log is held durably."""
        return self._committer.heads

    def read(self, origin: NodeId, after: int, limit: int) -> Sequence[Entry]:
        """Return entries of one origin in order, from `after` + 1."""
        entries = self._storage.read(origin, after, limit)
        if entries and origin == self.node_id:
            self._mark.note(entries[-1].seq)
        return entries

    def missing(self) -> Mapping[NodeId, Sequence[int]]:
        """Return the quarantined places that still hold a stub, by origin."""
        return {origin: sorted(seqs) for origin, seqs in self._missing.items() if seqs}

    def met(self, peer: NodeId, heads: Mapping[NodeId, int]) -> None:
        """Take note of how far a peer held each log when its session began."""
        self._fence.met(peer, heads.get(self.node_id, 0))
        self._fence.settle(self._held())

    async def apply(self, batch: Batch, listed: Digests | None) -> Outcome:
        """Verify a batch, append, fold and commit what is accepted; raises `StorageError`."""

        def job(pending: Pending) -> Outcome:
            return self._take(pending, batch, listed)

        return await self._committer.submit(job)

    async def supply(self, payloads: Payloads) -> frozenset[int]:
        """Fill stubs with payloads that truly belong there; raises `StorageError`."""

        def job(pending: Pending) -> frozenset[int]:
            return self._fill(pending, payloads)

        return await self._committer.submit(job)

    def subscribe(self, listener: Callable[[LogChanged], None]) -> Callable[[], None]:
        """Call `listener` in the event loop after each commit, local ones too; returns the end."""

        def forward(committed: Committed) -> None:
            listener(LogChanged(committed.heads, committed.healed, committed.missing))

        return self._committer.subscribe(forward)

    def _take(self, pending: Pending, batch: Batch, listed: Digests | None) -> Outcome:
        origin = batch.origin
        mine = origin == self.node_id
        if mine:
            self._own.seal_tail(pending)
        head = pending.heads.get(origin)
        last_hlc = pending.last_hlc(origin)
        outcome = verify(batch, head, self._trust, listed, last_hlc=last_hlc)
        if mine and isinstance(outcome, Rejected):
            self._report_fork()
        if not isinstance(outcome, Accepted) or not outcome.entries:
            return outcome
        for entry in outcome.entries:
            pending.writer.append(entry)
        pending.advance(origin, outcome.head, max(last_hlc, outcome.entries[-1].hlc))
        for item in outcome.quarantined:
            _log.warning("entry %d of node %s: %s", item.seq, origin[:8], item.reason)
            pending.writer.quarantine(item)
        pending.missing.update((origin, seq) for seq in outcome.missing)
        if outcome.irregular and origin not in self.backwards:
            self.backwards.add(origin)
            _log.warning("the clock of node %s ran backwards", origin[:8])
        self._folder.add(pending, outcome.entries)
        return outcome

    def _fill(self, pending: Pending, payloads: Payloads) -> frozenset[int]:
        origin = payloads.origin
        stubs: dict[int, Entry] = {}
        for seq in payloads.seqs:
            for entry in self._storage.read(origin, seq - 1, 1):
                if entry.seq == seq:
                    stubs[seq] = entry
        good = heal(stubs, payloads)
        for entry in good:
            pending.writer.append(entry)
            pending.writer.release(origin, entry.seq)
        self._folder.add(pending, good)
        filled = frozenset(entry.seq for entry in good)
        pending.healed.update((origin, seq) for seq in filled)
        return filled

    def _committed(self, committed: Committed) -> None:
        for origin, seq in committed.missing:
            self._missing.setdefault(origin, set()).add(seq)
        for origin, seq in committed.healed:
            self._missing.get(origin, set()).discard(seq)
        if self.node_id in committed.heads:
            self._fence.settle(self._held())

    def _held(self) -> int:
        head = self._committer.heads.get(self.node_id)
        return head.seq if head is not None else 0

    def _report_fork(self) -> None:
        if not self.forked:
            self.forked = True
            _log.error(
                "a peer holds another version of this node's own log: the node once went on from "
                "an old copy of its database. Remove it from the fleet and join it anew."
            )


def _stubs_set_aside(storage: LogStorage) -> dict[NodeId, set[int]]:
    found: dict[NodeId, set[int]] = {}
    for item in storage.quarantined():
        for entry in storage.read(item.origin, item.seq - 1, 1):
            if entry.payload is None:
                found.setdefault(item.origin, set()).add(item.seq)
    return found
