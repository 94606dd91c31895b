"""The P-256 key beside an Ed25519 key, and what certificates call their owner."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from covey.fleet.certificate_names import clean_names, general_names
from covey.fleet.identity import NodeIdentity
from covey.fleet.tls_key import TlsKey, derive_tls_key, endorsed_tls_key, point_of

ANNA, BELA = NodeIdentity.generate(), NodeIdentity.generate()


@given(st.binary(min_size=32, max_size=32))
def test_a_seed_always_gives_the_same_key(seed: bytes) -> None:
    key = derive_tls_key(seed)
    assert key.private_numbers() == derive_tls_key(seed).private_numbers()
    assert endorsed_tls_key(seed).point == point_of(key.public_key())


def test_the_derivation_stays_as_it_is() -> None:
    assert endorsed_tls_key(bytes(32)).point.hex() == (
        "029b0000ec9d3c3ffc9d883d63503293e9a762a32c01e65df67f56cde57008266c"
    )


def test_other_seeds_give_other_keys() -> None:
    assert len({endorsed_tls_key(os.urandom(32)).point for _ in range(20)}) == 20


def test_an_endorsement_holds_for_one_key_of_one_owner() -> None:
    own, other = endorsed_tls_key(ANNA.sign_seed), endorsed_tls_key(BELA.sign_seed)
    assert own.belongs_to(ANNA.sign_public)
    assert not own.belongs_to(BELA.sign_public)
    assert not TlsKey(other.point, own.endorsement).belongs_to(ANNA.sign_public)
    assert not TlsKey(b"\x02" + b"\xff" * 32, own.endorsement).belongs_to(ANNA.sign_public)
    assert not TlsKey(b"", own.endorsement).belongs_to(ANNA.sign_public)


def test_an_endorsed_point_off_the_curve_is_no_key() -> None:
    point = b"\x02" + b"\xff" * 32
    endorsement = ANNA.signing_key.sign(b"covey tls key v1\0" + point)
    assert not TlsKey(point, endorsement).belongs_to(ANNA.sign_public)


@pytest.mark.parametrize(
    "name, clean",
    [
        ("frigg", "frigg"),
        ("Frigg.Example.", "frigg.example"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("192.0.2.7", "192.0.2.7"),
        ("2001:DB8::7", "2001:db8::7"),
        ("fe80::1%eth0", "fe80::1"),
    ],
)
def test_names_are_written_in_one_way(name: str, clean: str) -> None:
    assert clean_names([name]) == {clean}


@pytest.mark.parametrize(
    "name",
    ["", ".", "a..b", "*.example", "-a.example", "a b", "a/b", "1.2.3", "0.0.0.0", "::", "x" * 64],
)
def test_unfit_names_are_left_out(name: str) -> None:
    assert clean_names([name, "frigg"]) == {"frigg"}


@given(st.lists(st.text(max_size=200), max_size=30))
def test_whatever_is_left_fits_into_a_certificate(names: list[str]) -> None:
    kept = clean_names(names)
    assert len(general_names(kept)) == len(kept) <= 16
    assert clean_names(kept) == kept
