"""The recovery key: 256 bits on paper that regain the fleet when passwords or machines are lost.

What the fleet keeps of it is public: two public keys, and boxes sealed to it with the CA's key and
all data keys. Its own signature over the fleet's id tells its holder which fleet is theirs.
"""

from __future__ import annotations

import hmac
import os
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Annotated

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from msgspec import Meta

from covey.errors import DamagedError, InvalidRequestError, UnauthenticatedError
from covey.fleet.identity import KEY_BYTES, signature_is_valid
from covey.fleet.node_secrets import KeyRing, join_rings
from covey.fleet.rings import open_ring
from covey.fleet.roster import Roster
from covey.fleet.sealing import derive, seal
from covey.fleet.statements import Id, PublicKey, Recovery, Signature
from covey.store.api import NodeId

CHALLENGE_BYTES = 32
_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_ALIKE = str.maketrans({"O": "0", "I": "1", "L": "1"})
_LENGTH = 55
_GROUP = 5
_CHECK_BITS = _LENGTH * 5 - KEY_BYTES * 8
_FLEET_DOMAIN = b"covey recovery fleet v1\0"
_REQUEST_DOMAIN = b"covey recovery request v1\0"


@dataclass(frozen=True, slots=True)
class RecoveryKey:
    """The recovery key; `text` is the only form in which it is ever written down."""

    entropy: bytes = field(repr=False)

    @classmethod
    def generate(cls) -> RecoveryKey:
        """Make a new recovery key."""
        return cls(os.urandom(KEY_BYTES))

    @property
    def text(self) -> str:
        """Eleven groups of five characters (Crockford's Base32), the last ones a checksum."""
        number = int.from_bytes(self.entropy, "big") << _CHECK_BITS | _check(self.entropy)
        digits = [_ALPHABET[number >> shift & 31] for shift in range((_LENGTH - 1) * 5, -1, -5)]
        joined = "".join(digits)
        return "-".join(joined[at : at + _GROUP] for at in range(0, _LENGTH, _GROUP))

    @property
    def signing_key(self) -> Ed25519PrivateKey:
        """The key that proves possession of the recovery key."""
        return Ed25519PrivateKey.from_private_bytes(derive(self.entropy, "recovery signing"))

    @property
    def sealing_key(self) -> X25519PrivateKey:
        """The key that opens recovery boxes."""
        return X25519PrivateKey.from_private_bytes(derive(self.entropy, "recovery sealing"))


def read_recovery_key(text: str) -> RecoveryKey:
    """Read a recovery key as people type it: any case, spaces or hyphens, O for 0, I or L for 1.

    Raises `InvalidRequestError` that tells a wrong length from a typing mistake.
    """
    typed = "".join(char for char in text.upper() if char not in " -_\t\r\n").translate(_ALIKE)
    unknown = sorted({char for char in typed if char not in _ALPHABET})
    if unknown:
        raise _mistyped(f"no recovery key has the character {unknown[0]!r}")
    if len(typed) != _LENGTH:
        raise _mistyped(f"it has {len(typed)} characters instead of {_LENGTH}")
    number = 0
    for char in typed:
        number = number << 5 | _ALPHABET.index(char)
    entropy = (number >> _CHECK_BITS).to_bytes(KEY_BYTES, "big")
    if number & (1 << _CHECK_BITS) - 1 != _check(entropy):
        raise _mistyped("a character is mistyped or two are swapped")
    return RecoveryKey(entropy)


def found_recovery(
    key: RecoveryKey, fleet_id: str, issuer: NodeId, ring: KeyRing, number: int
) -> Recovery:
    """Make the statement that puts a new recovery key in force."""
    bare = Recovery(
        issuer=issuer,
        number=number,
        sign_key=key.signing_key.public_key().public_bytes_raw(),
        seal_key=key.sealing_key.public_key().public_bytes_raw(),
        endorsement=key.signing_key.sign(_FLEET_DOMAIN + fleet_id.encode()),
        box=b"",
    )
    return refresh_recovery(bare, fleet_id, issuer, ring)


def refresh_recovery(present: Recovery, fleet_id: str, issuer: NodeId, ring: KeyRing) -> Recovery:
    """Return the statement with everything that `issuer` holds now sealed to the recovery key."""
    box = seal(present.seal_key, _purpose(fleet_id, issuer), msgspec.msgpack.encode(ring))
    return msgspec.structs.replace(present, issuer=issuer, box=box)


def open_recovery(key: RecoveryKey, roster: Roster) -> KeyRing:
    """Open the fleet's recovery boxes.

    Raises `UnauthenticatedError` if the fleet is not the key's own, `DamagedError` if the boxes
    lack the CA's key or a data key.
    """
    public = key.signing_key.public_key().public_bytes_raw()
    statements = [item for item in roster.recovery if item.sign_key == public]
    message = _FLEET_DOMAIN + roster.fleet_id.encode()
    if not any(signature_is_valid(public, item.endorsement, message) for item in statements):
        raise UnauthenticatedError(
            "The recovery key does not belong to this fleet, or was replaced by a newer one.",
            hint="Use the recovery key that was printed last.",
        )
    rings = [
        open_ring(key.sealing_key, _purpose(roster.fleet_id, NodeId(item.issuer)), item.box)
        for item in statements
    ]
    ring = join_rings(*rings)
    held = {item.id.hex() for item in ring.generations}
    newest = roster.trusted[-1].certificate if roster.trusted else b""
    if newest not in {item.certificate for item in ring.authorities} or any(
        item.id not in held for item in roster.generations
    ):
        raise DamagedError(
            "The recovery box of this fleet is out of date: keys are missing from it.",
            hint="Try another node of the fleet, one that was in use lately.",
        )
    return ring


class RecoverRequest(msgspec.Struct, frozen=True, array_like=True):
    """Proof of holding the recovery key: a signature over the answering node's challenge."""

    challenge: Annotated[bytes, Meta(min_length=CHALLENGE_BYTES, max_length=CHALLENGE_BYTES)]
    sign_key: PublicKey
    signature: Signature


class RecoverAnswer(msgspec.Struct, frozen=True, array_like=True):
    """The fleet's statements; everything secret in them is sealed."""

    fleet_id: Id
    statements: list[bytes]


def ask_for_recovery(key: RecoveryKey, challenge: bytes) -> bytes:
    """Answer a node's challenge with the recovery key; runs where there is no fleet yet."""
    if len(challenge) != CHALLENGE_BYTES:
        raise InvalidRequestError(
            "The node's challenge has the wrong length.",
            hint="Check that the address is that of a Covey node, and update Covey here.",
        )
    public = key.signing_key.public_key().public_bytes_raw()
    signature = key.signing_key.sign(_REQUEST_DOMAIN + challenge)
    return msgspec.msgpack.encode(RecoverRequest(challenge, public, signature))


def read_recover_request(data: bytes, roster: Roster) -> RecoverRequest:
    """Check a request against the recovery key in force; raises `UnauthenticatedError`."""
    try:
        request = msgspec.msgpack.decode(data, type=RecoverRequest)
    except msgspec.DecodeError as error:
        raise InvalidRequestError("The recovery request is malformed.") from error
    message = _REQUEST_DOMAIN + request.challenge
    in_force = any(hmac.compare_digest(request.sign_key, r.sign_key) for r in roster.recovery)
    if not in_force or not signature_is_valid(request.sign_key, request.signature, message):
        raise UnauthenticatedError(
            "This is not the recovery key of this fleet.",
            hint="Use the recovery key that was printed last.",
        )
    return request


def _check(entropy: bytes) -> int:
    digest = blake2b(entropy, digest_size=8, person=b"covey recovery").digest()
    return int.from_bytes(digest, "big") >> (64 - _CHECK_BITS)


def _purpose(fleet_id: str, issuer: NodeId) -> str:
    return f"recovery {fleet_id} {issuer}"


def _mistyped(reason: str) -> InvalidRequestError:
    return InvalidRequestError(
        f"This is not a recovery key: {reason}.",
        hint="It has eleven groups of five letters and digits; type it again.",
    )
