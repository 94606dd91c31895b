"""A proof of the shared secret is good for one connection, between two nodes, in one direction."""

from __future__ import annotations

from dataclasses import replace

import pytest

from covey.errors import RefusedError
from covey.surfaces.peer.shared_secret import (
    NONCE_HEADER,
    PROOF_HEADER,
    Handshake,
    new_nonce,
    read_nonce,
    read_proof,
)

FREYA, FRIGG = "a" * 32, "b" * 32
HERE = Handshake(b"s" * 32, FREYA, FRIGG, new_nonce(), new_nonce())


def test_both_sides_convince_each_other() -> None:
    there = Handshake(b"s" * 32, FREYA, FRIGG, HERE.caller_nonce, HERE.acceptor_nonce)
    there.check_caller(HERE.caller_proof())
    HERE.check_acceptor(there.acceptor_proof(), "frigg:13500")


@pytest.mark.parametrize(
    "other",
    [
        replace(HERE, secret=b"t" * 32),
        replace(HERE, caller=FRIGG, acceptor=FREYA),
        replace(HERE, caller_nonce=new_nonce()),
        replace(HERE, acceptor_nonce=new_nonce()),
    ],
)
def test_nothing_else_does(other: Handshake) -> None:
    with pytest.raises(RefusedError):
        HERE.check_caller(other.caller_proof())
    with pytest.raises(RefusedError):
        HERE.check_acceptor(other.acceptor_proof(), "frigg:13500")


def test_a_proof_cannot_be_sent_back() -> None:
    with pytest.raises(RefusedError):
        HERE.check_caller(HERE.acceptor_proof())
    with pytest.raises(RefusedError):
        HERE.check_acceptor(HERE.caller_proof(), "frigg:13500")


def test_the_secret_shows_nowhere() -> None:
    assert "sss" not in repr(HERE)


def test_headers_of_others() -> None:
    with pytest.raises(RefusedError):
        read_nonce({})
    with pytest.raises(RefusedError):
        read_nonce({NONCE_HEADER: "short"})
    assert read_proof({PROOF_HEADER: "no hex"}) == b""
    assert read_proof({}) == b""
