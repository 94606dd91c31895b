"""What a certificate calls its owner: the Ed25519 key behind it, and names and IP addresses.

The Ed25519 key and its endorsement of the TLS key are a URI among the alternative names, which
every X.509 library can carry; an extension of our own would need a registered object identifier.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import re
from collections.abc import Iterable
from typing import TypeAlias

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey

from covey.fleet.identity import KEY_BYTES
from covey.fleet.tls_key import TlsKey, point_of

Names: TypeAlias = frozenset[str]

MALFORMED = (
    ValueError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.ExtensionNotFound,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)
"""What reading a stranger's certificate may raise."""

_SCHEME = "covey:ed25519:"
_MAX_NAMES = 16
_MAX_LENGTH = 128
_HOST_NAME = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?:\.(?!-)[a-z0-9_-]{1,63})*")


def tie_to(sign_key: bytes, tls_key: TlsKey) -> x509.UniformResourceIdentifier:
    """Return the alternative name that ties a certificate's key to an Ed25519 key."""
    tie = base64.urlsafe_b64encode(sign_key + tls_key.endorsement).decode()
    return x509.UniformResourceIdentifier(_SCHEME + tie)


def tied_key(certificate: x509.Certificate) -> bytes:
    """Return the raw Ed25519 public key that endorsed the certificate's own key.

    Raises `ValueError` if the key is not P-256, or no Ed25519 key endorsed it.
    """
    try:
        public = certificate.public_key()
    except MALFORMED as error:
        raise ValueError("its key cannot be read") from error
    if not isinstance(public, EllipticCurvePublicKey) or not isinstance(public.curve, SECP256R1):
        raise ValueError("its key is not P-256")  # noqa: TRY004 - malformed input
    uris = _alternative_names(certificate).get_values_for_type(x509.UniformResourceIdentifier)
    ties = [uri.removeprefix(_SCHEME) for uri in uris if uri.startswith(_SCHEME)]
    if len(ties) != 1:
        raise ValueError("it does not name one Ed25519 key")
    try:
        tie = base64.b64decode(ties[0], altchars=b"-_", validate=True)
    except binascii.Error as error:
        raise ValueError("it does not name one Ed25519 key") from error
    sign_key, endorsement = tie[:KEY_BYTES], tie[KEY_BYTES:]
    if not TlsKey(point_of(public), endorsement).belongs_to(sign_key):
        raise ValueError("its key is not endorsed by the Ed25519 key that it names")
    return sign_key


def clean_names(names: Iterable[str]) -> Names:
    """Return the names and IP addresses that fit into a certificate, at most sixteen of them."""
    found = dict.fromkeys(filter(None, map(_clean, names)))
    return frozenset(list(found)[:_MAX_NAMES])


def names_in(certificate: x509.Certificate) -> Names:
    """Return the host names and IP addresses in a certificate; raises `ValueError`."""
    names = _alternative_names(certificate)
    addresses = names.get_values_for_type(x509.IPAddress)
    return frozenset([*names.get_values_for_type(x509.DNSName), *map(str, addresses)])


def general_names(names: Names) -> list[x509.GeneralName]:
    """Return cleaned names as X.509 writes them, in a fixed order."""
    return [_general_name(name) for name in sorted(names)]


def _alternative_names(certificate: x509.Certificate) -> x509.SubjectAlternativeName:
    try:
        return certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except MALFORMED as error:
        raise ValueError("it has no alternative names that can be read") from error


def _clean(name: str) -> str | None:
    try:
        address = ipaddress.ip_address(name.partition("%")[0])
    except ValueError:
        return _clean_host(name)
    return None if address.is_unspecified else str(address)


def _clean_host(name: str) -> str | None:
    try:
        host = name.encode("idna").decode().lower().removesuffix(".")
    except UnicodeError:
        return None
    fits = len(host) <= _MAX_LENGTH and _HOST_NAME.fullmatch(host) is not None
    # A last label of digits makes browsers read the name as a bad IPv4 address.
    return host if fits and not host.rpartition(".")[2].isdigit() else None


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
