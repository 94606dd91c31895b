"""Whole stores for tests, on any storage, that exchange batches without a network."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from covey.engines.sqlite.published import FileMark
from covey.store.api import Change, NodeId, Version
from covey.store.clock import HybridClock
from covey.store.compaction import Retention
from covey.store.entry import SIGN_EVERY
from covey.store.ingest import Outcome
from covey.store.ports import PublishedMark
from covey.store.store import Store
from covey.store.wire import Batch, Digests, Payloads, pack
from covey.testing.memory_log import MemoryLog, MemoryMark
from tests.engines.sqlite_home import SqliteHome
from tests.store.keys import FixedKeys, NodeSigner
from tests.store.roster import PlainRoster, Statement

START_MS = 1_800_000_000_000
DAY_MS = 86_400_000


class Wall:
    """A wall clock that a test moves."""

    def __init__(self) -> None:
        self.ms = START_MS

    def __call__(self) -> int:
        return self.ms


class StoreNode:
    """One node. `crash` loses the process, `stop` ends it well; `start` begins the next one."""

    def __init__(self, name: str, home: Path | None = None, *, relay: bool = False) -> None:
        self.signer = NodeSigner(name)
        self.id = self.signer.node_id
        self.keys = FixedKeys({} if relay else None)
        self.roster = PlainRoster([self.statement()])
        self.wall = Wall()
        self.home = home
        self.log = MemoryLog()
        self.mark: PublishedMark = MemoryMark()
        self.retention = Retention(90, 10)
        self.sqlite: SqliteHome | None = None
        self.restored = False

    async def start(self) -> StoreNode:
        log, local = self.log, self.log
        if self.home is not None:
            self.home.mkdir(exist_ok=True)
            self.sqlite = SqliteHome(self.home / "covey.db")
            log, local = self.sqlite.log, self.sqlite.local
            self.mark = FileMark(self.home / "published")
        self.store = Store(
            log,
            local,
            self.mark,
            fleet_id="fleet",
            signer=self.signer,
            keys=self.keys,
            trust=self.roster,
            roster=self.roster,
            members=self.roster.present,
            clock=HybridClock(self.wall),
            retention=self.retention,
        )
        self.storage = log
        await self.store.start()
        self.records = self.store.records
        self.replica = self.store.replica
        return self

    async def stop(self) -> None:
        await self.store.close()
        if self.sqlite is not None:
            self.sqlite.close()
        if isinstance(self.mark, FileMark):
            self.mark.close()

    async def restart(self) -> None:
        await self.stop()
        self.log = self.log.survivors()
        await self.start()

    def statement(self, cutoff: int | None = None) -> Statement:
        return Statement(self.id, self.signer.public_key.public_bytes_raw(), cutoff)

    async def set(self, key: str, value: bytes | None, expected: Version | None = None) -> Version:
        change = Change("env", key, value, expected.id if expected else None)
        return (await self.records.write([change]))[0]

    def value(self, key: str) -> bytes | None:
        record = self.records.get("env", key)
        return record.value if record else None

    def state(self, collection: str = "env") -> dict[str, tuple[object, ...]]:
        """Return all current versions, deletions too, in a form that replicas share."""
        found: dict[str, list[object]] = {}
        for leaf in self.storage.scan_leaves(collection, ""):
            found.setdefault(leaf.key, []).append((leaf.hlc, leaf.origin, leaf.seq, leaf.value))
        return {key: tuple(sorted(each, reverse=True)) for key, each in found.items()}

    def head(self, origin: NodeId) -> int:
        head = self.replica.heads().get(origin)
        return head.seq if head else 0


def introduce(nodes: Iterable[StoreNode]) -> None:
    nodes = list(nodes)
    for node in nodes:
        node.roster.add(*(other.statement() for other in nodes))


async def pull(
    to: StoreNode, of: StoreNode, change: Callable[[Batch], Batch] = lambda batch: batch
) -> list[Outcome]:
    """Bring to one node what another holds, in the batches that a session would send."""
    outcomes = []
    for origin, head in of.replica.heads().items():
        while (after := to.head(origin)) < head.seq:
            entries = of.replica.read(origin, after, 4 * SIGN_EVERY)
            last = max(place for place, each in enumerate(entries) if each.signature)
            entries = entries[: last + 1]
            absent = set(of.replica.missing().get(origin, ()))
            batch = Batch(origin, after, pack(entries, absent), entries[-1].signature)
            outcome = await to.replica.apply(change(batch), None)
            outcomes.append(outcome)
            if to.head(origin) == after:
                break
    return outcomes


async def apply_listed(to: StoreNode, of: StoreNode, batch: Batch) -> Outcome:
    entries = of.replica.read(batch.origin, batch.after, len(batch.run.payloads))
    digests = b"".join(each.digest for each in entries)
    listed = Digests(batch.origin, batch.after, digests, entries[-1].signature)
    return await to.replica.apply(batch, listed)


async def heal(to: StoreNode, of: StoreNode) -> None:
    for origin, seqs in to.replica.missing().items():
        entries = [of.replica.read(origin, seq - 1, 1)[0] for seq in seqs]
        payloads = Payloads(origin, list(seqs), pack(entries), [], answer=True)
        await to.replica.supply(payloads)


async def meet(one: StoreNode, other: StoreNode) -> None:
    for mine, theirs in ((one, other), (other, one)):
        heads = {origin: head.seq for origin, head in theirs.replica.heads().items()}
        mine.replica.met(theirs.id, heads)
    await pull(one, other)
    await pull(other, one)
