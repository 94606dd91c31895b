"""One entry of a node's log, its digest, the hash chain over a log, and the chain's signed heads.

A log's entries are authentic because the chain over their digests ends in a head that the origin
signed: one signature check covers all entries before it. A digest can stand in for an entry that
was compacted or quarantined, so one bad entry never breaks the chain behind it.
"""

from __future__ import annotations

from hashlib import blake2b

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from covey.store.api import NodeId

DIGEST_BYTES = 32
SIGN_EVERY = 256
"""A commit of many entries signs at least every this many, so that a range read can end soon."""

SIGN_EVERY_BYTES = 1 << 20
"""It also signs after at most this many bytes of payloads."""

MAX_PAYLOAD_BYTES = 1 << 20
_HEAD_DOMAIN = b"covey log head v1\0"


class Entry(msgspec.Struct, frozen=True):
    """`payload` is the sealed record, or None where only the digest is held (a stub).

    `key_hash` is an HMAC under the generation's key; `signature` is empty except on a signed head.
    """

    origin: NodeId
    seq: int
    hlc: int
    collection: str
    key_hash: bytes
    generation: bytes
    payload: bytes | None
    digest: bytes
    signature: bytes = b""


def header(
    origin: NodeId, seq: int, hlc: int, collection: str, key_hash: bytes, generation: bytes
) -> bytes:
    """Return the bytes that bind a payload to its place: associated data of the seal."""
    name = collection.encode()
    return b"".join(
        (
            bytes.fromhex(origin),
            seq.to_bytes(8, "big"),
            hlc.to_bytes(8, "big"),
            len(name).to_bytes(2, "big"),
            name,
            len(key_hash).to_bytes(2, "big"),
            key_hash,
            len(generation).to_bytes(2, "big"),
            generation,
        )
    )


def digest_of(head: bytes, payload: bytes) -> bytes:
    """Return the digest of an entry from its `header` and payload."""
    return blake2b(head + payload, digest_size=DIGEST_BYTES).digest()


def entry_is_intact(entry: Entry) -> bool:
    """Whether the payload, when held, matches the digest."""
    if entry.payload is None:
        return True
    head = header(
        entry.origin, entry.seq, entry.hlc, entry.collection, entry.key_hash, entry.generation
    )
    return digest_of(head, entry.payload) == entry.digest


def chain_start(origin: NodeId) -> bytes:
    """Return the chain's value before the first entry (sequence number 0)."""
    return blake2b(bytes.fromhex(origin), digest_size=DIGEST_BYTES).digest()


def chain_next(chain: bytes, digest: bytes) -> bytes:
    """Extend the chain by one entry."""
    return blake2b(chain + digest, digest_size=DIGEST_BYTES).digest()


def sign_head(key: Ed25519PrivateKey, origin: NodeId, seq: int, chain: bytes) -> bytes:
    """Sign the chain's value after entry `seq`."""
    return key.sign(_head(origin, seq, chain))


def head_is_signed(
    key: Ed25519PublicKey, origin: NodeId, seq: int, chain: bytes, signature: bytes
) -> bool:
    """Whether the origin signed the chain's value after entry `seq`."""
    try:
        key.verify(signature, _head(origin, seq, chain))
    except InvalidSignature:
        return False
    return True


def _head(origin: NodeId, seq: int, chain: bytes) -> bytes:
    return _HEAD_DOMAIN + bytes.fromhex(origin) + seq.to_bytes(8, "big") + chain
