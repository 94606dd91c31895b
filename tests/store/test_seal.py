from __future__ import annotations

import os

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from covey.errors import LockedError, TooLargeError
from covey.store.entry import MAX_PAYLOAD_BYTES, Entry, entry_is_intact
from covey.store.seal import (
    MAX_RECORD_BYTES,
    Opened,
    Sealer,
    UnknownGenerationError,
    UnreadableEntryError,
)
from tests.store.keys import FixedKeys, NodeSigner

ORIGIN = NodeSigner("a").node_id
OTHER = NodeSigner("b").node_id
values = st.none() | st.binary(max_size=600) | st.binary(max_size=9).map(lambda part: part * 90)


def sealed(value: bytes | None = b"value", keys: FixedKeys | None = None) -> Entry:
    return Sealer(keys or FixedKeys()).seal(ORIGIN, 7, 99, "env", "NAME", value, {OTHER: 3})


@given(st.text(max_size=40), values, st.dictionaries(st.sampled_from([ORIGIN, OTHER]),
       st.integers(1, 2**62)))  # fmt: skip
def test_what_was_sealed_opens_the_same(key: str, value: bytes | None, context: dict):
    sealer = Sealer(FixedKeys())
    entry = sealer.seal(ORIGIN, 1, 2, "env", key, value, context)
    assert entry_is_intact(entry)
    assert entry.signature == b""
    assert sealer.open(entry) == Opened(key, value, context)


def test_nothing_readable_stands_in_an_entry():
    entry = Sealer(FixedKeys()).seal(ORIGIN, 1, 2, "env", "TOKEN_NAME", b"swordfish" * 50, {})
    for part in (entry.payload, entry.key_hash, entry.digest):
        assert part is not None
        assert b"swordfish" not in part
        assert b"TOKEN" not in part


def test_long_records_are_deflated_when_that_helps():
    assert len(sealed(b"x" * 60_000).payload or b"") < 1000


@pytest.mark.parametrize(
    "change",
    [{"origin": OTHER}, {"seq": 8}, {"hlc": 98}, {"collection": "host"}, {"key_hash": bytes(16)}],
    ids=lambda change: next(iter(change)),
)
def test_a_payload_opens_only_in_its_own_place(change: dict):
    with pytest.raises(UnreadableEntryError):
        Sealer(FixedKeys()).open(msgspec.structs.replace(sealed(), **change))


@given(st.integers(0, 10_000), st.integers(1, 255))
def test_one_changed_byte_is_found(at: int, flip: int):
    entry = sealed()
    payload = bytearray(entry.payload or b"")
    payload[at % len(payload)] ^= flip
    with pytest.raises(UnreadableEntryError):
        Sealer(FixedKeys()).open(msgspec.structs.replace(entry, payload=bytes(payload)))


@given(st.binary(max_size=80))
def test_garbage_is_unreadable_and_nothing_else(payload: bytes):
    with pytest.raises(UnreadableEntryError):
        Sealer(FixedKeys()).open(msgspec.structs.replace(sealed(), payload=payload))


def test_a_stub_is_unreadable():
    with pytest.raises(UnreadableEntryError, match="no payload"):
        Sealer(FixedKeys()).open(msgspec.structs.replace(sealed(), payload=None))


def test_a_missing_generation_is_told_from_damage_and_ends_when_the_key_comes():
    entry = sealed(keys=FixedKeys({b"new": bytes(range(32))}))
    keys = FixedKeys()
    sealer = Sealer(keys)
    with pytest.raises(UnknownGenerationError):
        sealer.open(entry)
    keys.keys[b"new"] = bytes(range(32))
    assert sealer.open(entry).value == b"value"


def test_a_wrong_key_of_a_known_generation_is_damage():
    entry = sealed(keys=FixedKeys({b"one": bytes(range(32))}))
    with pytest.raises(UnreadableEntryError):
        Sealer(FixedKeys({b"one": bytes(32)})).open(entry)


def test_new_entries_use_the_current_generation_and_old_ones_stay_readable():
    keys = FixedKeys()
    sealer = Sealer(keys)
    before = sealer.seal(ORIGIN, 1, 1, "env", "NAME", b"old", {})
    keys.keys[b"two"] = bytes(range(32))
    after = sealer.seal(ORIGIN, 2, 2, "env", "NAME", b"new", {})
    assert after.generation == b"two"
    assert after.key_hash != before.key_hash
    assert [sealer.open(each).value for each in (before, after)] == [b"old", b"new"]
    hashes = [sealer.key_hash("env", "NAME", each) for each in keys.generations()]
    assert hashes == [after.key_hash, before.key_hash]


def test_collection_and_key_are_not_confused_in_the_hash():
    sealer = Sealer(FixedKeys())
    generation = sealer.seal(ORIGIN, 1, 1, "a", "b", b"", {}).generation
    assert sealer.key_hash("a", "bc", generation) != sealer.key_hash("ab", "c", generation)


def test_the_largest_record_fits_a_payload_and_one_byte_more_is_refused():
    incompressible = os.urandom(MAX_RECORD_BYTES - 31)
    assert MAX_RECORD_BYTES < len(sealed(incompressible).payload or b"") <= MAX_PAYLOAD_BYTES
    with pytest.raises(TooLargeError) as caught:
        sealed(incompressible + b"x")
    assert caught.value.hint


def test_a_relay_can_neither_seal_nor_open():
    relay = Sealer(FixedKeys({}))
    with pytest.raises(LockedError):
        relay.seal(ORIGIN, 1, 1, "env", "NAME", b"", {})
    with pytest.raises(UnknownGenerationError):
        relay.open(sealed())
    assert relay.tags() == {}


def test_tags_are_equal_for_equal_keys_alone():
    one = Sealer(FixedKeys({b"g": bytes(32)})).tags()
    assert one == Sealer(FixedKeys({b"g": bytes(32)})).tags()
    assert one != Sealer(FixedKeys({b"g": bytes(range(32))})).tags()


def test_a_locked_sealer_holds_no_key():
    keys = FixedKeys()
    sealer = Sealer(keys)
    entry = sealer.seal(ORIGIN, 1, 1, "env", "NAME", b"", {})
    keys.keys.clear()
    sealer.forget()
    with pytest.raises(UnknownGenerationError):
        sealer.open(entry)
