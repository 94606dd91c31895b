"""Sealed boxes: bytes that one recipient alone can open, bound to what they are for.

Ephemeral X25519, HKDF-SHA256 (RFC 5869) over both public keys, AES-256-GCM. The key serves one
message only, so that the nonce may be derived with it. A box does not prove who made it: put it
into a signed statement.
"""

from __future__ import annotations

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from covey.errors import DamagedError, InvalidRequestError

_DOMAIN = b"covey sealed box v1\0"
_PUBLIC_BYTES = 32
_KEY_BYTES = 32
_NONCE_BYTES = 12
_TAG_BYTES = 16


def derive(secret: bytes, purpose: str, length: int = 32, *, salt: bytes = b"") -> bytes:
    """Derive `length` bytes for one purpose from a secret of full entropy (HKDF-SHA256)."""
    info = b"covey v1\0" + purpose.encode()
    return HKDF(SHA256(), length, salt or None, info).derive(secret)


def seal(recipient: bytes, purpose: str, plaintext: bytes) -> bytes:
    """Seal `plaintext` to a raw X25519 public key; `purpose` must be given again to open it.

    Raises `InvalidRequestError` for a public key of low order.
    """
    ephemeral = X25519PrivateKey.generate()
    try:
        shared = ephemeral.exchange(X25519PublicKey.from_public_bytes(recipient))
    except ValueError as error:
        raise InvalidRequestError("The recipient's sealing key is not valid.") from error
    public = ephemeral.public_key().public_bytes_raw()
    key, nonce = _key(shared, public, recipient, purpose)
    return public + AESGCM(key).encrypt(nonce, plaintext, _DOMAIN)


def open_box(recipient: X25519PrivateKey, purpose: str, box: bytes) -> bytes:
    """Open a sealed box; raises `DamagedError` if it is for another key or purpose, or altered."""
    damaged = DamagedError(
        "A sealed message cannot be opened with this key.",
        hint="It was altered on the way or is meant for another node.",
    )
    if len(box) < _PUBLIC_BYTES + _TAG_BYTES:
        raise damaged
    public, sealed = box[:_PUBLIC_BYTES], box[_PUBLIC_BYTES:]
    own = recipient.public_key().public_bytes_raw()
    try:
        shared = recipient.exchange(X25519PublicKey.from_public_bytes(public))
        key, nonce = _key(shared, public, own, purpose)
        return AESGCM(key).decrypt(nonce, sealed, _DOMAIN)
    except (InvalidTag, ValueError) as error:
        raise damaged from error


def _key(shared: bytes, ephemeral: bytes, recipient: bytes, purpose: str) -> tuple[bytes, bytes]:
    info = _DOMAIN + purpose.encode()
    okm = HKDF(SHA256(), _KEY_BYTES + _NONCE_BYTES, ephemeral + recipient, info).derive(shared)
    return okm[:_KEY_BYTES], okm[_KEY_BYTES:]
