"""The fleet's certificate authority: it issues node certificates, and certificates are checked.

A node certificate binds a node id to its TLS key for a short time. Peers check the chain and the
node id, never a host name; the names are there for browsers and other ordinary clients.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from covey.errors import UnauthenticatedError
from covey.fleet.certificate_names import (
    MALFORMED,
    Names,
    clean_names,
    general_names,
    names_in,
    tie_to,
    tied_key,
)
from covey.fleet.identity import KEY_BYTES, node_id_of
from covey.fleet.tls_key import TlsKey, derive_tls_key, endorsed_tls_key
from covey.store.api import NodeId

AUTHORITY_LIFE = timedelta(days=365 * 20)
CERTIFICATE_LIFE = timedelta(days=90)
BACKDATING = timedelta(hours=1)
"""Certificates begin this much earlier, so that a peer whose clock is slow accepts them."""
LOOPBACK = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True, slots=True)
class AuthorityKey:
    """A fleet CA with its private key; `number` counts the fleet's CAs from 0."""

    seed: bytes = field(repr=False)
    certificate: bytes = field(repr=False)
    number: int

    @property
    def signing_key(self) -> Ed25519PrivateKey:
        """The key that signs membership statements."""
        return Ed25519PrivateKey.from_private_bytes(self.seed)

    @property
    def certificate_key(self) -> EllipticCurvePrivateKey:
        """The key that signs certificates."""
        return derive_tls_key(self.seed)

    @property
    def public(self) -> bytes:
        """The raw public half of the signing key."""
        return self.signing_key.public_key().public_bytes_raw()

    @property
    def id(self) -> str:
        """The CA's id; that of CA number 0 is the fleet's id."""
        return node_id_of(self.public)


@dataclass(frozen=True, slots=True)
class NodeCertificate:
    """What a node certificate says; the times are aware and in UTC."""

    der: bytes = field(repr=False)
    node_id: NodeId
    sign_key: bytes = field(repr=False)
    serial: int
    not_before: datetime
    not_after: datetime
    names: Names

    def renewal_due(self, now: datetime) -> bool:
        """Whether two thirds of its life have passed."""
        return now >= self.not_before + (self.not_after - self.not_before) * 2 / 3

    def expired(self, now: datetime) -> bool:
        """Whether its life has ended."""
        return now > self.not_after

    def names_all(self, names: Iterable[str]) -> bool:
        """Whether it has each of the names that fit into a certificate."""
        return clean_names(names) <= self.names


def create_authority(now: datetime, number: int = 0) -> AuthorityKey:
    """Make a new self-signed CA (X.509 v3, ECDSA with P-256)."""
    seed = os.urandom(KEY_BYTES)
    key = derive_tls_key(seed)
    public = key.public_key()
    sign_key = Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()
    tie = tie_to(sign_key, endorsed_tls_key(seed))
    name = _name(f"Covey fleet authority {node_id_of(sign_key)}")
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATING)
        .not_valid_after(now + AUTHORITY_LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectAlternativeName([tie]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .sign(key, SHA256())
    )
    return AuthorityKey(seed, certificate.public_bytes(Encoding.DER), number)


def issue_certificate(
    authority: AuthorityKey,
    sign_key: bytes,
    tls_key: TlsKey,
    now: datetime,
    life: timedelta = CERTIFICATE_LIFE,
    names: Iterable[str] = (),
) -> bytes:
    """Issue a certificate (DER) for the node with these keys.

    `names` are host names and IP addresses beside those of loopback; unfit ones are left out.
    """
    public = tls_key.public
    key = authority.certificate_key
    issuer = x509.load_der_x509_certificate(authority.certificate)
    node_id = node_id_of(sign_key)
    hosts = clean_names(names).union(LOOPBACK, [node_id])
    alternatives = [tie_to(sign_key, tls_key), *general_names(hosts)]
    purposes = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    issuer_id = x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key())
    certificate = (
        x509.CertificateBuilder()
        .subject_name(_name(node_id))
        .issuer_name(issuer.subject)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATING)
        .not_valid_after(now + life)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
        .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(issuer_id, critical=False)
        .sign(key, SHA256())
    )
    return certificate.public_bytes(Encoding.DER)


def read_certificate(der: bytes) -> NodeCertificate:
    """Read a node certificate without trusting it; raises `UnauthenticatedError` if malformed.

    The node id is computed from the Ed25519 key that endorsed the certificate's key, and the
    certificate must name the same.
    """
    try:
        certificate = x509.load_der_x509_certificate(der)
        common = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
    except MALFORMED as error:
        raise _refused("it cannot be read") from error
    if constraints.value.ca:
        raise _refused("it is not a node certificate")
    try:
        sign_key = tied_key(certificate)
        names = names_in(certificate)
    except ValueError as error:
        raise _refused(str(error)) from error
    node_id = node_id_of(sign_key)
    if [name.value for name in common] != [node_id]:
        raise _refused("its name does not fit its key")
    return NodeCertificate(
        der,
        node_id,
        sign_key,
        certificate.serial_number,
        certificate.not_valid_before_utc,
        certificate.not_valid_after_utc,
        names,
    )


def verify_certificate(der: bytes, authorities: Iterable[bytes], now: datetime) -> NodeCertificate:
    """Check a node certificate against the CA certificates (DER) that are trusted at present.

    Raises `UnauthenticatedError` if none of them issued it, or it is outside its life.
    """
    found = read_certificate(der)
    if not any(_issued_by(der, authority, now) for authority in authorities):
        raise _refused("no authority that this fleet trusts has issued it")
    if now < found.not_before:
        raise _refused("it is not valid yet: compare the clocks of the two machines")
    if found.expired(now):
        raise _refused("it has expired")
    return found


def authority_key_of(der: bytes) -> bytes:
    """Return the raw Ed25519 public key of a sound self-signed CA certificate.

    Raises `ValueError`.
    """
    try:
        certificate = x509.load_der_x509_certificate(der)
        certificate.verify_directly_issued_by(certificate)
        constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
    except (InvalidSignature, TypeError, *MALFORMED) as error:
        raise ValueError("it is not self-signed") from error
    if not constraints.value.ca:
        raise ValueError("it is not an authority's")
    return tied_key(certificate)


def fingerprint(der: bytes) -> bytes:
    """Return a certificate's SHA-256 fingerprint."""
    return sha256(der).digest()


def to_pem(der: bytes) -> str:
    """Write a certificate as PEM, for TLS contexts and for other tools."""
    return x509.load_der_x509_certificate(der).public_bytes(Encoding.PEM).decode()


def utc_now() -> datetime:
    """Return the present time, aware, in UTC."""
    return datetime.now(UTC)


def _issued_by(der: bytes, authority: bytes, now: datetime) -> bool:
    issuer = x509.load_der_x509_certificate(authority)
    if not issuer.not_valid_before_utc <= now <= issuer.not_valid_after_utc:
        return False
    try:
        x509.load_der_x509_certificate(der).verify_directly_issued_by(issuer)
    except (InvalidSignature, TypeError, *MALFORMED):
        return False
    return True


def _refused(reason: str) -> UnauthenticatedError:
    return UnauthenticatedError(
        f"The node's certificate is refused: {reason}.",
        hint="On that machine, run: covey doctor",
    )


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
