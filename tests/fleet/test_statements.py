"""Signing, opening and refusing membership statements."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from covey.fleet.identity import NodeIdentity
from covey.fleet.statements import (
    MAX_STATEMENT_BYTES,
    BadStatementError,
    Certificate,
    DataKeys,
    Generation,
    Leave,
    RenewalRequest,
    open_statement,
    sign_statement,
)
from tests.fleet.statement_maker import (
    CHAIN,
    FLEET,
    NODES,
    certificate,
    forge_authority,
    introduce,
    member,
    sign,
)


def test_round_trip() -> None:
    signed = sign(CHAIN[0], member(NODES[0]), 7)
    opened = open_statement(signed.raw, FLEET)
    assert opened == signed
    assert opened.statement == member(NODES[0])
    assert opened.version == 7


def test_another_fleets_statement_is_refused() -> None:
    signed = sign(CHAIN[0], member(NODES[0]))
    with pytest.raises(BadStatementError, match="another fleet"):
        open_statement(signed.raw, CHAIN[1].id)


@given(st.data())
def test_an_altered_statement_is_refused(data: st.DataObject) -> None:
    raw = bytearray(sign(CHAIN[0], member(NODES[0])).raw)
    at = data.draw(st.integers(0, len(raw) - 1))
    raw[at] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(BadStatementError):
        open_statement(bytes(raw), FLEET)


@given(st.binary(max_size=300))
def test_noise_is_refused(raw: bytes) -> None:
    with pytest.raises(BadStatementError):
        open_statement(raw, FLEET)


def test_statements_about_others_are_refused() -> None:
    for statement in (RenewalRequest(NODES[1].node_id, "1"), Leave(NODES[1].node_id, 5)):
        with pytest.raises(BadStatementError, match="of itself"):
            open_statement(sign(NODES[0], statement).raw, FLEET)


def test_ids_must_fit_keys() -> None:
    borrowed = msgspec.structs.replace(member(NODES[0]), node_id=NODES[1].node_id)
    with pytest.raises(BadStatementError, match="id does not fit"):
        open_statement(sign(CHAIN[0], borrowed).raw, FLEET)
    borrowed = msgspec.structs.replace(member(NODES[0]), tls_key=member(NODES[1]).tls_key)
    with pytest.raises(BadStatementError, match="TLS key"):
        open_statement(sign(CHAIN[0], borrowed).raw, FLEET)
    swapped = msgspec.structs.replace(certificate(NODES[0], CHAIN[0]), node_id=NODES[1].node_id)
    with pytest.raises(BadStatementError, match="another node"):
        open_statement(sign(CHAIN[0], swapped).raw, FLEET)


def test_an_authority_needs_an_authoritys_certificate() -> None:
    leaf = certificate(NODES[0], CHAIN[0]).certificate
    forged = msgspec.structs.replace(introduce(1).statement, certificate=leaf)
    with pytest.raises(BadStatementError, match="authority"):
        sign(CHAIN[0], forged).slot  # noqa: B018 - computing the slot reads the certificate
    raw = sign_statement(CHAIN[0].signing_key, FLEET, forged, version=1, issued_at=1).raw
    with pytest.raises(BadStatementError, match="authority"):
        open_statement(raw, FLEET)


def test_a_predecessor_cannot_swap_its_successors_certificate() -> None:
    forged = msgspec.structs.replace(introduce(1).statement, certificate=forge_authority(CHAIN[1]))
    with pytest.raises(BadStatementError, match="not endorsed"):
        sign(CHAIN[0], forged).slot  # noqa: B018 - computing the slot reads the certificate


def test_size_limit() -> None:
    node = NodeIdentity.generate()
    huge = DataKeys(node.node_id, node.node_id, bytes(MAX_STATEMENT_BYTES))
    with pytest.raises(BadStatementError, match="size"):
        sign(CHAIN[0], huge)
    with pytest.raises(BadStatementError, match="size"):
        open_statement(bytes(MAX_STATEMENT_BYTES + 1), FLEET)


def test_a_malformed_certificate_spoils_its_own_statement_alone() -> None:
    signed = sign(CHAIN[0], Certificate(NODES[0].node_id, b"not DER"))
    with pytest.raises(BadStatementError, match="cannot be read"):
        open_statement(signed.raw, FLEET)


def test_nothing_is_signed_that_nobody_could_read_again() -> None:
    with pytest.raises(BadStatementError, match="out of bounds"):
        sign(CHAIN[0], Generation("0" * 32, 1 << 60))
    with pytest.raises(BadStatementError, match="out of bounds"):
        sign(CHAIN[0], member(NODES[0]), (1 << 53) + 1)
