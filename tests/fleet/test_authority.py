"""The fleet CA, node certificates and their checks."""

from __future__ import annotations

import socket
import ssl
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from covey.errors import UnauthenticatedError
from covey.fleet import authority
from covey.fleet.authority import (
    authority_key_of,
    create_authority,
    fingerprint,
    issue_certificate,
    read_certificate,
    to_pem,
    utc_now,
    verify_certificate,
)
from covey.fleet.identity import NodeIdentity

NOW = datetime(2030, 1, 1, tzinfo=UTC)
AUTHORITY = create_authority(NOW)
NODE = NodeIdentity.generate()


def test_a_certificate_names_the_node_and_verifies() -> None:
    der = issue_certificate(AUTHORITY, NODE.sign_public, NOW)
    found = verify_certificate(der, [AUTHORITY.certificate], NOW)
    assert found.node_id == NODE.node_id
    assert found.sign_key == NODE.sign_public
    assert found.not_after - NOW == timedelta(days=90)
    assert NOW - found.not_before == timedelta(minutes=5)
    names = x509.load_der_x509_certificate(der).extensions.get_extension_for_class(
        x509.SubjectAlternativeName
    )
    assert names.value.get_values_for_type(x509.DNSName) == [NODE.node_id, "localhost"]


def test_another_authority_is_not_trusted() -> None:
    der = issue_certificate(create_authority(NOW), NODE.sign_public, NOW)
    with pytest.raises(UnauthenticatedError, match="no authority"):
        verify_certificate(der, [AUTHORITY.certificate], NOW)


def test_two_authorities_are_trusted_during_an_overlap() -> None:
    successor = create_authority(NOW, 1)
    both = [AUTHORITY.certificate, successor.certificate]
    for issuer in (AUTHORITY, successor):
        der = issue_certificate(issuer, NODE.sign_public, NOW)
        assert verify_certificate(der, both, NOW).node_id == NODE.node_id


@pytest.mark.parametrize(
    "at, reason",
    [(timedelta(days=91), "expired"), (timedelta(minutes=-6), "not valid yet|no authority")],
)
def test_life_ends_and_begins(at: timedelta, reason: str) -> None:
    der = issue_certificate(AUTHORITY, NODE.sign_public, NOW)
    with pytest.raises(UnauthenticatedError, match=reason):
        verify_certificate(der, [AUTHORITY.certificate], NOW + at)


def test_a_slow_clock_is_forgiven() -> None:
    der = issue_certificate(AUTHORITY, NODE.sign_public, NOW)
    verify_certificate(der, [AUTHORITY.certificate], NOW - timedelta(minutes=4))


def test_renewal_is_due_at_two_thirds_of_life() -> None:
    life = timedelta(days=90)
    found = read_certificate(issue_certificate(AUTHORITY, NODE.sign_public, NOW, life))
    assert not found.renewal_due(NOW + timedelta(days=59))
    assert found.renewal_due(NOW + timedelta(days=60))


def test_an_expired_authority_is_not_trusted() -> None:
    later = NOW + timedelta(days=365 * 21)
    der = issue_certificate(AUTHORITY, NODE.sign_public, later)
    with pytest.raises(UnauthenticatedError, match="no authority"):
        verify_certificate(der, [AUTHORITY.certificate], later)


def test_the_name_must_fit_the_key() -> None:
    der = issue_certificate(AUTHORITY, NODE.sign_public, NOW)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(authority, "node_id_of", lambda _key: "0" * 32)
        misnamed = issue_certificate(AUTHORITY, NODE.sign_public, NOW)
    assert misnamed != der
    with pytest.raises(UnauthenticatedError, match="name does not fit its key"):
        verify_certificate(misnamed, [AUTHORITY.certificate], NOW)


def test_a_node_cannot_issue_certificates() -> None:
    leaf = issue_certificate(AUTHORITY, NODE.sign_public, NOW)
    with pytest.raises(ValueError, match="not"):
        authority_key_of(leaf)


def test_foreign_certificates_are_refused_with_a_reason() -> None:
    for der in (b"", b"garbage", AUTHORITY.certificate, _other_key_type()):
        with pytest.raises(UnauthenticatedError, match="certificate is refused"):
            read_certificate(der)


def test_fingerprint_is_sha256() -> None:
    certificate = x509.load_der_x509_certificate(AUTHORITY.certificate)
    assert fingerprint(AUTHORITY.certificate) == certificate.fingerprint(SHA256())
    assert authority_key_of(AUTHORITY.certificate) == AUTHORITY.public


def test_openssl_accepts_the_certificates_in_a_strict_mutual_handshake(tmp_path: Path) -> None:
    now = utc_now()
    issuer = create_authority(now)
    node = NodeIdentity.generate()
    chain = tmp_path / "node.pem"
    key = node.signing_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    der = issue_certificate(issuer, node.sign_public, now)
    chain.write_bytes(key + to_pem(der).encode())
    server = _context(ssl.PROTOCOL_TLS_SERVER, chain, to_pem(issuer.certificate))
    client = _context(ssl.PROTOCOL_TLS_CLIENT, chain, to_pem(issuer.certificate))
    left, right = socket.socketpair()
    seen: list[bytes | None] = []

    def serve() -> None:
        with server.wrap_socket(left, server_side=True) as connection:
            seen.append(connection.getpeercert(binary_form=True))
            connection.recv(1)

    thread = threading.Thread(target=serve)
    thread.start()
    with client.wrap_socket(right, server_hostname=node.node_id) as connection:
        assert connection.getpeercert(binary_form=True) == der
        connection.send(b"x")
    thread.join(10)
    assert seen == [der]


def _context(side: int, chain: Path, trusted: str) -> ssl.SSLContext:
    context = ssl.SSLContext(side)
    context.load_cert_chain(chain)
    context.load_verify_locations(cadata=trusted)
    context.verify_mode = ssl.CERT_REQUIRED
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    return context


def _other_key_type() -> bytes:
    key = generate_private_key(SECP256R1())
    name = x509.Name([])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name)
    builder = builder.public_key(key.public_key()).serial_number(1)
    builder = builder.not_valid_before(NOW).not_valid_after(NOW + timedelta(days=1))
    builder = builder.add_extension(
        x509.BasicConstraints(ca=False, path_length=None), critical=True
    )
    return builder.sign(key, SHA256()).public_bytes(Encoding.DER)
