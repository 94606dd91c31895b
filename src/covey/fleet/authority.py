"""The fleet's certificate authority: it issues node certificates, and certificates are checked.

A node certificate binds a node id to its Ed25519 key for a short time. Peers check the chain and
the node id, never a host name; the loopback names are there for ordinary tools on the machine.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from covey.errors import UnauthenticatedError
from covey.fleet.identity import KEY_BYTES, node_id_of
from covey.store.api import NodeId

AUTHORITY_LIFE = timedelta(days=365 * 20)
CERTIFICATE_LIFE = timedelta(days=90)
BACKDATING = timedelta(minutes=5)
"""Certificates begin this much earlier, so that a peer whose clock is slow accepts them."""


@dataclass(frozen=True, slots=True)
class AuthorityKey:
    """A fleet CA with its private key; `number` counts the fleet's CAs from 0."""

    seed: bytes = field(repr=False)
    certificate: bytes = field(repr=False)
    number: int

    @property
    def signing_key(self) -> Ed25519PrivateKey:
        """The key that signs certificates and membership statements."""
        return Ed25519PrivateKey.from_private_bytes(self.seed)

    @property
    def public(self) -> bytes:
        """The raw public key."""
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

    def renewal_due(self, now: datetime) -> bool:
        """Whether two thirds of its life have passed."""
        return now >= self.not_before + (self.not_after - self.not_before) * 2 / 3

    def expired(self, now: datetime) -> bool:
        """Whether its life has ended."""
        return now > self.not_after


def create_authority(now: datetime, number: int = 0) -> AuthorityKey:
    """Make a new self-signed CA (Ed25519, X.509 v3)."""
    seed = os.urandom(KEY_BYTES)
    key = Ed25519PrivateKey.from_private_bytes(seed)
    public = key.public_key()
    name = _name(f"Covey fleet authority {node_id_of(public.public_bytes_raw())}")
    identifier = x509.SubjectKeyIdentifier.from_public_key(public)
    usage = _key_usage(signs_certificates=True)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATING)
        .not_valid_after(now + AUTHORITY_LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(identifier, critical=False)
        .sign(key, None)
    )
    return AuthorityKey(seed, certificate.public_bytes(Encoding.DER), number)


def issue_certificate(
    authority: AuthorityKey, sign_key: bytes, now: datetime, life: timedelta = CERTIFICATE_LIFE
) -> bytes:
    """Issue a certificate (DER) for the node with this raw Ed25519 public key."""
    public = Ed25519PublicKey.from_public_bytes(sign_key)
    issuer = x509.load_der_x509_certificate(authority.certificate)
    node_id = node_id_of(sign_key)
    names: list[x509.GeneralName] = [
        x509.DNSName(node_id),
        x509.DNSName("localhost"),
        x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
        x509.IPAddress(ipaddress.ip_address("::1")),
    ]
    purposes = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    issuer_key = Ed25519PublicKey.from_public_bytes(authority.public)
    issuer_id = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key)
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
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(issuer_id, critical=False)
        .sign(authority.signing_key, None)
    )
    return certificate.public_bytes(Encoding.DER)


def read_certificate(der: bytes) -> NodeCertificate:
    """Read a node certificate without trusting it; raises `UnauthenticatedError` if malformed.

    The node id is computed from the key, and the certificate must name the same.
    """
    try:
        certificate = x509.load_der_x509_certificate(der)
        public = certificate.public_key()
        names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        authority = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except (ValueError, x509.ExtensionNotFound) as error:
        raise _refused("it cannot be read") from error
    if not isinstance(public, Ed25519PublicKey) or authority:
        raise _refused("it is not a node certificate")
    sign_key = public.public_bytes_raw()
    node_id = node_id_of(sign_key)
    if [name.value for name in names] != [node_id]:
        raise _refused("its name does not fit its key")
    return NodeCertificate(
        der,
        node_id,
        sign_key,
        certificate.serial_number,
        certificate.not_valid_before_utc,
        certificate.not_valid_after_utc,
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
    """Return the raw public key of a sound self-signed CA certificate; raises `ValueError`."""
    certificate = x509.load_der_x509_certificate(der)
    public = certificate.public_key()
    if not isinstance(public, Ed25519PublicKey):
        raise ValueError("the authority's key is not Ed25519")  # noqa: TRY004 - malformed input
    try:
        certificate.verify_directly_issued_by(certificate)
        constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
    except (InvalidSignature, TypeError, x509.ExtensionNotFound) as error:
        raise ValueError("the authority's certificate is not self-signed") from error
    if not constraints.value.ca:
        raise ValueError("the certificate is not an authority's")
    return public.public_bytes_raw()


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
    except (InvalidSignature, ValueError, TypeError):
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
        digital_signature=True,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
