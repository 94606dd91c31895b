"""Certificates that users bring: read, and refused unless they will work."""

from __future__ import annotations

import ipaddress
from datetime import UTC, datetime

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from covey.apps.routing.names import covers
from covey.apps.routing.persisted import KeptCertificate
from covey.errors import InvalidRequestError
from covey.operations.secret import Secret


def read_certificate(
    host: str, chain: str, key: Secret, now: datetime | None = None
) -> KeptCertificate:
    """Read a chain (PEM, the host's certificate first) with its key.

    Raises `InvalidRequestError` if it is malformed, expired, for other hosts or another key.
    """
    moment = now or datetime.now(UTC)
    try:
        found = x509.load_pem_x509_certificates(chain.encode())
    except ValueError as error:
        raise InvalidRequestError(
            "The certificate cannot be read.",
            hint="Give the chain as PEM, the certificate of the host first.",
        ) from error
    leaf, private = found[0], _read_key(key)
    if _public(leaf) != private.public_key().public_bytes(
        Encoding.DER, PublicFormat.SubjectPublicKeyInfo
    ):
        raise InvalidRequestError(
            "The key does not belong to the certificate.",
            hint="Is the certificate of the host the first one of the file?",
        )
    if moment > leaf.not_valid_after_utc:
        raise InvalidRequestError(
            f"The certificate expired on {leaf.not_valid_after_utc:%Y-%m-%d}.",
            hint="Have it renewed first.",
        )
    if moment < leaf.not_valid_before_utc:
        raise InvalidRequestError(
            f"The certificate is not valid before {leaf.not_valid_before_utc:%Y-%m-%d}.",
            hint="Check the clock of this machine.",
        )
    names = _names(leaf)
    if not any(covers(name, host) for name in names):
        raise InvalidRequestError(
            f"The certificate is not for {host}, but for {', '.join(names) or 'no host at all'}.",
            hint="Give the certificate that names the host.",
        )
    text = "".join(item.public_bytes(Encoding.PEM).decode() for item in found)
    plain = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    return KeptCertificate(text, plain, names)


def expiry(certificate: KeptCertificate) -> datetime:
    """Return when a kept certificate ends."""
    return x509.load_pem_x509_certificate(certificate.chain.encode()).not_valid_after_utc


def _read_key(key: Secret) -> PrivateKeyTypes:
    try:
        return load_pem_private_key(key.reveal().encode(), password=None)
    except TypeError:
        raise InvalidRequestError(
            "The key is protected by a password.",
            hint="Take the password off: openssl pkey -in KEY.pem -out PLAIN.pem",
        ) from None
    except ValueError:
        raise InvalidRequestError(
            "The key cannot be read.", hint="Give the private key as PEM."
        ) from None


def _public(certificate: x509.Certificate) -> bytes:
    return certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _names(certificate: x509.Certificate) -> tuple[str, ...]:
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ()
    hosts = [name.lower() for name in found.get_values_for_type(x509.DNSName)]
    addresses: list[ipaddress.IPv4Address | ipaddress.IPv6Address] = [
        item
        for item in found.get_values_for_type(x509.IPAddress)
        if isinstance(item, ipaddress.IPv4Address | ipaddress.IPv6Address)
    ]
    return (*hosts, *(str(item) for item in addresses))
