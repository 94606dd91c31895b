"""Replicas under loss, reordering, duplication, tampering, partitions, crashes and odd clocks."""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from itertools import combinations

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)
from msgspec.structs import replace

from covey.errors import StorageError
from covey.store.entry import chain_next, chain_start, entry_is_intact
from tests.store.network import CrashError, Fault, Link, Node, introduce, remove, settle

MARK = b"plaintext-"
FULL = ("a", "b", "c")
REMOVABLE = "c"

nodes = st.sampled_from((*FULL, "r"))
full_nodes = st.sampled_from(FULL)
PAIRS = sorted(combinations(sorted((*FULL, "r")), 2))
keys = st.sampled_from(["K0", "K1", "K2"])
texts = st.none() | st.binary(max_size=6)


class Fleet(RuleBasedStateMachine):
    """Three members and a relay; each rule is one thing that can happen to them."""

    refusals: tuple[type[Exception], ...] = (StorageError,)

    def __init__(self) -> None:
        super().__init__()
        self.nodes = {name: self.new_node(name) for name in (*FULL, "r")}
        self.links: dict[tuple[str, str], Link] = {}
        self.acknowledged: dict[tuple[str, int], bytes] = {}
        self.removed_by: str | None = None
        self.rotten = False
        self.disks_lost = False

    def new_node(self, name: str) -> Node:
        return Node(name, relay=name == "r")

    @initialize(acquainted=st.booleans())
    def begin(self, acquainted: bool) -> None:
        introduce(*(self.nodes.values() if acquainted else (self.nodes["a"], self.nodes["r"])))
        introduce(self.nodes["b"], self.nodes["r"])
        introduce(self.nodes["c"], self.nodes["b"])

    @rule(name=full_nodes, changes=st.lists(st.tuples(keys, texts), min_size=1, max_size=4))
    def write(self, name: str, changes: list[tuple[str, bytes | None]]) -> None:
        node = self.nodes[name]
        marked = [(key, None if text is None else MARK + text) for key, text in changes]
        try:
            seqs = node.write(*marked)
        except CrashError:
            node.restart()
        except self.refusals:
            pass
        else:
            written = (node.log.read(node.id, seq - 1, 1)[0] for seq in seqs)
            self.acknowledged |= {(name, entry.seq): entry.digest for entry in written}
            if node.roster.cutoff(node.id) is None:
                current = node.folded()
                assert {key: current[key][0].value for key, _ in marked} == dict(marked)

    @precondition(lambda self: len(self._alive()) < len(PAIRS))
    @rule(data=st.data())
    def connect(self, data: st.DataObject) -> None:
        left, right = data.draw(st.sampled_from([p for p in PAIRS if p not in self._alive()]))
        self.links[left, right] = Link(self.nodes[left], self.nodes[right])

    @precondition(lambda self: self._alive())
    @rule(data=st.data(), steps=st.integers(1, 30))
    def run_link(self, data: st.DataObject, steps: int) -> None:
        link = self._some_link(data)
        for _ in range(steps):
            link.step()

    @precondition(lambda self: self._alive())
    @rule()
    def run_all(self) -> None:
        settle(*self.links.values())

    @precondition(lambda self: self._alive())
    @rule(data=st.data())
    def cut(self, data: st.DataObject) -> None:
        self._some_link(data).cut()

    @rule(name=nodes)
    def crash(self, name: str) -> None:
        self.nodes[name].restart()

    @rule(name=nodes, at=st.integers(1, 4), kill=st.booleans())
    def fail_soon(self, name: str, at: int, kill: bool) -> None:
        error = CrashError() if kill else StorageError("The disk is full.")
        self.nodes[name].log.before_commit = Fault(at, error)

    @rule(name=nodes, minutes=st.integers(-90, 90))
    def jump_clock(self, name: str, minutes: int) -> None:
        self.nodes[name].wall.ms += minutes * 60_000

    @precondition(lambda self: self._frames())
    @rule(data=st.data(), what=st.sampled_from(["lose", "double", "swap", "flip"]))
    def spoil_frame(self, data: st.DataObject, what: str) -> None:
        frames = data.draw(st.sampled_from(self._frames()))
        match what:
            case "lose":
                frames.popleft()
            case "double":
                frames.appendleft(frames[0])
            case "swap":
                frames.rotate(1)
            case _:
                frame = bytearray(frames[0])
                at = data.draw(st.integers(0, len(frame) - 1))
                frame[at] ^= data.draw(st.integers(1, 255))
                frames[0] = bytes(frame)

    @precondition(lambda self: self._at_the_relay())
    @rule(data=st.data())
    def rot_at_the_relay(self, data: st.DataObject) -> None:
        place = data.draw(st.sampled_from(self._at_the_relay()))
        held = self.nodes["r"].log._committed.entries
        held[place] = replace(held[place], payload=b"rotten")
        self.rotten = True

    @precondition(lambda self: self.removed_by is None)
    @rule(by=st.sampled_from(["a", "b"]))
    def remove_a_member(self, by: str) -> None:
        try:
            remove(self.nodes[REMOVABLE], self.nodes[by])
        except CrashError:
            self.nodes[by].restart()
        self.removed_by = by

    def teardown(self) -> None:
        try:
            self._check()
        finally:
            for node in self.nodes.values():
                node.close()

    def _check(self) -> None:
        remaining = self._heal()
        self._logs_agree(remaining)
        self._nothing_acknowledged_is_lost(remaining)
        self._relay_knows_nothing()
        folds = [node.folded() for node in remaining if not node.relay]
        assert folds == [node.oracle() for node in remaining if not node.relay]
        assert all(fold == folds[0] for fold in folds)

    def _heal(self) -> list[Node]:
        for link in self.links.values():
            link.cut()
        present = max(node.wall.ms for node in self.nodes.values())
        clocks = [entry.hlc >> 16 for node in self.nodes.values() for entry in node.entries()]
        for node in self.nodes.values():
            node.log.before_commit = int
            node.wall.ms = max(present, *clocks, 0) + 1
        remaining = [
            node
            for name, node in self.nodes.items()
            if self.removed_by is None or name != REMOVABLE
        ]
        self._reconnect(remaining)
        for node in remaining:
            node.keep_up()
        return remaining

    def _reconnect(self, remaining: list[Node]) -> None:
        # Only the relay's copies rot: those who can reach each other heal from each other.
        hub = self.nodes["r"]
        pairs = [pair for pair in combinations(remaining, 2) if self.rotten or hub in pair]
        pairs = [pair for pair in pairs if REMOVABLE not in {node.name for node in pair}]
        if self.removed_by is None:
            pairs += [(self.nodes["b"], self.nodes[REMOVABLE])]
        for node in remaining:
            node.catch_up()
        links = [Link(*pair) for pair in pairs]
        settle(*links)
        for node in remaining:
            node.keep_up()
            if not node.relay:
                with suppress(*self.refusals):
                    node.write(("LAST " + node.name, MARK))
        settle(*links)
        for link in links:
            assert not link.ended, link.ended
            for end in link.ends:
                stats = end.session.stats()
                assert (stats.behind, stats.ahead) == (0, 0)
                assert not stats.refused or self.removed_by
            link.cut()

    def _logs_agree(self, remaining: list[Node]) -> None:
        roster = remaining[0].roster
        for node in self.nodes.values():
            cutoff = roster.cutoff(node.id)
            ends = {
                other.head(node.id) if cutoff is None else min(other.head(node.id), cutoff)
                for other in remaining
            }
            if cutoff is None:
                assert ends == {node.head(node.id)}
            else:
                assert ends == {cutoff} or (self.disks_lost and len(ends) == 1)
        for other in remaining:
            for origin, head in other.log.heads().items():
                chain = chain_start(origin)
                for entry in other.log.read(origin, 0, 1 << 40):
                    chain = chain_next(chain, entry.digest)
                    assert other.relay or entry_is_intact(entry)
                assert chain == head.chain

    def _nothing_acknowledged_is_lost(self, remaining: list[Node]) -> None:
        if self.disks_lost:
            # What no other node had yet is gone with the disk.
            held = {each.digest for node in remaining for each in node.entries()}
            kept = {at: digest for at, digest in self.acknowledged.items() if digest in held}
            self.acknowledged = kept
        # What only a lost disk, and a relay where it rotted, ever held is gone.
        lossy = self.rotten and self.disks_lost
        for (name, seq), digest in self.acknowledged.items():
            origin = self.nodes[name].id
            cutoff = remaining[0].roster.cutoff(origin)
            if cutoff is not None and seq > cutoff:
                continue
            for node in remaining:
                (entry,) = node.log.read(origin, seq - 1, 1)
                assert entry.digest == digest
                assert entry.payload is not None or cutoff is not None or lossy

    def _relay_knows_nothing(self) -> None:
        for entry in self.nodes["r"].entries():
            assert MARK not in repr(entry).encode()
        assert self.nodes["r"].folded() == {}

    def _alive(self) -> list[tuple[str, str]]:
        return [pair for pair in PAIRS if pair in self.links and not self.links[pair].is_cut]

    def _some_link(self, data: st.DataObject) -> Link:
        return self.links[data.draw(st.sampled_from(self._alive()))]

    def _frames(self) -> list[deque[bytes]]:
        ends = (end for pair in self._alive() for end in self.links[pair].ends)
        return [end.frames for end in ends if end.frames]

    def _at_the_relay(self) -> list[tuple[str, int]]:
        held = self.nodes["r"].log._committed.entries
        return sorted(place for place, entry in held.items() if entry.payload is not None)


def test_all_replicas_converge_and_lose_nothing():
    run_state_machine_as_test(
        Fleet,
        settings=settings(
            max_examples=150,
            stateful_step_count=50,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            report_multiple_bugs=False,
        ),
    )
