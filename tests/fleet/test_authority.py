"""The fleet CA, node certificates and their checks."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    EllipticCurvePublicKey,
    generate_private_key,
)
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID

from covey.errors import UnauthenticatedError
from covey.fleet import authority
from covey.fleet.authority import (
    AuthorityKey,
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
from covey.fleet.tls_key import TlsKey, derive_tls_key, endorsed_tls_key
from tests.fleet.statement_maker import NOW, forge_authority, issue

E = TypeVar("E", bound=x509.ExtensionType)
AUTHORITY = create_authority(NOW)
NODE = NodeIdentity.generate()


def test_a_certificate_names_the_node_and_verifies() -> None:
    der = issue(AUTHORITY, NODE)
    found = verify_certificate(der, [AUTHORITY.certificate], NOW)
    assert found.node_id == NODE.node_id
    assert found.sign_key == NODE.sign_public
    assert found.not_after - NOW == timedelta(days=90)
    assert NOW - found.not_before == timedelta(hours=1)
    names = x509.load_der_x509_certificate(der).extensions.get_extension_for_class(
        x509.SubjectAlternativeName
    )
    assert names.value.get_values_for_type(x509.DNSName) == [NODE.node_id, "localhost"]


def test_another_authority_is_not_trusted() -> None:
    der = issue(create_authority(NOW), NODE)
    with pytest.raises(UnauthenticatedError, match="no authority"):
        verify_certificate(der, [AUTHORITY.certificate], NOW)


def test_two_authorities_are_trusted_during_an_overlap() -> None:
    successor = create_authority(NOW, 1)
    both = [AUTHORITY.certificate, successor.certificate]
    for issuer in (AUTHORITY, successor):
        der = issue(issuer, NODE)
        assert verify_certificate(der, both, NOW).node_id == NODE.node_id


@pytest.mark.parametrize(
    "at, reason",
    [(timedelta(days=91), "expired"), (timedelta(minutes=-61), "not valid yet|no authority")],
)
def test_life_ends_and_begins(at: timedelta, reason: str) -> None:
    der = issue(AUTHORITY, NODE)
    with pytest.raises(UnauthenticatedError, match=reason):
        verify_certificate(der, [AUTHORITY.certificate], NOW + at)


def test_a_slow_clock_is_forgiven() -> None:
    der = issue(AUTHORITY, NODE)
    verify_certificate(der, [AUTHORITY.certificate], NOW - timedelta(minutes=4))


def test_renewal_is_due_at_two_thirds_of_life() -> None:
    found = read_certificate(issue(AUTHORITY, NODE))
    assert not found.renewal_due(NOW + timedelta(days=59))
    assert found.renewal_due(NOW + timedelta(days=60))


def test_an_expired_authority_is_not_trusted() -> None:
    later = NOW + timedelta(days=365 * 21)
    der = issue(AUTHORITY, NODE, later)
    with pytest.raises(UnauthenticatedError, match="no authority"):
        verify_certificate(der, [AUTHORITY.certificate], later)


def test_the_name_must_fit_the_key() -> None:
    der = issue(AUTHORITY, NODE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(authority, "node_id_of", lambda _key: "0" * 32)
        misnamed = issue(AUTHORITY, NODE)
    assert misnamed != der
    with pytest.raises(UnauthenticatedError, match="name does not fit its key"):
        verify_certificate(misnamed, [AUTHORITY.certificate], NOW)


def test_a_node_cannot_issue_certificates() -> None:
    leaf = issue(AUTHORITY, NODE)
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


def test_browsers_and_peers_find_what_they_look_for() -> None:
    found = x509.load_der_x509_certificate(issue(AUTHORITY, NODE))
    issuer = x509.load_der_x509_certificate(AUTHORITY.certificate)
    for certificate in (found, issuer):
        public = certificate.public_key()
        assert isinstance(public, EllipticCurvePublicKey)
        assert isinstance(public.curve, SECP256R1)
        assert isinstance(certificate.signature_hash_algorithm, SHA256)
    assert _value(issuer, x509.KeyUsage).key_cert_sign
    assert _value(found, x509.KeyUsage).digital_signature
    assert not _value(found, x509.KeyUsage).key_cert_sign
    own = _value(issuer, x509.SubjectKeyIdentifier).digest
    assert _value(found, x509.AuthorityKeyIdentifier).key_identifier == own
    assert set(_value(found, x509.ExtendedKeyUsage)) == {
        ExtendedKeyUsageOID.SERVER_AUTH,
        ExtendedKeyUsageOID.CLIENT_AUTH,
    }


def test_nobody_else_can_tie_a_tls_key_to_a_node() -> None:
    thief = NodeIdentity.generate()
    own = endorsed_tls_key(thief.sign_seed)
    stolen = endorsed_tls_key(NODE.sign_seed)
    for tls_key in (own, TlsKey(own.point, stolen.endorsement)):
        der = issue_certificate(AUTHORITY, NODE.sign_public, tls_key, NOW)
        with pytest.raises(UnauthenticatedError, match="not endorsed"):
            verify_certificate(der, [AUTHORITY.certificate], NOW)


def test_nobody_else_can_make_a_certificate_for_an_authority() -> None:
    with pytest.raises(ValueError, match="not endorsed"):
        authority_key_of(forge_authority(AUTHORITY))


def test_an_authoritys_certificate_is_signed_by_its_own_key() -> None:
    altered = bytearray(AUTHORITY.certificate)
    altered[-1] ^= 1
    with pytest.raises(ValueError, match="not self-signed"):
        authority_key_of(bytes(altered))


def test_openssl_accepts_the_certificates_in_a_strict_mutual_handshake(tmp_path: Path) -> None:
    now = utc_now()
    issuer = create_authority(now)
    frigg, odin = NodeIdentity.generate(), NodeIdentity.generate()
    server = _context(ssl.PROTOCOL_TLS_SERVER, frigg, issuer, tmp_path)
    for called in (frigg.node_id, "localhost", "127.0.0.1", "::1"):
        client = _context(ssl.PROTOCOL_TLS_CLIENT, odin, issuer, tmp_path)
        seen = _shake_hands(server, client, called)
        found = [verify_certificate(der, [issuer.certificate], now).node_id for der in seen]
        assert found == [frigg.node_id, odin.node_id]


def test_openssl_refuses_the_certificates_of_another_authority(tmp_path: Path) -> None:
    frigg, odin = NodeIdentity.generate(), NodeIdentity.generate()
    server = _context(ssl.PROTOCOL_TLS_SERVER, frigg, create_authority(utc_now()), tmp_path)
    client = _context(ssl.PROTOCOL_TLS_CLIENT, odin, create_authority(utc_now()), tmp_path)
    with pytest.raises(ssl.SSLError):
        _shake_hands(server, client, frigg.node_id)


def _shake_hands(server: ssl.SSLContext, client: ssl.SSLContext, called: str) -> list[bytes]:
    """Return the certificates that the client and the server saw."""
    left, right = socket.socketpair()
    seen: list[bytes] = []

    def serve() -> None:
        with contextlib.suppress(ssl.SSLError), server.wrap_socket(left, server_side=True) as peer:
            seen.append(peer.getpeercert(binary_form=True) or b"")
            peer.recv(1)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        with client.wrap_socket(right, server_hostname=called) as peer:
            shown = peer.getpeercert(binary_form=True) or b""
            peer.send(b"x")
            thread.join(10)
    finally:
        right.close()
        thread.join(10)
    return [shown, *seen]


def _value(certificate: x509.Certificate, kind: type[E]) -> E:
    return certificate.extensions.get_extension_for_class(kind).value


def _context(
    side: int, node: NodeIdentity, issuer: AuthorityKey, directory: Path
) -> ssl.SSLContext:
    key = derive_tls_key(node.sign_seed)
    encoded = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    chain = directory / f"{node.node_id}.pem"
    chain.write_bytes(encoded + to_pem(issue(issuer, node, utc_now())).encode())
    context = ssl.SSLContext(side)
    context.load_cert_chain(chain)
    context.load_verify_locations(cadata=to_pem(issuer.certificate))
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
