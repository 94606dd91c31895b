"""Who a node is: a key that signs, a key that secrets are sealed to, and the id made from it."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from hashlib import blake2b

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from covey.store.api import NodeId

KEY_BYTES = 32
SIGNATURE_BYTES = 64
_NODE_ID_BYTES = 16


def node_id_of(sign_key: bytes) -> NodeId:
    """Return the id that belongs to a raw Ed25519 public key: 32 hexadecimal digits."""
    return NodeId(blake2b(sign_key, digest_size=_NODE_ID_BYTES).hexdigest())


def signature_is_valid(sign_key: bytes, signature: bytes, message: bytes) -> bool:
    """Whether `signature` over `message` was made by the owner of a raw Ed25519 public key."""
    try:
        Ed25519PublicKey.from_public_bytes(sign_key).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


@dataclass(frozen=True, slots=True)
class NodeIdentity:
    """A node's two private keys, as 32-byte seeds that never show in `repr`."""

    sign_seed: bytes = field(repr=False)
    seal_seed: bytes = field(repr=False)

    @classmethod
    def generate(cls) -> NodeIdentity:
        """Make a new identity from the system's random source."""
        return cls(os.urandom(KEY_BYTES), os.urandom(KEY_BYTES))

    @property
    def signing_key(self) -> Ed25519PrivateKey:
        """The key that signs logs and requests."""
        return Ed25519PrivateKey.from_private_bytes(self.sign_seed)

    @property
    def sealing_key(self) -> X25519PrivateKey:
        """The key that opens what was sealed to this node."""
        return X25519PrivateKey.from_private_bytes(self.seal_seed)

    @property
    def sign_public(self) -> bytes:
        """The raw public half of the signing key."""
        return self.signing_key.public_key().public_bytes_raw()

    @property
    def seal_public(self) -> bytes:
        """The raw public half of the sealing key."""
        return self.sealing_key.public_key().public_bytes_raw()

    @property
    def node_id(self) -> NodeId:
        """The node's id."""
        return node_id_of(self.sign_public)
