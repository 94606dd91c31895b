"""Node ids, signatures and sealed boxes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from covey.errors import DamagedError, InvalidRequestError
from covey.fleet.identity import NodeIdentity, node_id_of, signature_is_valid
from covey.fleet.sealing import derive, open_box, seal

ANNA = NodeIdentity.generate()
BELA = NodeIdentity.generate()


def test_node_id_follows_from_the_signing_key_alone() -> None:
    twin = NodeIdentity(ANNA.sign_seed, BELA.seal_seed)
    assert twin.node_id == ANNA.node_id == node_id_of(ANNA.sign_public)
    assert len(ANNA.node_id) == 32
    assert ANNA.node_id != BELA.node_id


def test_seeds_do_not_show() -> None:
    assert repr(ANNA) == "NodeIdentity()"


def test_signatures() -> None:
    signature = ANNA.signing_key.sign(b"message")
    assert signature_is_valid(ANNA.sign_public, signature, b"message")
    assert not signature_is_valid(BELA.sign_public, signature, b"message")
    assert not signature_is_valid(ANNA.sign_public, signature, b"massage")
    assert not signature_is_valid(b"short", signature, b"message")


@given(st.binary(max_size=2000), st.text(max_size=40))
def test_a_box_opens_for_its_recipient_and_purpose_alone(plaintext: bytes, purpose: str) -> None:
    box = seal(ANNA.seal_public, purpose, plaintext)
    assert open_box(ANNA.sealing_key, purpose, box) == plaintext
    with pytest.raises(DamagedError):
        open_box(BELA.sealing_key, purpose, box)
    with pytest.raises(DamagedError):
        open_box(ANNA.sealing_key, purpose + "x", box)


@given(st.data())
def test_an_altered_box_does_not_open(data: st.DataObject) -> None:
    box = bytearray(seal(ANNA.seal_public, "test", b"plaintext"))
    at = data.draw(st.integers(0, len(box) - 1))
    # Bit 255 of an X25519 public key is ignored (RFC 7748, section 5), but not by the derivation.
    box[at] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(DamagedError):
        open_box(ANNA.sealing_key, "test", bytes(box))


def test_a_cut_box_and_a_weak_key_are_refused() -> None:
    with pytest.raises(DamagedError):
        open_box(ANNA.sealing_key, "test", b"too short")
    with pytest.raises(DamagedError):
        open_box(ANNA.sealing_key, "test", bytes(80))
    with pytest.raises(InvalidRequestError):
        seal(bytes(32), "test", b"plaintext")


def test_derived_keys_differ_by_purpose_and_salt() -> None:
    keys = {derive(b"s" * 32, "a"), derive(b"s" * 32, "b"), derive(b"s" * 32, "a", salt=b"1")}
    assert len(keys) == 3
