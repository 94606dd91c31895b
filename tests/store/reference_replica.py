"""The simplest replica that is right: folds what it accepts, and folds all again when in doubt."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from msgspec.structs import replace

from covey.store.api import NodeId
from covey.store.clock import HybridClock
from covey.store.entry import SIGN_EVERY, Entry, chain_next, chain_start, sign_head
from covey.store.ingest import Accepted, Outcome, heal, verify
from covey.store.merge import context_of, fold, refold
from covey.store.ports import ChainHead, Leaf, LogChanged, LogStorage, LogWriter
from covey.store.seal import Sealer, UnknownGenerationError, UnreadableEntryError
from covey.store.wire import Batch, Digests, Payloads
from tests.store.keys import NodeSigner
from tests.store.roster import PlainRoster

EVERYTHING = 1 << 40


class ReferenceReplica:
    """Satisfies `Replica` over any log storage; without `sealer` keys it is a relay."""

    fleet_id = "fleet"

    def __init__(
        self,
        log: LogStorage,
        signer: NodeSigner,
        roster: PlainRoster,
        sealer: Sealer,
        clock: HybridClock,
    ) -> None:
        self.log = log
        self.roster = roster
        self.clock = clock
        self._signer = signer
        self._sealer = sealer
        self._listeners: list[Callable[[LogChanged], None]] = []
        self.met_peers: dict[NodeId, dict[NodeId, int]] = {}
        for origin in log.heads():
            for entry in log.read(origin, 0, EVERYTHING):
                clock.observe(entry.hlc)

    @property
    def node_id(self) -> NodeId:
        return self._signer.node_id

    @property
    def trust(self) -> PlainRoster:
        return self.roster

    def wall_ms(self) -> int:
        return self.clock.wall_ms()

    def key_tags(self) -> Mapping[bytes, bytes]:
        return self._sealer.tags()

    def heads(self) -> Mapping[NodeId, ChainHead]:
        return self.log.heads()

    def read(self, origin: NodeId, after: int, limit: int) -> Sequence[Entry]:
        return self.log.read(origin, after, limit)

    def missing(self) -> Mapping[NodeId, Sequence[int]]:
        found: dict[NodeId, list[int]] = {}
        for item in self.log.quarantined():
            held = self.log.read(item.origin, item.seq - 1, 1)
            if held and held[0].payload is None:
                found.setdefault(item.origin, []).append(item.seq)
        return found

    def met(self, peer: NodeId, heads: Mapping[NodeId, int]) -> None:
        self.met_peers[peer] = dict(heads)

    def subscribe(self, listener: Callable[[LogChanged], None]) -> Callable[[], None]:
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def write(self, *changes: tuple[str, bytes | None]) -> list[Entry]:
        """Write records durably; returns their entries."""
        origin = self.node_id
        head = self.log.heads().get(origin) or ChainHead(0, chain_start(origin))
        entries = []
        with self.log.transaction() as writer:
            for count, (key, value) in enumerate(changes, 1):
                leaves = self.log.leaves("env", key)
                seq = head.seq + 1
                hlc = self.clock.tick(after=max((leaf.hlc for leaf in leaves), default=0))
                sealed = self._sealer.seal(origin, seq, hlc, "env", key, value, context_of(leaves))
                head = ChainHead(seq, chain_next(head.chain, sealed.digest))
                if count == len(changes) or count % SIGN_EVERY == 0:
                    signature = sign_head(self._signer.signing_key, origin, seq, head.chain)
                    sealed = replace(sealed, signature=signature)
                writer.append(sealed)
                self._fold(writer, sealed)
                entries.append(sealed)
            writer.set_head(origin, head)
        self._tell(LogChanged({origin: head.seq}))
        return entries

    async def apply(self, batch: Batch, listed: Digests | None) -> Outcome:
        with self.log.transaction() as writer:
            head = self.log.heads().get(batch.origin)
            before = self.log.read(batch.origin, head.seq - 1, 1) if head else []
            last_hlc = before[0].hlc if before else 0
            outcome = verify(batch, head, self.roster, listed, last_hlc=last_hlc)
            if not isinstance(outcome, Accepted) or not outcome.entries:
                return outcome
            for entry in outcome.entries:
                writer.append(entry)
                self._fold(writer, entry)
            for item in outcome.quarantined:
                writer.quarantine(item)
            writer.set_head(batch.origin, outcome.head)
        missing = frozenset((batch.origin, seq) for seq in outcome.missing)
        self._tell(LogChanged({batch.origin: outcome.head.seq}, missing=missing))
        return outcome

    async def supply(self, payloads: Payloads) -> frozenset[int]:
        with self.log.transaction() as writer:
            read = (self.log.read(payloads.origin, seq - 1, 1) for seq in payloads.seqs)
            filled = heal({found[0].seq: found[0] for found in read if found}, payloads)
            for entry in filled:
                writer.append(entry)
                writer.release(entry.origin, entry.seq)
                self._fold(writer, entry)
        healed = frozenset((entry.origin, entry.seq) for entry in filled)
        self._tell(LogChanged({}, healed))
        return frozenset(entry.seq for entry in filled)

    def refold(self) -> None:
        """Fold the whole log again: after a cutoff, a new key, or when held clocks have come."""
        with self.log.transaction() as writer:
            current = self.oracle()
            for key in self.folded().keys() | current.keys():
                writer.set_leaves("env", key, current.get(key, ()))

    def oracle(self) -> dict[str, tuple[Leaf, ...]]:
        """Return what the fold should be, computed from the log alone."""
        versions: dict[str, list[Leaf]] = {}
        for origin in self.log.heads():
            for entry in self.log.read(origin, 0, EVERYTHING):
                if (leaf := self._leaf(entry)) is not None:
                    versions.setdefault(leaf.key, []).append(leaf)
        return {key: refold(each) for key, each in sorted(versions.items())}

    def folded(self) -> dict[str, tuple[Leaf, ...]]:
        """Return the fold as it is kept."""
        found: dict[str, list[Leaf]] = {}
        for leaf in self.log.scan_leaves("env", ""):
            found.setdefault(leaf.key, []).append(leaf)
        return {key: tuple(each) for key, each in found.items()}

    def _fold(self, writer: LogWriter, entry: Entry) -> None:
        if (leaf := self._leaf(entry)) is not None:
            self.clock.observe(leaf.hlc)
            leaves = self.log.leaves("env", leaf.key)
            writer.set_leaves("env", leaf.key, fold(leaves, leaf))

    def _leaf(self, entry: Entry) -> Leaf | None:
        cutoff = self.roster.cutoff(entry.origin)
        if entry.payload is None or (cutoff is not None and entry.seq > cutoff):
            return None
        if entry.origin != self.node_id and not self.clock.admits(entry.hlc):
            return None
        try:
            opened = self._sealer.open(entry)
        except (UnknownGenerationError, UnreadableEntryError):
            return None
        return Leaf(
            "env",
            opened.key,
            entry.origin,
            entry.seq,
            entry.hlc,
            opened.context,
            opened.value,
        )

    def _tell(self, change: LogChanged) -> None:
        for listener in list(self._listeners):
            listener(change)
