"""A secret that peers must know besides having certificates, proved while a WebSocket opens.

Both sides send a nonce in the upgrade's headers. The accepting side adds its proof to its answer,
the calling side sends its own as the first frame. A proof is an HMAC over both nonces and both
node ids, so that it is good for one connection between these two and in one direction.
"""

from __future__ import annotations

import hmac
import os
from collections.abc import Mapping
from dataclasses import dataclass, field

from covey.errors import RefusedError

NONCE_HEADER = "Covey-Nonce"
PROOF_HEADER = "Covey-Proof"
_NONCE_BYTES = 32


@dataclass(frozen=True, slots=True)
class Handshake:
    """One opening of a connection, from one of its two sides."""

    secret: bytes = field(repr=False)
    caller: str
    acceptor: str
    caller_nonce: str
    acceptor_nonce: str

    def caller_proof(self) -> bytes:
        """Return what shows that the calling side knows the secret."""
        return self._proof("caller")

    def acceptor_proof(self) -> bytes:
        """Return what shows that the accepting side knows the secret."""
        return self._proof("acceptor")

    def check_caller(self, proof: bytes) -> None:
        """Raise `RefusedError` unless the calling side knows the secret."""
        if not hmac.compare_digest(self.caller_proof(), proof):
            raise RefusedError("This node wants a shared secret, and yours is another.")

    def check_acceptor(self, proof: bytes, address: str) -> None:
        """Raise `RefusedError` unless the accepting side knows the secret."""
        if not hmac.compare_digest(self.acceptor_proof(), proof):
            raise RefusedError(
                f"The node at {address} does not know this fleet's shared secret.",
                hint="Give both machines the same file: fleet.shared_secret_file in covey.toml",
            )

    def _proof(self, side: str) -> bytes:
        parts = (side, self.caller, self.acceptor, self.caller_nonce, self.acceptor_nonce)
        message = "\0".join(("covey shared secret v1", *parts)).encode()
        return hmac.digest(self.secret, message, "sha256")


def new_nonce() -> str:
    """Return a nonce for one connection."""
    return os.urandom(_NONCE_BYTES).hex()


def read_nonce(headers: Mapping[str, str]) -> str:
    """Return the other side's nonce; raises `RefusedError` if it sent none."""
    found = headers.get(NONCE_HEADER, "")
    if len(found) != 2 * _NONCE_BYTES:
        raise RefusedError(
            "This node wants a shared secret: set fleet.shared_secret_file there, too."
        )
    return found


def read_proof(headers: Mapping[str, str]) -> bytes:
    """Return the other side's proof, empty if it sent none that can be read."""
    try:
        return bytes.fromhex(headers.get(PROOF_HEADER, ""))
    except ValueError:
        return b""
