"""The P-256 key that stands in X.509 certificates for an Ed25519 key, which browsers do not take.

It comes from the same seed, and the Ed25519 key endorses it. So nobody else, be it an authority
that issues certificates, can tie another TLS key to a node or to an authority.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from msgspec import Meta

from covey.fleet.identity import SIGNATURE_BYTES, signature_is_valid
from covey.fleet.sealing import derive

POINT_BYTES = 33
_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
_DERIVED_BYTES = 48
_DOMAIN = b"covey tls key v1\0"


class TlsKey(msgspec.Struct, frozen=True, array_like=True):
    """A public P-256 key as a compressed point, and its Ed25519 key's signature over that."""

    point: Annotated[bytes, Meta(min_length=POINT_BYTES, max_length=POINT_BYTES)]
    endorsement: Annotated[bytes, Meta(min_length=SIGNATURE_BYTES, max_length=SIGNATURE_BYTES)]

    @property
    def public(self) -> ec.EllipticCurvePublicKey:
        """The key; raises `ValueError` if the point is not on the curve."""
        return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), self.point)

    def belongs_to(self, sign_key: bytes) -> bool:
        """Whether it is a key, and the owner of a raw Ed25519 public key endorsed it."""
        try:
            _ = self.public
        except ValueError:
            return False
        return signature_is_valid(sign_key, self.endorsement, _DOMAIN + self.point)


def derive_tls_key(seed: bytes) -> ec.EllipticCurvePrivateKey:
    """Derive the P-256 key of an Ed25519 seed: HKDF-SHA256, then FIPS 186-5 appendix A.2.1."""
    number = int.from_bytes(derive(seed, "p-256 tls key", _DERIVED_BYTES), "big")
    return ec.derive_private_key(number % (_ORDER - 1) + 1, ec.SECP256R1())


def endorsed_tls_key(seed: bytes) -> TlsKey:
    """Return the public TLS key of an Ed25519 seed, endorsed by that."""
    point = point_of(derive_tls_key(seed).public_key())
    return TlsKey(point, Ed25519PrivateKey.from_private_bytes(seed).sign(_DOMAIN + point))


def point_of(key: ec.EllipticCurvePublicKey) -> bytes:
    """Return a public key as a compressed point (SEC 1, section 2.3.3)."""
    return key.public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
