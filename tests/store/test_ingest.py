from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from covey.store.entry import MAX_PAYLOAD_BYTES
from covey.store.ingest import (
    Accepted,
    Gap,
    Mismatch,
    Outcome,
    Rejected,
    Removed,
    UnknownOrigin,
    heal,
    verify,
)
from covey.store.ports import ChainHead
from covey.store.wire import Batch, Digests, Payloads, Run, pack
from tests.store.keys import NodeSigner
from tests.store.logs import Log
from tests.store.roster import PlainRoster, Statement

SIGNER = NodeSigner("a")
KEY = SIGNER.public_key.public_bytes_raw()
MEMBER = PlainRoster([Statement(SIGNER.node_id, KEY)])
PAYLOADS = [b"one", b"two", b"three", b"four", b"five", b"six"]


@pytest.fixture
def log() -> Log:
    return Log(SIGNER, PAYLOADS)


def removed_at(cutoff: int, chain: bytes | None = None) -> PlainRoster:
    return PlainRoster([Statement(SIGNER.node_id, KEY, cutoff, chain)])


def accepted(outcome: Outcome) -> Accepted:
    assert isinstance(outcome, Accepted), outcome
    return outcome


def listed(log: Log, after: int, last: int) -> Digests:
    part = log.entries[after:last]
    joined = b"".join(entry.digest for entry in part)
    return Digests(log.origin, after, joined, log.batch(after, last).signature)


@given(st.integers(0, 5), st.integers(1, 6), st.integers(0, 6))
def test_what_follows_the_held_head_is_accepted(after: int, count: int, held: int):
    log = Log(SIGNER, PAYLOADS)
    last = min(after + count, 6)
    outcome = verify(log.batch(after, last), log.heads[held] if held else None, MEMBER)
    if after > held:
        assert outcome == Gap(held)
    else:
        new = accepted(outcome)
        assert [entry.seq for entry in new.entries] == list(range(held + 1, last + 1))
        assert new.head == log.heads[max(held, last)]
        assert not new.quarantined
        assert not new.irregular


def test_only_the_last_entry_keeps_a_signature(log: Log):
    new = accepted(verify(log.batch(0, 4), None, MEMBER))
    assert [bool(entry.signature) for entry in new.entries] == [False, False, False, True]
    again = accepted(verify(log.batch(4, 6), new.head, MEMBER))
    assert again.head == log.heads[6]


def test_an_origin_without_a_statement_is_unknown(log: Log):
    assert verify(log.batch(0, 2), None, PlainRoster()) == UnknownOrigin()


def test_another_key_s_signature_is_no_proof(log: Log):
    forged = replace(
        log.batch(0, 2), signature=Log(NodeSigner("b"), PAYLOADS).batch(0, 2).signature
    )
    assert verify(forged, None, MEMBER) == Mismatch()
    assert isinstance(
        verify(forged, None, MEMBER, replace(listed(log, 0, 2), signature=b"")), Rejected
    )


@pytest.mark.parametrize(
    "change",
    [
        {"payload": b"altered"},
        {"hlc": 1},
        {"collection": "other"},
        {"key_hash": b"k"},
        {"generation": b"g"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_one_altered_entry_is_found_by_its_digest_and_set_aside(log: Log, change: dict):
    log.alter(2, **change)
    bad = log.batch(0, 4)
    assert verify(bad, None, MEMBER) == Mismatch()
    new = accepted(verify(bad, None, MEMBER, listed(log, 0, 4)))
    assert new.head == log.heads[4]
    assert [entry.payload is None for entry in new.entries] == [False, True, False, False]
    assert [(item.seq, item.frame) for item in new.quarantined] == [(2, log.entries[1].payload)]
    assert new.missing == (2,)


def test_digests_that_do_not_end_in_the_signed_head_are_rejected(log: Log):
    log.alter(2, payload=b"altered")
    lies = listed(log, 0, 4)
    lies = replace(lies, digests=bytes(32) + lies.digests[32:])
    assert isinstance(verify(log.batch(0, 4), None, MEMBER, lies), Rejected)


@pytest.mark.parametrize("wrong", [{"after": 1}, {"digests": b""}, {"origin": "f" * 32}])
def test_digests_of_another_range_are_rejected(log: Log, wrong: dict):
    lies = replace(listed(log, 0, 4), **wrong)
    assert isinstance(verify(log.batch(0, 4), None, MEMBER, lies), Rejected)


def test_a_batch_on_another_past_is_a_mismatch(log: Log):
    other = Log(SIGNER, [b"another", *PAYLOADS[1:]])
    assert verify(other.batch(1, 3), log.heads[1], MEMBER) == Mismatch()
    outcome = verify(other.batch(1, 3), log.heads[1], MEMBER, listed(other, 1, 3))
    assert isinstance(outcome, Rejected)
    assert outcome.held == 1


def test_an_oversized_entry_is_set_aside_and_not_asked_for():
    log = Log(SIGNER, [b"one", bytes(MAX_PAYLOAD_BYTES + 1), b"three"])
    new = accepted(verify(log.batch(0, 3), None, MEMBER))
    assert [entry.payload is None for entry in new.entries] == [False, True, False]
    assert "too large" in new.quarantined[0].reason
    assert len(new.quarantined[0].frame) < 10_000
    assert new.missing == ()


def test_a_payload_of_exactly_the_limit_is_taken():
    log = Log(SIGNER, [bytes(MAX_PAYLOAD_BYTES)])
    assert not accepted(verify(log.batch(0, 1), None, MEMBER)).quarantined


def test_stubs_are_taken_and_asked_for_only_where_the_peer_misses_them_too(log: Log):
    log.alter(2, payload=None)
    log.alter(3, payload=None)
    new = accepted(verify(log.batch(0, 4, absent=[3]), None, MEMBER))
    assert new.head == log.heads[4]
    assert [entry.seq for entry in new.entries if entry.payload is None] == [2, 3]
    assert [item.seq for item in new.quarantined] == [3]
    assert new.missing == (3,)


def test_a_clock_that_ran_backwards_is_accepted_and_told():
    log = Log(SIGNER, PAYLOADS, clocks=[10, 20, 15, 20, 30, 30])
    new = accepted(verify(log.batch(0, 6), None, MEMBER))
    assert len(new.entries) == 6
    assert new.irregular == (3, 4, 6)
    assert accepted(verify(log.batch(0, 2), None, MEMBER, last_hlc=10)).irregular == (1,)


def test_an_empty_or_malformed_batch_is_harmless(log: Log):
    empty = Batch(log.origin, 0, pack([]), b"")
    assert accepted(verify(empty, log.heads[3], MEMBER)).entries == ()
    garbage = Batch(log.origin, 0, Run(b"garbage", 0, [b"k"], [b"p"]), b"")
    assert isinstance(verify(garbage, None, MEMBER), Rejected)


def test_nothing_after_the_cutoff_of_a_removed_origin_is_accepted(log: Log):
    roster = removed_at(3, log.heads[3].chain)
    new = accepted(verify(log.batch(0, 6), None, roster))
    assert [entry.seq for entry in new.entries] == [1, 2, 3]
    assert new.head == log.heads[3]
    assert verify(log.batch(3, 6), new.head, roster) == Removed(3)
    assert accepted(verify(log.batch(0, 2), new.head, roster)).entries == ()


def test_a_removal_vouches_for_the_log_up_to_the_cutoff(log: Log):
    unsigned = replace(log.batch(0, 3), signature=b"")
    roster = removed_at(3, log.heads[3].chain)
    assert accepted(verify(unsigned, None, roster)).head == log.heads[3]
    assert verify(unsigned, None, removed_at(3)) == Mismatch()


def test_a_removed_origin_cannot_sign_another_past(log: Log):
    roster = removed_at(3, log.heads[3].chain)
    other = Log(SIGNER, [b"another", *PAYLOADS[1:]])
    assert verify(other.batch(0, 6), None, roster) == Mismatch()
    assert isinstance(verify(other.batch(0, 6), None, roster, listed(other, 0, 6)), Rejected)


def test_a_cutoff_inside_of_a_signed_range_holds_without_its_chain(log: Log):
    new = accepted(verify(log.batch(0, 6), None, removed_at(3)))
    assert new.head == log.heads[3]
    assert not any(entry.signature for entry in new.entries)


def test_a_member_removed_before_its_first_entry_has_none(log: Log):
    assert verify(log.batch(0, 6), None, removed_at(0)) == Removed(0)


def stubs_of(log: Log, *seqs: int) -> dict:
    return {seq: replace(log.entries[seq - 1], payload=None, signature=b"s") for seq in seqs}


def payloads_of(log: Log, *seqs: int) -> Payloads:
    entries = [log.entries[seq - 1] for seq in seqs]
    return Payloads(log.origin, list(seqs), pack(entries), [], answer=True)


def test_stubs_are_filled_by_the_entries_that_belong_there(log: Log):
    stubs = stubs_of(log, 2, 3)
    filled = heal(stubs, payloads_of(log, 2, 3, 4))
    assert [entry.payload for entry in filled] == [b"two", b"three"]
    assert [entry.signature for entry in filled] == [b"s", b"s"]


def test_a_stub_with_a_wrong_header_gets_the_true_one(log: Log):
    stubs = stubs_of(log, 2)
    stubs[2] = replace(stubs[2], collection="lie", hlc=0)
    (filled,) = heal(stubs, payloads_of(log, 2))
    assert (filled.collection, filled.hlc) == ("env", 2 << 16)


def test_what_does_not_belong_in_a_stub_s_place_is_ignored(log: Log):
    stubs = stubs_of(log, 2)
    log.alter(2, payload=b"altered")
    assert heal(stubs, payloads_of(log, 2)) == []
    held = {2: replace(stubs[2], payload=b"held")}
    assert heal(held, payloads_of(log, 2)) == []
    garbage = Payloads(log.origin, [2], Run(b"garbage", 0, [b"k"], [b"p"]), [], answer=True)
    assert heal(stubs, garbage) == []


def test_the_head_of_a_new_log_is_its_start(log: Log):
    assert accepted(verify(log.batch(0, 1), ChainHead(0, log.heads[0].chain), MEMBER)).head.seq == 1
