"""Deltas: whatever changed, the parts make the new content; and small changes cost little."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from covey.remote.files.delta import (
    HEAD_BYTES,
    Literal,
    Reuse,
    block_bytes,
    describe,
    find_delta,
    joined,
)

LENGTH = 64


def delta(old: bytes, new: bytes, length: int = LENGTH) -> list[Literal | Reuse]:
    whole = len(old) // length * length
    blocks = describe(old[at : at + length] for at in range(0, whole, length))
    return list(
        joined(find_delta(lambda at, count: new[at : at + count], len(new), length, blocks))
    )


def apply(parts: list[Literal | Reuse], old: bytes, new: bytes) -> bytes:
    made = b""
    for part in parts:
        match part:
            case Literal(start, end):
                assert start == len(made)
                made += new[start:end]
            case Reuse(start, source, length):
                assert start == len(made)
                made += old[source : source + length]
    return made


contents = st.one_of(
    st.binary(max_size=1000),
    st.lists(st.sampled_from([b"a" * 64, b"b" * 64, bytes(range(64)), b"x"]), max_size=20).map(
        b"".join
    ),
)


@given(old=contents, new=contents)
def test_the_parts_make_the_new_content(old: bytes, new: bytes):
    assert apply(delta(old, new), old, new) == new


@given(
    seed=st.integers(0, 1000),
    at=st.integers(0, 20_000),
    removed=st.integers(0, 200),
    inserted=st.binary(max_size=200),
)
def test_a_small_change_costs_little(seed: int, at: int, removed: int, inserted: bytes):
    old = random.Random(seed).randbytes(20_000)
    new = old[:at] + inserted + old[at + removed :]
    parts = delta(old, new)
    assert apply(parts, old, new) == new
    literal = sum(part.end - part.start for part in parts if isinstance(part, Literal))
    assert literal <= len(inserted) + 3 * LENGTH


def test_what_is_the_same_is_one_part():
    old = random.Random(1).randbytes(64 * 100)
    assert delta(old, old) == [Reuse(0, 0, len(old))]


def test_nothing_in_common_is_one_part():
    one, other = random.Random(1).randbytes(5000), random.Random(2).randbytes(5000)
    assert delta(one, other) == [Literal(0, 5000)]


@pytest.mark.parametrize("size", [0, 1, 1 << 20, 1 << 28, 1 << 33, 1 << 40])
def test_blocks_are_not_too_many_nor_too_small(size: int):
    length = block_bytes(size)
    assert HEAD_BYTES < 8192 <= length <= 1 << 20
    assert size // length <= 8192 or length == 1 << 20
