"""Short ways to sign statements of a small fleet."""

from __future__ import annotations

from datetime import UTC, datetime

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from covey.fleet.authority import AuthorityKey, create_authority, issue_certificate
from covey.fleet.identity import NodeIdentity
from covey.fleet.statements import (
    Authority,
    Certificate,
    Member,
    NodeKind,
    Removal,
    RenewalRequest,
    Retirement,
    Signed,
    Statement,
    place_of,
    sign_statement,
)
from covey.fleet.tls_key import endorsed_tls_key
from covey.operations.access import Role

NOW = datetime(2030, 1, 1, tzinfo=UTC)
NOW_MS = int(NOW.timestamp() * 1000)
CHAIN = tuple(create_authority(NOW, number) for number in range(3))
FLEET = CHAIN[0].id
NODES = tuple(NodeIdentity.generate() for _ in range(4))
STRANGER = create_authority(NOW)


def sign(key: AuthorityKey | NodeIdentity, statement: Statement, version: int = 1) -> Signed:
    signing: Ed25519PrivateKey = key.signing_key
    return sign_statement(signing, FLEET, statement, version=version, issued_at=NOW_MS + version)


def introduce(number: int) -> Signed:
    signer = CHAIN[max(number - 1, 0)]
    return sign(signer, Authority(number, CHAIN[number].certificate))


def retire(number: int, by: int, *restated: Statement) -> Signed:
    return sign(CHAIN[by], Retirement(number, tuple(place_of(item) for item in restated)))


def member(
    node: NodeIdentity, role: Role = Role.DEVELOPER, kind: NodeKind = NodeKind.FULL
) -> Member:
    tls_key = endorsed_tls_key(node.sign_seed)
    return Member(node.node_id, node.sign_public, tls_key, node.seal_public, kind, role, NOW_MS)


def certificate(node: NodeIdentity, by: AuthorityKey) -> Certificate:
    return Certificate(node.node_id, issue(by, node))


def issue(by: AuthorityKey, node: NodeIdentity, at: datetime = NOW) -> bytes:
    return issue_certificate(by, node.sign_public, endorsed_tls_key(node.sign_seed), at)


def forge_authority(of: AuthorityKey) -> bytes:
    """Make a thief's certificate that claims a CA's Ed25519 key and names."""
    key = ec.generate_private_key(ec.SECP256R1())
    real = x509.load_der_x509_certificate(of.certificate)
    builder = x509.CertificateBuilder(
        real.subject,
        real.subject,
        key.public_key(),
        real.serial_number,
        real.not_valid_before_utc,
        real.not_valid_after_utc,
        list(real.extensions),
    )
    return builder.sign(key, SHA256()).public_bytes(Encoding.DER)


def removal(node: NodeIdentity, cutoff: int) -> Removal:
    return Removal(node.node_id, cutoff, bytes(32))


def renewal(node: NodeIdentity, serial: str = "1") -> RenewalRequest:
    return RenewalRequest(node.node_id, serial)
