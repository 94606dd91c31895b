"""Data keys, nodes and versions for the store's tests."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from covey.store.api import NodeId


class FixedKeys:
    """Data keys by generation, the last one current."""

    def __init__(self, keys: dict[bytes, bytes] | None = None) -> None:
        self.keys = {b"generation-one..": bytes(32)} if keys is None else keys

    def current(self) -> tuple[bytes, bytes] | None:
        return list(self.keys.items())[-1] if self.keys else None

    def key(self, generation: bytes) -> bytes | None:
        return self.keys.get(generation)

    def generations(self) -> Sequence[bytes]:
        return list(self.keys)[::-1]


class NodeSigner:
    """One node's identity, the same for the same name."""

    def __init__(self, name: str) -> None:
        self.signing_key = Ed25519PrivateKey.from_private_bytes(
            blake2b(name.encode(), digest_size=32).digest()
        )
        self.public_key = self.signing_key.public_key()
        raw = self.public_key.public_bytes_raw()
        self.node_id = NodeId(blake2b(raw, digest_size=16).hexdigest())
