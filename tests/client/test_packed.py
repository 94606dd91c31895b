"""The small MessagePack agrees with msgspec's, both ways."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from covey.client.packed import pack, unpack

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary()
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=20) | st.dictionaries(st.text(), inner, max_size=20),
    max_leaves=30,
)


@given(VALUES)
def test_it_agrees_with_msgspec(value: object):
    assert msgspec.msgpack.decode(pack(value)) == value
    assert unpack(msgspec.msgpack.encode(value)) == value


@pytest.mark.parametrize("size", [31, 32, 255, 256, 65_535, 65_536])
def test_lengths_at_the_bounds(size: int):
    for value in ("x" * size, b"x" * size, [None] * size, {str(n): n for n in range(size)}):
        assert msgspec.msgpack.decode(pack(value)) == value
        assert unpack(msgspec.msgpack.encode(value)) == value


@given(st.binary(max_size=60))
def test_anything_else_is_a_value_error(data: bytes):
    try:
        unpack(data)
    except ValueError:
        return


@given(VALUES, st.data())
def test_a_cut_message_is_a_value_error(value: object, data: st.DataObject):
    whole = msgspec.msgpack.encode(value)
    cut = data.draw(st.integers(0, len(whole) - 1))
    with pytest.raises(ValueError, match=r"not MessagePack|ends too early"):
        unpack(whole[:cut])


def test_arguments_that_are_no_text_pass_as_bytes_do():
    assert pack("a\udcff") == b"\xa2a\xff"
