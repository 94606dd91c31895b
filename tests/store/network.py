"""Nodes and links between them in memory: every frame and every commit is one step of the test."""

from __future__ import annotations

from collections import deque
from collections.abc import Coroutine, Iterator
from contextlib import suppress
from typing import Any, TypeVar

from covey.errors import StorageError
from covey.store.api import NodeId
from covey.store.clock import HybridClock
from covey.store.entry import Entry
from covey.store.ports import Leaf, LogChanged
from covey.store.receiving import Apply, Supply
from covey.store.replicate import Ended, Frame, Merge, Out, Session
from covey.store.seal import Sealer
from covey.store.wire import EndCode
from covey.testing.memory_log import CrashError, Fault, MemoryLog
from tests.store.keys import FixedKeys, NodeSigner
from tests.store.reference_replica import ReferenceReplica
from tests.store.roster import PlainRoster, Statement

T = TypeVar("T")
START_MS = 1_800_000_000_000


def at_once(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that never really waits."""
    try:
        work.send(None)
    except StopIteration as stop:
        return stop.value
    raise AssertionError("it waited")


class Wall:
    """A wall clock that a test moves."""

    def __init__(self) -> None:
        self.ms = START_MS

    def __call__(self) -> int:
        return self.ms


class Node:
    """One node; `restart` keeps only what was committed."""

    def __init__(self, name: str, *, relay: bool = False) -> None:
        self.name = name
        self.relay = relay
        self.signer = NodeSigner(name)
        self.id = self.signer.node_id
        self.wall = Wall()
        self.keys = FixedKeys({} if relay else None)
        self.roster = PlainRoster([self.statement()])
        self.log = MemoryLog()
        self.ends: list[Link] = []
        self.replica: Any = self._boot()

    def _boot(self) -> ReferenceReplica:
        replica = self._reference()
        replica.refold()
        self.roster.subscribe(self._refold)
        return replica

    def _reference(self) -> ReferenceReplica:
        return ReferenceReplica(
            self.log, self.signer, self.roster, Sealer(self.keys), HybridClock(self.wall)
        )

    def _refold(self) -> None:
        # A full disk leaves the fold as it is until the node starts again.
        with suppress(StorageError):
            self.replica.refold()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return at_once(work)

    def write(self, *changes: tuple[str, bytes | None]) -> list[int]:
        """Write records durably; returns their sequence numbers."""
        return [entry.seq for entry in self.replica.write(*changes)]

    def catch_up(self) -> None:
        """Fold what held clocks, cutoffs and keys left out until now."""
        self.replica.refold()

    def keep_up(self) -> None:
        """Do what a node does from time to time."""

    def folded(self) -> dict[str, tuple[Leaf, ...]]:
        """Return the current versions of all keys."""
        return self.replica.folded()

    def oracle(self) -> dict[str, tuple[Leaf, ...]]:
        """Return what they should be."""
        return self.replica.oracle()

    def statement(self, cutoff: int | None = None, chain: bytes | None = None) -> Statement:
        return Statement(self.id, self.signer.public_key.public_bytes_raw(), cutoff, chain)

    def restart(self) -> None:
        for link in list(self.ends):
            link.cut()
        self.log = self.log.survivors()
        self.roster = self.roster.restarted()
        self.replica = self._boot()

    def head(self, origin: NodeId) -> int:
        head = self.log.heads().get(origin)
        return head.seq if head else 0

    def close(self) -> None:
        """End the node for good."""

    def entries(self) -> Iterator[Entry]:
        for origin in self.log.heads():
            yield from self.log.read(origin, 0, 1 << 40)


class End:
    """One side of a link: a session, the frames on their way to it, and its unfinished work."""

    def __init__(self, node: Node, peer: Node) -> None:
        self.node = node
        self.frames: deque[bytes] = deque()
        self.work: deque[Apply | Supply | Merge] = deque()
        self.changes: deque[LogChanged | None] = deque()
        self.other: End
        self.ended: Ended | None = None
        self.unsubscribe = [
            node.replica.subscribe(self.changes.append),
            node.roster.subscribe(lambda: self.changes.append(None)),
        ]
        self.session = Session(node.replica, peer.id)

    def perform(self, out: list[Out]) -> None:
        for each in out:
            match each:
                case Frame():
                    self.other.frames.append(each.data)
                case Ended():
                    self.ended = each
                case Apply() | Supply() | Merge():
                    self.work.append(each)

    def step(self) -> bool:
        """Do the next thing that is due here; False if nothing is."""
        if self.ended is not None:
            return False
        if self.changes:
            change = self.changes.popleft()
            session = self.session
            self.perform(session.roster_changed() if change is None else session.committed(change))
        elif self.work:
            try:
                self.perform(self._do(self.work.popleft()))
            except StorageError as error:
                self.perform(self.session.end(EndCode.STORAGE, error.message))
        elif self.frames:
            self.perform(self.session.receive(self.frames.popleft()))
        else:
            return False
        return True

    def _do(self, work: Apply | Supply | Merge) -> list[Out]:
        replica = self.node.replica
        match work:
            case Apply():
                outcome = self.node.run(replica.apply(work.batch, work.listed))
                return self.session.applied(work.batch, outcome)
            case Supply():
                self.node.run(replica.supply(work.payloads))
                return self.session.supplied()
            case Merge():
                self.node.run(self.node.roster.merge(work.statements))
                return self.session.merged()


class Link:
    """A connection between two nodes."""

    def __init__(self, left: Node, right: Node) -> None:
        self.is_cut = False
        self.ends = (End(left, right), End(right, left))
        self.ends[0].other, self.ends[1].other = self.ends[1], self.ends[0]
        for end in self.ends:
            end.node.ends.append(self)
            end.perform(end.session.start())

    @property
    def ended(self) -> list[Ended]:
        return [end.ended for end in self.ends if end.ended is not None]

    def step(self) -> bool:
        """Do one thing on either side; a side that crashes restarts its node."""
        if self.is_cut:
            return False
        for end in self.ends:
            try:
                if end.step():
                    return True
            except CrashError:
                end.node.restart()
                return True
        if self.ended:
            self.cut()
        return False

    def cut(self) -> None:
        self.is_cut = True
        for end in self.ends:
            if self in end.node.ends:
                end.node.ends.remove(self)
                for unsubscribe in end.unsubscribe:
                    unsubscribe()


def introduce(*nodes: Node) -> None:
    """Let every node know every other."""
    for node in nodes:
        node.roster.add(*(other.statement() for other in nodes))


def settle(*links: Link, limit: int = 20_000) -> None:
    """Run links until nothing is left to do."""
    for _ in range(limit):
        if not [True for link in links if link.step()]:
            return
    raise AssertionError("the sessions never come to rest")


def remove(node: Node, by: Node) -> None:
    """Let one node state that another is removed, with all that it holds of it."""
    head = by.log.heads().get(node.id)
    cutoff, chain = (head.seq, head.chain) if head else (0, None)
    by.roster.add(node.statement(cutoff, chain))


__all__ = [
    "CrashError",
    "End",
    "Fault",
    "Link",
    "Node",
    "Wall",
    "at_once",
    "introduce",
    "remove",
    "settle",
]
