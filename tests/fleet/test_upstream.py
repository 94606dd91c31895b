"""LANs settle on one server and everyone returns to the cloud, whatever happens in which order."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from covey.fleet.election import Candidate, Mode, elect
from covey.fleet.upstream import (
    GRACE_S,
    LISTEN_S,
    STEADY_S,
    CloudSeen,
    Elapsed,
    Kind,
    LanSeen,
    Policy,
    Upstream,
    UpstreamMachine,
)
from covey.store.api import NodeId

CLOUD = NodeId("c" * 32)
ME, LOWER, HIGHER = NodeId("5" * 32), NodeId("1" * 32), NodeId("9" * 32)
SETTLED_S = LISTEN_S + STEADY_S + GRACE_S + 1.0
DETECTED_S = 0.5
"""How late a node of the simulation may notice what changed."""

modes = st.sampled_from(Mode)
node_ids = st.text("0123456789abcdef", min_size=32, max_size=32).map(NodeId)


def machine(mode: Mode = Mode.AUTO, *, cloud: bool = True, lan: bool = True) -> UpstreamMachine:
    return UpstreamMachine(Policy(ME, mode, cloud, lan), 0.0)


def lan(*nodes: NodeId, mode: Mode = Mode.AUTO) -> LanSeen:
    return LanSeen(frozenset(Candidate(node, mode) for node in nodes))


def test_the_cloud_comes_first() -> None:
    made = machine()
    made.handle(lan(LOWER), 0.1)
    assert made.handle(CloudSeen(CLOUD), 0.2) == Upstream(Kind.CLOUD, CLOUD)


def test_without_a_cloud_the_lower_machine_serves_the_lan() -> None:
    made = machine()
    assert made.handle(lan(HIGHER), 0.1).kind is Kind.ALONE
    assert made.deadline == LISTEN_S
    assert made.handle(Elapsed(), LISTEN_S) == Upstream(Kind.SERVING, ME)
    assert made.handle(lan(HIGHER, LOWER), 10.0) == Upstream(Kind.LAN, LOWER)


def test_a_cloud_that_is_back_in_time_was_never_lost() -> None:
    made = machine()
    made.handle(CloudSeen(CLOUD), 1.0)
    assert made.handle(CloudSeen(None), 2.0).kind is Kind.CLOUD
    assert made.deadline == 2.0 + GRACE_S
    assert made.handle(CloudSeen(CLOUD), 2.0 + GRACE_S / 2).kind is Kind.CLOUD


def test_the_lan_takes_over_at_once_after_the_grace_and_the_cloud_must_hold_to_return() -> None:
    made = machine()
    made.handle(lan(LOWER), 0.0)
    made.handle(CloudSeen(CLOUD), 1.0)
    made.handle(CloudSeen(None), 60.0)
    assert made.handle(Elapsed(), 60.0 + GRACE_S) == Upstream(Kind.LAN, LOWER)
    assert made.handle(lan(), 61.0) == Upstream(Kind.SERVING, ME)
    assert made.handle(CloudSeen(CLOUD), 70.0).kind is Kind.SERVING
    assert made.deadline == 70.0 + STEADY_S
    assert made.handle(Elapsed(), 70.0 + STEADY_S) == Upstream(Kind.CLOUD, CLOUD)


@pytest.mark.parametrize(
    "mode, uses_lan, expected",
    [
        (Mode.AUTO, True, Kind.SERVING),
        (Mode.SERVER_PREFERRED, True, Kind.SERVING),
        (Mode.CLIENT_ONLY, True, Kind.ALONE),
        (Mode.AUTO, False, Kind.ALONE),
    ],
)
def test_a_machine_by_itself(mode: Mode, uses_lan: bool, expected: Kind) -> None:
    made = machine(mode, cloud=False, lan=uses_lan)
    assert made.handle(Elapsed(), 100.0).kind is expected


@given(st.frozensets(st.builds(Candidate, node_ids, modes), max_size=8))
def test_the_election_depends_on_nothing_but_who_is_there(found: frozenset[Candidate]) -> None:
    chosen = elect(sorted(found, key=lambda item: item.node_id))
    assert chosen == elect(sorted(found, key=lambda item: item.node_id, reverse=True))
    able = [item for item in found if item.mode is not Mode.CLIENT_ONLY]
    assert (chosen is None) == (not able)
    preferred = {item.node_id for item in able if item.mode is Mode.SERVER_PREFERRED}
    assert chosen is None or chosen in (preferred or {item.node_id for item in able})


class Lans(RuleBasedStateMachine):
    """Machines on LANs that are cut, joined and split, with a cloud that comes and goes."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.nodes: dict[NodeId, UpstreamMachine] = {}
        self.modes: dict[NodeId, Mode] = {}
        self.place: dict[NodeId, int] = {}
        self.linked = {0, 1, 2}
        self.cloud_up = True
        self.joined: set[int] = set()
        self.late: list[tuple[float, NodeId]] = []
        self.settled = False

    @initialize(found=st.lists(st.tuples(node_ids, modes, st.integers(0, 2)), max_size=4))
    def begin(self, found: list[tuple[NodeId, Mode, int]]) -> None:
        for node, mode, place in found:
            self.start(node, mode, place)

    @rule(node=node_ids, mode=modes, place=st.integers(0, 2))
    def start(self, node: NodeId, mode: Mode, place: int) -> None:
        if len(self.nodes) >= 7 or node == CLOUD:
            return
        self.nodes[node] = UpstreamMachine(Policy(node, mode, cloud=True, lan=True), self.now)
        self.modes[node], self.place[node] = mode, place
        self.changed()

    @precondition(lambda self: self.nodes)
    @rule(data=st.data())
    def stop(self, data: st.DataObject) -> None:
        node = data.draw(st.sampled_from(sorted(self.nodes)))
        del self.nodes[node], self.modes[node], self.place[node]
        self.changed()

    @precondition(lambda self: self.nodes)
    @rule(data=st.data(), place=st.integers(0, 2))
    def move(self, data: st.DataObject, place: int) -> None:
        self.place[data.draw(st.sampled_from(sorted(self.nodes)))] = place
        self.changed()

    @rule(up=st.booleans())
    def switch_the_cloud(self, up: bool) -> None:
        self.cloud_up = up
        self.changed()

    @rule(place=st.integers(0, 2))
    def cut_or_heal_a_lan(self, place: int) -> None:
        self.linked ^= {place}
        self.changed()

    @rule(joined=st.sampled_from([set(), {0, 1}, {0, 1, 2}]))
    def join_or_split_lans(self, joined: set[int]) -> None:
        self.joined = joined
        self.changed()

    @rule(seconds=st.floats(0.05, 2.0), delays=st.lists(st.floats(0, DETECTED_S), max_size=7))
    def pass_some_time(self, seconds: float, delays: list[float]) -> None:
        """Let each machine notice at a moment of its own."""
        for node, delay in zip(sorted(self.nodes), delays, strict=False):
            self.late.append((self.now + delay, node))
        self.run_until(self.now + seconds)

    @rule()
    def settle(self) -> None:
        self.run_until(self.now + DETECTED_S)
        for node in self.nodes:
            self.notice(node)
        self.run_until(self.now + SETTLED_S)
        self.settled = True

    @invariant()
    def everyone_agrees_once_settled(self) -> None:
        if not self.settled:
            return
        for node, made in self.nodes.items():
            server = elect(self.around(node) | {Candidate(node, self.modes[node])})
            if self.sees_cloud(node):
                assert made.upstream == Upstream(Kind.CLOUD, CLOUD)
            elif server is None:
                assert made.upstream == Upstream(Kind.ALONE)
            elif server == node:
                assert made.upstream == Upstream(Kind.SERVING, node)
            else:
                assert made.upstream == Upstream(Kind.LAN, server)
        for place in range(3):
            here = [n for n in self.nodes if self.place[n] == place and not self.sees_cloud(n)]
            named = {self.nodes[n].upstream.node_id for n in here}
            assert len(named) <= 1

    def changed(self) -> None:
        self.settled = False

    def run_until(self, end: float) -> None:
        while True:
            deadlines = [(m.deadline, n) for n, m in self.nodes.items() if m.deadline is not None]
            due = min([*deadlines, *self.late], default=(end, CLOUD))
            if due[0] >= end:
                break
            self.now = max(self.now, due[0])
            if due in self.late:
                self.late.remove(due)
                self.notice(due[1])
            else:
                self.nodes[due[1]].handle(Elapsed(), self.now)
        self.now = end

    def notice(self, node: NodeId) -> None:
        made = self.nodes.get(node)
        if made is not None:
            made.handle(LanSeen(self.around(node)), self.now)
            made.handle(CloudSeen(CLOUD if self.sees_cloud(node) else None), self.now)

    def sees_cloud(self, node: NodeId) -> bool:
        return self.cloud_up and self.place[node] in self.linked

    def around(self, node: NodeId) -> frozenset[Candidate]:
        return frozenset(
            Candidate(other, self.modes[other])
            for other in self.nodes
            if other != node and self.together(self.place[other], self.place[node])
        )

    def together(self, one: int, other: int) -> bool:
        return one == other or {one, other} <= self.joined


TestLans = Lans.TestCase
TestLans.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
