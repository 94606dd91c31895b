from __future__ import annotations

import zlib
from contextlib import suppress

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from covey.store.api import NodeId
from covey.store.clock import MAX_HLC
from covey.store.entry import Entry, digest_of, header
from covey.store.wire import (
    MAX_FRAME_BYTES,
    Ack,
    AskDigests,
    Batch,
    Columns,
    Digests,
    Fetch,
    FrameError,
    Goodbye,
    Head,
    Hello,
    Message,
    Payloads,
    Roster,
    Run,
    Vector,
    Verdict,
    decode,
    encode,
    pack,
    unpack,
)

ORIGIN = NodeId("0123456789abcdef" * 2)
origins = st.text("0123456789abcdef", min_size=32, max_size=32).map(NodeId)
seqs = st.integers(0, (1 << 63) - 1)
blobs = st.binary(max_size=20)
digests = st.binary(min_size=32, max_size=32)


@st.composite
def runs_of_entries(draw: st.DrawFn) -> list[Entry]:
    entries = []
    for seq in range(1, draw(st.integers(1, 6)) + 1):
        hlc = draw(st.integers(0, MAX_HLC))
        collection = draw(st.sampled_from(["env", "hosts", "ünï"]))
        key_hash, generation = draw(blobs), draw(blobs)
        payload = draw(st.none() | st.binary(max_size=300))
        head = header(ORIGIN, seq, hlc, collection, key_hash, generation)
        digest = draw(digests) if payload is None else digest_of(head, payload)
        entries.append(Entry(ORIGIN, seq, hlc, collection, key_hash, generation, payload, digest))
    return entries


def entry(seq: int = 1, payload: bytes | None = b"p") -> Entry:
    head = header(ORIGIN, seq, 5, "env", b"k", b"g")
    return Entry(ORIGIN, seq, 5, "env", b"k", b"g", payload, digest_of(head, payload or b""))


runs = runs_of_entries().map(pack)
heads = st.dictionaries(origins, st.builds(Head, seqs, digests), max_size=3)
messages: st.SearchStrategy[Message] = st.one_of(
    st.builds(
        Hello,
        st.integers(0, 9),
        st.text(max_size=9),
        origins,
        seqs,
        heads,
        blobs,
        st.dictionaries(blobs, blobs, max_size=2),
    ),
    st.builds(Roster, blobs, st.lists(blobs, max_size=3)),
    st.builds(Vector, st.dictionaries(origins, seqs, max_size=3)),
    st.builds(Batch, origins, seqs, runs, blobs),
    st.builds(Ack, origins, seqs, st.sampled_from(Verdict)),
    st.builds(AskDigests, origins, seqs, seqs),
    st.builds(Digests, origins, seqs, blobs, blobs),
    st.builds(Fetch, origins, st.lists(seqs, max_size=5)),
    st.builds(Payloads, origins, st.lists(seqs), runs, st.lists(seqs), st.booleans()),
    st.builds(Goodbye, st.text(max_size=9), st.text(max_size=50)),
)


@given(messages)
def test_every_message_round_trips(message: Message):
    assert decode(encode(message)) == message


@given(runs_of_entries())
def test_entries_round_trip_through_columns(entries: list[Entry]):
    assert unpack(ORIGIN, [each.seq for each in entries], pack(entries)) == entries


@given(runs_of_entries(), st.sets(st.integers(1, 6)))
def test_the_stubs_to_be_filled_are_named_by_place(entries: list[Entry], absent: set[int]):
    stubs = {place for place, each in enumerate(entries) if each.payload is None}
    assert set(pack(entries, absent).absent) == {at for at in stubs if at + 1 in absent}


def test_headers_of_many_like_entries_take_little_room():
    run = pack([entry(seq) for seq in range(1, 1001)])
    assert len(run.columns) < 200


@given(st.binary(max_size=60))
def test_any_bytes_are_a_message_or_a_frame_error(frame: bytes):
    with suppress(FrameError):
        decode(frame)


@given(messages, st.integers(0, 1000), st.integers(1, 255))
def test_an_altered_frame_is_a_message_or_a_frame_error(message: Message, at: int, flip: int):
    frame = bytearray(encode(message))
    frame[at % len(frame)] ^= flip
    with suppress(FrameError):
        altered = decode(bytes(frame))
        if isinstance(altered, Batch):
            unpack(altered.origin, range(1, len(altered.run.payloads) + 1), altered.run)


def test_a_frame_over_the_limit_is_refused_unread():
    with pytest.raises(FrameError, match="too long"):
        decode(bytes(MAX_FRAME_BYTES + 1))


def columns(**changed: object) -> bytes:
    plain = {
        "clocks": [5],
        "collections": ["env"],
        "collection_of": [0],
        "generations": [b"g"],
        "generation_of": [0],
    }
    return msgspec.msgpack.encode(Columns(**(plain | changed)))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "run",
    [
        Run(columns(clocks=[]), 0, [b"k"], [b"p"]),
        Run(columns(), 0, [], [b"p"]),
        Run(columns(), 0, [b"k"], []),
        Run(columns(clocks=[-1]), 0, [b"k"], [b"p"]),
        Run(columns(clocks=[1 << 63]), 0, [b"k"], [b"p"]),
        Run(columns(collection_of=[1]), 0, [b"k"], [b"p"]),
        Run(columns(collection_of=[-1]), 0, [b"k"], [b"p"]),
        Run(columns(generation_of=[3]), 0, [b"k"], [b"p"]),
        Run(columns(collections=["n" * 256]), 0, [b"k"], [b"p"]),
        Run(columns(generations=[b"g" * 65]), 0, [b"k"], [b"p"]),
        Run(columns(), 0, [b"k" * 65], [b"p"]),
        Run(columns(), 0, [b"k"], [None]),
        Run(b"garbage", 0, [b"k"], [b"p"]),
        Run(b"garbage", 9, [b"k"], [b"p"]),
        Run(zlib.compress(bytes(1 << 20)), 10, [b"k"], [b"p"]),
    ],
)
def test_malformed_runs_are_frame_errors(run: Run):
    with pytest.raises(FrameError):
        unpack(ORIGIN, [1], run)
