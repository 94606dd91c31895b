from __future__ import annotations

import os

import msgspec
import pytest
from msgspec.structs import replace

from covey.store.api import NodeId
from covey.store.ports import LogChanged
from covey.store.replicate import Ended, Frame, Out, Session
from covey.store.sending import WINDOW
from covey.store.wire import (
    PROTOCOL,
    Ack,
    AskDigests,
    Batch,
    Digests,
    EndCode,
    Fetch,
    Head,
    Hello,
    Message,
    Payloads,
    Roster,
    Vector,
    Verdict,
    decode,
    encode,
    pack,
)
from tests.store.keys import NodeSigner
from tests.store.logs import Log
from tests.store.network import Link, Node, introduce, remove, settle
from tests.store.roster import PlainRoster


def fleet(*names: str) -> list[Node]:
    nodes = [Node(name, relay=name == "r") for name in names]
    introduce(*nodes)
    return nodes


def values(node: Node) -> dict[str, bytes | None]:
    return {key: leaves[0].value for key, leaves in node.replica.folded().items() if leaves}


def sent(out: list[Out]) -> list[Message]:
    return [decode(each.data[8:]) for each in out if isinstance(each, Frame)]


class Peer:
    """A peer that says what a test wants it to say."""

    def __init__(self, node: Node, peer: Node) -> None:
        self.node, self.peer = node, peer
        self.session = Session(node.replica, peer.id)
        (hello,) = sent(self.session.start())
        assert isinstance(hello, Hello)
        self.hello = hello
        self._count = 0

    def say(self, message: Message) -> list[Out]:
        self._count += 1
        return self.session.receive(self._count.to_bytes(8, "big") + encode(message))

    def greet(self, **changed: object) -> list[Out]:
        hello = Hello(
            PROTOCOL,
            "fleet",
            self.peer.id,
            self.node.wall.ms,
            {},
            self.node.roster.digest(),
            self.peer.replica.key_tags(),  # type: ignore[arg-type]
        )
        return self.say(replace(hello, **changed))


def the_end(out: list[Out]) -> Ended:
    assert isinstance(out[-1], Ended), out
    return out[-1]


def test_two_nodes_end_with_what_either_wrote():
    a, b = fleet("a", "b")
    a.replica.write(("ONE", b"1"), ("TWO", b"2"))
    b.replica.write(("THREE", b"3"), ("ONE", None))
    link = Link(a, b)
    settle(link)
    assert not link.ended
    assert values(a) == values(b)
    assert values(a).keys() == {"ONE", "TWO", "THREE"}


def test_later_writes_are_pushed_at_once_and_not_echoed():
    a, b = fleet("a", "b")
    link = Link(a, b)
    settle(link)
    before = [end.session.stats() for end in link.ends]
    a.replica.write(("NAME", b"value"))
    settle(link)
    assert values(b) == {"NAME": b"value"}
    after = [end.session.stats() for end in link.ends]
    assert [
        now.entries_sent - then.entries_sent for now, then in zip(after, before, strict=True)
    ] == [1, 0]


def test_entries_pass_through_a_relay_that_reads_none():
    a, r, b = fleet("a", "r", "b")
    links = Link(a, r), Link(r, b)
    a.replica.write(("NAME", b"value"))
    settle(*links)
    b.replica.write(("NAME", b"newer"))
    settle(*links)
    assert values(a) == values(b) == {"NAME": b"newer"}
    assert values(r) == {}
    assert r.head(a.id) == r.head(b.id) == 1


def test_a_session_resumes_where_the_last_one_was_cut():
    a, b = fleet("a", "b")
    for number in range(30):
        a.replica.write((f"K{number}", b"x"))
    first = Link(a, b)
    while b.head(a.id) == 0:
        first.step()
    first.cut()
    for number in range(5):
        a.replica.write((f"L{number}", b"x"))
    second = Link(a, b)
    settle(second)
    assert second.ends[0].session.stats().entries_sent == 5
    assert len(values(b)) == 35


def test_a_new_member_is_known_before_its_entries_come():
    a, b, c = fleet("a", "b", "c")
    d = Node("d")
    introduce(c, d)
    d.replica.write(("FROM_D", b"1"))
    links = Link(a, b), Link(b, c)
    settle(*links)
    to_d = Link(c, d)
    settle(*links, to_d)
    assert values(a) == values(d) == {"FROM_D": b"1"}


def test_an_unknown_origin_waits_for_its_statement_and_blocks_nothing():
    a, b, c = fleet("a", "b", "c")
    d = Node("d")
    log = Log(d.signer, [b"payload"])
    with a.log.transaction() as writer:
        writer.append(log.entries[0])
        writer.set_head(d.id, log.heads[1])
    a.replica.write(("NAME", b"value"))
    link = Link(a, b)
    settle(link)
    assert values(b) == {"NAME": b"value"}
    stats = link.ends[1].session.stats()
    assert list(stats.refused) == [d.id]
    b.roster.add(d.statement())
    settle(link)
    assert b.head(d.id) == 1
    assert not link.ends[1].session.stats().refused
    assert a.roster.digest() == b.roster.digest() != c.roster.digest()


def test_a_removed_peer_is_told_and_gets_nothing():
    a, b, c = fleet("a", "b", "c")
    a.replica.write(("NAME", b"value"))
    remove(c, by=a)
    link = Link(a, c)
    settle(link)
    assert link.ends[0].ended == Ended(EndCode.REMOVED, "the peer was removed from the fleet")
    assert link.ends[1].ended is not None
    assert link.ends[1].ended.by_peer
    assert link.ends[1].ended.code == EndCode.REMOVED
    assert values(c) == {}
    running = Link(b, c)
    settle(running)
    assert not running.ended
    settle(Link(a, b), running)
    assert [ended.code for ended in running.ended] == [EndCode.REMOVED] * 2


def test_what_a_removed_member_wrote_later_counts_nowhere():
    a, b, c = fleet("a", "b", "c")
    c.replica.write(("NAME", b"before"))
    settle(Link(a, c), Link(b, c))
    c.replica.write(("NAME", b"after"))
    settle(Link(b, c))
    assert values(b) == {"NAME": b"after"}
    remove(c, by=a)
    settle(Link(a, b))
    assert values(a) == values(b) == {"NAME": b"before"}
    assert a.head(c.id) == 1


def test_damage_at_a_relay_is_set_aside_and_healed_by_another_peer():
    a, r, b = fleet("a", "r", "b")
    for number in range(3):
        a.replica.write((f"K{number}", b"x"))
    settle(Link(a, r))
    held = r.log._committed.entries
    held[a.id, 2] = replace(held[a.id, 2], payload=b"rotten")
    through_relay = Link(r, b)
    settle(through_relay)
    assert not through_relay.ended
    assert values(b).keys() == {"K0", "K2"}
    assert [item.seq for item in b.log.quarantined()] == [2]
    assert through_relay.ends[1].session.stats().quarantined == 1
    settle(through_relay, Link(a, b))
    assert values(b).keys() == {"K0", "K1", "K2"}
    assert not b.log.quarantined()


def test_who_asked_in_vain_gets_the_payload_when_it_comes():
    a, r, b = fleet("a", "r", "b")
    a.replica.write(("NAME", b"x"))
    settle(Link(a, r))
    held = r.log._committed.entries
    entry = held[a.id, 1]
    held[a.id, 1] = replace(entry, payload=b"rotten")
    link = Link(r, b)
    settle(link)
    link.cut()
    other = Node("o", relay=True)
    introduce(a, r, b, other)
    settle(Link(b, other))
    assert [item.seq for item in other.log.quarantined()] == [1]
    downstream = Link(b, other)
    settle(downstream)
    settle(downstream, Link(a, b))
    assert not other.log.quarantined()
    assert other.log.read(a.id, 0, 1)[0].payload == entry.payload


def test_a_commit_too_long_for_a_frame_comes_whole_in_one_session():
    a, b = fleet("a", "b")
    a.replica.write(*((f"K{number}", os.urandom(1_000_000)) for number in range(12)))
    link = Link(a, b)
    settle(link)
    assert not link.ended
    assert values(b) == values(a)
    assert len(values(b)) == 12
    assert not b.log.quarantined()


def test_a_second_source_is_told_what_came_from_the_first():
    a, b, c = fleet("a", "b", "c")
    peer = Peer(c, b)
    peer.greet(heads={a.id: Head(9, bytes(32))})
    assert peer.session.stats().ahead == 9
    assert sent(peer.session.committed(LogChanged({a.id: 5}))) == [Vector({a.id: 5})]
    assert sent(peer.session.committed(LogChanged({a.id: 5}))) == []
    assert sent(peer.session.committed(LogChanged({a.id: 9}))) == []
    assert peer.session.stats().ahead == 0


def sent_frames(link: Link) -> list[Message]:
    return [decode(frame[8:]) for end in link.ends for frame in end.frames]


def test_two_pasts_of_one_origin_are_reported():
    a, b, c = fleet("a", "b", "c")
    c.replica.write(("NAME", b"one"))
    backup = c.log.survivors()
    c.replica.write(("NAME", b"two"))
    settle(Link(a, c))
    c.log = backup
    c.restart()
    c.replica.write(("NAME", b"another two"))
    settle(Link(b, c))
    link = Link(a, b)
    settle(link)
    for end in link.ends:
        stats = end.session.stats()
        assert "restored" in stats.refused[c.id]
    b.replica.write(("OTHER", b"goes on"))
    settle(link)
    assert values(a)["OTHER"] == b"goes on"


def test_a_log_that_left_the_held_past_is_refused_once_and_blocks_nothing():
    a, b, c = fleet("a", "b", "c")
    c.replica.write(("NAME", b"one"))
    backup = c.log.survivors()
    c.replica.write(("NAME", b"two"))
    settle(Link(a, c))
    c.log = backup
    c.restart()
    for number in range(3):
        c.replica.write(("NAME", b"%d" % number))
    c.replica.write(("OTHER", b"x"))
    settle(Link(b, c))
    b.replica.write(("FINE", b"y"))
    link = Link(a, b)
    settle(link)
    assert "does not agree" in link.ends[0].session.stats().refused[c.id]
    assert values(a)["FINE"] == b"y"
    assert a.head(c.id) == 2


@pytest.mark.parametrize(
    "changed, code",
    [
        ({"protocol": 2}, EndCode.VERSION),
        ({"fleet": "another"}, EndCode.OTHER_FLEET),
        ({"node": "f" * 32}, EndCode.OTHER_NODE),
        ({"tags": {b"generation-one..": b"another"}}, EndCode.WRONG_KEY),
    ],
)
def test_a_peer_that_does_not_fit_is_told_why(changed: dict, code: EndCode):
    a, b = fleet("a", "b")
    out = Peer(a, b).greet(**changed)
    goodbye = sent(out)[-1]
    assert (the_end(out).code, getattr(goodbye, "code", None)) == (code, code)
    assert the_end(out).lasting


def test_a_greeting_in_another_version_s_form_is_told_from_garbage():
    a, b = fleet("a", "b")
    count = (1).to_bytes(8, "big")
    newer = count + msgspec.msgpack.encode([1, 2, {"of": "another form"}])
    assert the_end(Peer(a, b).session.receive(newer)).code == EndCode.VERSION
    garbage = count + msgspec.msgpack.encode({"no": "message"})
    assert the_end(Peer(a, b).session.receive(garbage)).code == EndCode.PROTOCOL


@pytest.mark.parametrize("code", list(EndCode))
def test_every_end_that_lasts_comes_with_a_hint(code: EndCode):
    ended = Ended(code, "")
    assert ended.hint or not ended.lasting


def test_a_stranger_is_turned_away_after_the_rosters_were_exchanged():
    a, b = fleet("a", "b")
    a.replica.write(("NAME", b"x"))
    stranger = Node("s")
    stranger.roster = PlainRoster()
    stranger.restart()
    link = Link(a, stranger)
    settle(link)
    assert {ended.code for ended in link.ended} == {EndCode.STRANGER}
    assert stranger.head(a.id) == b.head(a.id) == 0


def test_a_node_does_not_talk_to_itself():
    (a,) = fleet("a")
    assert the_end(Peer(a, a).greet()).code == EndCode.OTHER_NODE


def test_the_peer_s_clock_is_compared():
    a, b = fleet("a", "b")
    b.wall.ms += 90_000
    link = Link(a, b)
    settle(link)
    assert [end.session.stats().clock_skew_ms for end in link.ends] == [90_000, -90_000]


def test_generations_that_only_one_side_holds_do_not_matter():
    a, b, r = fleet("a", "b", "r")
    b.keys.keys[b"generation-two.."] = bytes(range(32))
    a.replica.write(("NAME", b"x"))
    links = Link(a, b), Link(b, r)
    settle(*links)
    assert not any(link.ended for link in links)
    b.replica.write(("NAME", b"y"))
    settle(*links)
    assert values(a) == {"NAME": b"x"}
    a.keys.keys[b"generation-two.."] = bytes(range(32))
    a.replica.refold()
    assert values(a) == {"NAME": b"y"}


UNASKED = [
    Ack(NodeId("f" * 32), 1, Verdict.OK),
    Digests(NodeId("f" * 32), 0, b"", b""),
    Payloads(NodeId("f" * 32), [1], pack([]), [], answer=True),
    Payloads(NodeId("f" * 32), [], pack([]), [], answer=True),
    Batch(NodeId("f" * 32), 0, pack([]), b""),
    Hello(PROTOCOL, "fleet", "f" * 32, 0, {}, b"", {}),
]


@pytest.mark.parametrize("message", UNASKED, ids=lambda message: type(message).__name__)
def test_what_no_honest_peer_sends_ends_the_session(message: Message):
    a, b = fleet("a", "b")
    peer = Peer(a, b)
    peer.greet()
    assert the_end(peer.say(message)).code == EndCode.PROTOCOL
    assert not the_end([Ended(EndCode.PROTOCOL, "")]).lasting


def test_a_message_before_the_greeting_ends_the_session():
    a, b = fleet("a", "b")
    assert the_end(Peer(a, b).say(Vector({}))).code == EndCode.PROTOCOL


def test_more_batches_than_the_window_end_the_session():
    a, b = fleet("a", "b")
    b.replica.write(("NAME", b"x"))
    entry = b.log.read(b.id, 0, 1)
    peer = Peer(a, b)
    peer.greet()
    for _ in range(WINDOW):
        out = peer.say(Batch(b.id, 0, pack(entry), entry[0].signature))
        assert not any(isinstance(each, Ended) for each in out)
    out = peer.say(Batch(b.id, 0, pack(entry), entry[0].signature))
    assert the_end(out).code == EndCode.PROTOCOL


@pytest.mark.parametrize("spoil", ["lost", "doubled", "swapped", "cut"])
def test_frames_out_of_order_end_the_session(spoil: str):
    a, b = fleet("a", "b")
    a.replica.write(("NAME", b"x"))
    link = Link(a, b)
    settle(link)
    a.replica.write(("NAME", b"y"))
    link.ends[0].step()
    a.replica.write(("NAME", b"z"))
    link.ends[0].step()
    frames = link.ends[1].frames
    assert len(frames) == 2
    match spoil:
        case "lost":
            frames.popleft()
        case "doubled":
            frames.appendleft(frames[0])
        case "swapped":
            frames.rotate(1)
        case _:
            frames[0] = frames[0][:-1]
    settle(link)
    assert link.ends[1].ended is not None
    assert link.ends[1].ended.code == EndCode.PROTOCOL
    again = Link(a, b)
    settle(again)
    assert values(b) == {"NAME": b"z"}


def test_after_the_end_nothing_is_said_or_taken():
    a, b = fleet("a", "b")
    peer = Peer(a, b)
    peer.greet()
    assert the_end(peer.session.end(EndCode.STOPPING, "bye")).code == EndCode.STOPPING
    assert peer.session.end(EndCode.STOPPING, "bye") == []
    assert peer.say(Fetch(a.id, [1])) == []
    a.replica.write(("NAME", b"x"))
    assert peer.session.roster_changed() == []
    assert not peer.session.stats().ready


def test_a_repair_question_is_answered_from_what_is_held():
    a, b = fleet("a", "b")
    a.replica.write(("ONE", b"1"), ("TWO", b"2"))
    peer = Peer(a, b)
    peer.greet()
    (digests,) = sent(peer.say(AskDigests(a.id, 0, 2)))
    assert isinstance(digests, Digests)
    assert len(digests.digests) == 64
    (payloads,) = sent(peer.say(Fetch(a.id, [2, 3])))
    assert isinstance(payloads, Payloads)
    assert (payloads.seqs, payloads.absent) == ([2], [3])


def test_a_roster_changed_in_a_session_is_told_once():
    a, b = fleet("a", "b")
    link = Link(a, b)
    settle(link)
    a.roster.add(Node("c").statement())
    frames = 0
    for end in (*link.ends, *link.ends):
        while end.step():
            frames += sum(isinstance(message, Roster) for message in sent_frames(link))
    assert frames == 1
    assert a.roster.digest() == b.roster.digest()


def test_a_roster_that_changes_before_the_peer_s_is_merged_decides_nothing_yet():
    a, b = Node("a"), Node("b")
    peer = Peer(a, b)
    theirs = PlainRoster([b.statement()])
    peer.greet(roster=theirs.digest())
    assert len(peer.say(Roster(theirs.digest(), theirs.export()))) == 1
    a.roster.add(Node("c").statement())
    assert peer.session.roster_changed() == []
    a.roster.add(b.statement())
    (roster,) = sent(peer.session.merged())
    assert isinstance(roster, Roster)
    assert peer.session.stats().ready


def test_a_signer_has_one_identity():
    assert NodeSigner("a").node_id == NodeSigner("a").node_id != NodeSigner("b").node_id
