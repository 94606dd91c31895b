from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from covey.store.api import NodeId
from covey.store.entry import MAX_PAYLOAD_BYTES
from covey.store.ingest import Accepted, verify
from covey.store.sending import BATCH_BYTES, BATCH_ENTRIES, WINDOW, Sending, collect
from covey.store.wire import (
    MAX_FRAME_BYTES,
    MAX_RUN,
    Ack,
    AskDigests,
    Batch,
    Fetch,
    Verdict,
    encode,
)
from tests.store.keys import NodeSigner
from tests.store.logs import Log
from tests.store.roster import PlainRoster, Statement

SIGNER = NodeSigner("a")
ME = SIGNER.node_id
KEY = SIGNER.public_key.public_bytes_raw()
MEMBER = PlainRoster([Statement(ME, KEY)])


def nothing(origin: NodeId) -> tuple[int, ...]:
    return ()


def sending(log: Log, roster: PlainRoster = MEMBER) -> Sending:
    return Sending(log.read, roster, {log.origin: len(log.entries)})


def drain(flow: Sending) -> list[Batch]:
    batches = []
    while (batch := flow.next_batch(nothing)) is not None:
        batches.append(batch)
    return batches


def ack(seq: int, verdict: Verdict = Verdict.OK) -> Ack:
    return Ack(ME, seq, verdict)


@given(
    st.integers(1, 40).flatmap(
        lambda count: st.tuples(
            st.just(count), st.sets(st.integers(1, count)), st.integers(0, count)
        )
    )
)
@settings(max_examples=60)
def test_a_batch_ends_in_the_last_signed_head_and_verifies(case: tuple[int, set[int], int]):
    count, signed, after = case
    log = Log(SIGNER, [b"payload"] * count, signed=signed)
    batch = collect(log.read, ME, after, count, nothing)
    ends = [seq for seq in signed if seq > after]
    if not ends:
        assert batch is None
    else:
        assert batch is not None
        assert (batch.after, batch.last) == (after, max(ends))
        assert isinstance(verify(batch, log.heads[after], MEMBER), Accepted)


def test_a_long_log_goes_in_bounded_batches_over_few_reads():
    every = range(256, 5001, 8)
    log = Log(SIGNER, [b"x" * 200] * 5000, signed=[*every, 5000])
    after, batches = 0, []
    while (batch := collect(log.read, ME, after, 5000, nothing)) is not None:
        batches.append(batch)
        after = batch.last
    assert after == 5000
    assert all(len(batch.run.payloads) <= BATCH_ENTRIES for batch in batches)
    assert len(batches) == 5
    assert log.reads <= 4 * len(batches)


def test_large_payloads_make_short_batches():
    log = Log(SIGNER, [bytes(300_000)] * 12, signed=range(1, 13))
    batch = collect(log.read, ME, 0, 12, nothing)
    assert batch is not None
    assert batch.last == BATCH_BYTES // 300_000


def test_one_entry_is_read_as_one():
    log = Log(SIGNER, [b"x"] * 5000, signed=[4999, 5000])
    batch = collect(log.read, ME, 4999, 5000, nothing)
    assert batch is not None
    assert (batch.after, batch.last, log.reads) == (4999, 5000, 1)


def test_a_run_too_long_for_a_frame_leaves_later_payloads_to_be_fetched():
    log = Log(SIGNER, [bytes([seq]) * MAX_PAYLOAD_BYTES for seq in range(12)])
    batch = collect(log.read, ME, 0, 12, nothing)
    assert batch is not None
    assert len(encode(batch)) < MAX_FRAME_BYTES
    outcome = verify(batch, None, MEMBER)
    assert isinstance(outcome, Accepted)
    assert outcome.missing == tuple(range(5, 13))


def test_an_oversized_payload_goes_as_a_stub():
    log = Log(SIGNER, [bytes(MAX_PAYLOAD_BYTES + 1), b"x"])
    batch = collect(log.read, ME, 0, 2, nothing)
    assert batch is not None
    assert [payload is None for payload in batch.run.payloads] == [True, False]


def test_a_run_without_a_signed_head_is_not_sent():
    log = Log(SIGNER, [b""] * (MAX_RUN + 2), signed=[MAX_RUN + 2])
    assert collect(log.read, ME, 0, MAX_RUN + 2, nothing) is None
    assert collect(log.read, ME, 5, MAX_RUN + 2, nothing) is not None
    flow = sending(log)
    assert drain(flow) == []
    reads = log.reads
    assert drain(flow) == []
    assert log.reads == reads


def test_stubs_missed_here_are_marked_and_compacted_ones_are_not():
    log = Log(SIGNER, [b"x"] * 4)
    log.alter(2, payload=None)
    log.alter(3, payload=None)
    batch = collect(log.read, ME, 0, 4, lambda origin: [3] if origin == ME else [])
    assert batch is not None
    assert batch.run.absent == [2]
    assert set(batch.run.digests) == {1, 2}


def test_no_more_than_the_window_is_under_way():
    log = Log(SIGNER, [b"x"] * 20, signed=range(1, 21))
    flow = Sending(log.read, MEMBER, {ME: 1})
    sent = drain(flow)
    for head in range(2, 21):
        flow.grew({ME: head})
        sent += drain(flow)
    assert [batch.last for batch in sent] == [1, 2, 3, 4]
    assert len(sent) == WINDOW
    assert flow.acknowledged(ack(1))
    assert [(batch.after, batch.last) for batch in drain(flow)] == [(4, 20)]


def test_an_acknowledgement_of_nothing_is_told():
    assert not sending(Log(SIGNER, [b"x"])).acknowledged(ack(1))


def test_what_the_peer_holds_is_not_sent():
    log = Log(SIGNER, [b"x"] * 9, signed=range(1, 10))
    flow = sending(log)
    flow.peer_takes({ME: 9})
    assert drain(flow) == []
    assert flow.behind() == 0
    flow = sending(log)
    flow.peer_takes({ME: 4})
    assert flow.behind() == 5
    assert [(batch.after, batch.last) for batch in drain(flow)] == [(4, 9)]


def test_what_came_from_the_peer_is_not_sent_back():
    log = Log(SIGNER, [b"x"] * 9, signed=range(1, 10))
    flow = Sending(log.read, MEMBER, {})
    flow.peer_holds(ME, 9)
    assert flow.ahead() == 9
    flow.grew({ME: 9})
    assert drain(flow) == []
    assert flow.ahead() == 0


def test_a_refused_origin_waits_until_the_peer_takes_it_again():
    for verdict in (Verdict.UNKNOWN, Verdict.REMOVED, Verdict.REJECTED):
        flow = sending(Log(SIGNER, [b"x"] * 3))
        assert len(drain(flow)) == 1
        flow.acknowledged(ack(0, verdict))
        flow.grew({ME: 3})
        flow.peer_holds(ME, 0)
        assert drain(flow) == []
        flow.peer_takes({ME: 1})
        assert [(batch.after, batch.last) for batch in drain(flow)] == [(1, 3)]


def test_a_gap_is_sent_again_once_and_not_for_ever():
    log = Log(SIGNER, [b"x"] * 9, signed=range(1, 10))
    flow = sending(log)
    flow.peer_takes({ME: 6})
    assert [batch.after for batch in drain(flow)] == [6]
    flow.acknowledged(ack(2, Verdict.GAP))
    assert [batch.after for batch in drain(flow)] == [2]
    flow.acknowledged(ack(2, Verdict.GAP))
    assert drain(flow) == []
    flow.peer_takes({ME: 3})
    assert len(drain(flow)) == 1


def test_a_gap_waits_for_what_is_under_way():
    log = Log(SIGNER, [b"x"] * 9, signed=range(1, 10))
    flow = Sending(log.read, MEMBER, {ME: 7})
    flow.peer_takes({ME: 6})
    drain(flow)
    flow.grew({ME: 8})
    drain(flow)
    flow.acknowledged(ack(2, Verdict.GAP))
    assert drain(flow) == []
    flow.acknowledged(ack(2, Verdict.GAP))
    assert [(batch.after, batch.last) for batch in drain(flow)] == [(2, 8)]


def test_one_origin_never_blocks_another():
    logs = {signer.node_id: Log(signer, [b"x"] * 2000, signed=range(1, 2001))
            for signer in (NodeSigner("a"), NodeSigner("b"))}  # fmt: skip
    first, second = logs
    flow = Sending(
        lambda origin, after, limit: logs[origin].read(origin, after, limit),
        MEMBER,
        dict.fromkeys(logs, 2000),
    )
    assert {batch.origin for batch in drain(flow)} == set(logs)
    for _ in range(2):
        flow.acknowledged(Ack(first, 0, Verdict.REJECTED))
        flow.acknowledged(Ack(second, 2000, Verdict.OK))
    flow.grew({second: 2000})
    assert drain(flow) == []


def test_a_removed_origin_is_sent_up_to_its_cutoff():
    log = Log(SIGNER, [b"x"] * 9, signed=[2, 9])
    chain = log.heads[5].chain
    vouched = sending(log, PlainRoster([Statement(ME, KEY, 5, chain)]))
    assert [batch.last for batch in drain(vouched)] == [5]
    assert vouched.behind() == 5
    unvouched = sending(log, PlainRoster([Statement(ME, KEY, 5)]))
    assert [batch.last for batch in drain(unvouched)] == [2]


def test_digests_of_a_range_end_with_its_signature():
    log = Log(SIGNER, [b"x"] * 9, signed=[4, 9])
    answer = sending(log).digests(AskDigests(ME, 1, 4))
    assert answer.digests == b"".join(entry.digest for entry in log.entries[1:4])
    assert answer.signature == log.entries[3].signature
    assert sending(log).digests(AskDigests(ME, 9, 99)).digests == b""
    assert sending(log).digests(AskDigests(NodeId("f" * 32), 0, 9)).digests == b""


def test_payloads_asked_for_come_with_what_is_absent():
    log = Log(SIGNER, [b"x"] * 4)
    log.alter(2, payload=None)
    flow = sending(log)
    answer = flow.payloads(Fetch(ME, [1, 2, 3, 99, 0]))
    assert (answer.seqs, answer.absent, answer.answer) == ([1, 3], [2, 99, 0], True)
    assert flow.filled([(ME, 3)]) == []
    log.alter(2, payload=b"back")
    (later,) = flow.filled([(ME, 2), (ME, 3)])
    assert (later.seqs, later.answer) == ([2], False)
    assert flow.filled([(ME, 2)]) == []


def test_an_answer_with_payloads_is_bounded():
    log = Log(SIGNER, [bytes(MAX_PAYLOAD_BYTES)] * 6)
    answer = sending(log).payloads(Fetch(ME, [1, 2, 3, 4, 5, 6]))
    assert answer.seqs == [1, 2]
    assert answer.absent == []


def test_a_peer_that_invents_logs_fills_no_memory(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("covey.store.sending._MAX_FLOWS", 8)
    flow = sending(Log(SIGNER, [b"x"] * 3))
    invented = {NodeId(f"{number:032x}"): 5 for number in range(100)}
    flow.peer_takes(invented)
    for origin in invented:
        flow.peer_holds(origin, 9)
        assert not flow.acknowledged(Ack(origin, 9, Verdict.OK))
    assert flow.ahead() <= 8 * 9
    flow.peer_takes({ME: 1})
    assert [batch.after for batch in drain(flow)] == [1]
