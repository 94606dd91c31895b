"""Invitations and their tokens: where to go, whom to trust there, and a secret to prove."""

from __future__ import annotations

import base64
import binascii
import hmac
import os
from collections.abc import Sequence
from datetime import datetime, timedelta
from hashlib import blake2b, sha256
from typing import Annotated

import msgspec
from msgspec import Meta

from covey.errors import InvalidRequestError, UnauthenticatedError
from covey.fleet.sealing import derive
from covey.fleet.statements import NodeKind
from covey.operations.access import Role

PREFIX = "covey1-"
MAX_LIFE = timedelta(days=30)
_ID_BYTES = 8
_SECRET_BYTES = 16
_CHECKSUM_BYTES = 4
_MAX_TOKEN_LENGTH = 4096

Address = Annotated[str, Meta(min_length=3, max_length=262)]


class Invitation(msgspec.Struct, frozen=True, array_like=True):
    """What a token holds; `expires_at` is in seconds since the epoch."""

    fleet_id: Annotated[bytes, Meta(min_length=16, max_length=16)]
    id: Annotated[bytes, Meta(min_length=_ID_BYTES, max_length=_ID_BYTES)]
    secret: Annotated[bytes, Meta(min_length=_SECRET_BYTES, max_length=_SECRET_BYTES)]
    authority: Annotated[bytes, Meta(min_length=32, max_length=32)]
    expires_at: int
    addresses: Annotated[tuple[Address, ...], Meta(min_length=1, max_length=16)]

    def __repr__(self) -> str:
        return f"Invitation({self.id.hex()})"

    @property
    def proof_key(self) -> bytes:
        """The key by which the secret is proved; the inviting node keeps this alone."""
        return derive(self.secret, "invitation", salt=self.fleet_id)


class KeptInvitation(msgspec.Struct, frozen=True):
    """What the inviting node keeps; `used_by` is a node id once it was used."""

    id: str
    proof_key: bytes
    kind: NodeKind
    role: Role
    created_at: int
    expires_at: int
    failures: int = 0
    used_by: str | None = None

    def __repr__(self) -> str:
        return f"KeptInvitation({self.id})"


def create_invitation(
    fleet_id: str,
    authority: bytes,
    addresses: Sequence[str],
    *,
    kind: NodeKind,
    role: Role,
    life: timedelta,
    now: datetime,
) -> tuple[Invitation, KeptInvitation]:
    """Make an invitation, and what to keep of it; `authority` is the CA's fingerprint.

    Raises `InvalidRequestError` for a life that is too long or not positive.
    """
    if not timedelta(0) < life <= MAX_LIFE:
        raise InvalidRequestError(
            f"An invitation lives for at most {MAX_LIFE.days} days.",
            hint="Give --expires a time such as 30m, 24h or 7d.",
        )
    if not addresses:
        raise InvalidRequestError(
            "This node knows no address at which others can reach it.",
            hint="Set server.advertise in covey.toml, for instance to your-host:13500.",
        )
    expires_at = int((now + life).timestamp())
    invitation = Invitation(
        fleet_id=bytes.fromhex(fleet_id),
        id=os.urandom(_ID_BYTES),
        secret=os.urandom(_SECRET_BYTES),
        authority=authority,
        expires_at=expires_at,
        addresses=tuple(addresses)[:16],
    )
    kept = KeptInvitation(
        id=invitation.id.hex(),
        proof_key=invitation.proof_key,
        kind=kind,
        role=role,
        created_at=int(now.timestamp()),
        expires_at=expires_at,
    )
    return invitation, kept


def write_token(invitation: Invitation) -> str:
    """Write an invitation as the token that people carry."""
    content = msgspec.msgpack.encode(invitation)
    return PREFIX + base64.urlsafe_b64encode(_checksum(content) + content).decode().rstrip("=")


def read_token(text: str) -> Invitation:
    """Read a token, white space ignored; raises `InvalidRequestError` saying what is wrong."""
    token = "".join(text.split())
    if len(token) > _MAX_TOKEN_LENGTH:
        raise _malformed("it is far too long")
    if not token.startswith(PREFIX):
        if token.startswith("covey") and "-" in token[:10]:
            raise _malformed("it was made by a newer Covey: update this machine")
        raise _malformed(f"a token begins with {PREFIX}")
    body = token.removeprefix(PREFIX)
    try:
        raw = base64.b64decode(body + "=" * (-len(body) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as error:
        raise _malformed("it has characters that no token has, or is cut off") from error
    checksum, content = raw[:_CHECKSUM_BYTES], raw[_CHECKSUM_BYTES:]
    if not hmac.compare_digest(checksum, _checksum(content)):
        raise _malformed("it is incomplete or mistyped")
    try:
        return msgspec.msgpack.decode(content, type=Invitation)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _malformed("its content cannot be read") from error


def check_expiry(expires_at: int, now: datetime) -> None:
    """Raise `UnauthenticatedError` if an invitation has expired."""
    if now.timestamp() >= expires_at:
        raise UnauthenticatedError(
            "This invitation has expired.", hint="Ask for a new one: covey invite"
        )


def prove(key: bytes, purpose: str, message: bytes) -> bytes:
    """Return the proof that one knows the invitation's secret."""
    return hmac.digest(derive(key, purpose), message, sha256)


def proof_is_valid(key: bytes, purpose: str, message: bytes, proof: bytes) -> bool:
    """Whether a proof is right, in constant time."""
    return hmac.compare_digest(prove(key, purpose, message), proof)


def _checksum(content: bytes) -> bytes:
    return blake2b(content, digest_size=_CHECKSUM_BYTES, person=b"covey token").digest()


def _malformed(reason: str) -> InvalidRequestError:
    return InvalidRequestError(
        f"This is not a usable invitation: {reason}.",
        hint="Copy the whole token that `covey invite` printed.",
    )
