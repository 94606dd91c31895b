"""Renewal without a valid certificate: a member proves its key, and both sides swap statements.

It serves a node whose certificate has expired or comes from a retired CA, and a node that the
others do not know yet because it regained the fleet by the recovery key.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import msgspec
from msgspec import Meta

from covey.errors import InvalidRequestError, UnauthenticatedError
from covey.fleet.identity import NodeIdentity, node_id_of, signature_is_valid
from covey.fleet.issuing import to_ms
from covey.fleet.sealing import open_box, seal
from covey.fleet.statements import Counter, PublicKey, Signature
from covey.store.api import NodeId

MAX_PUSHED_BYTES = 200 << 10
MAX_SKEW_MS = 10 * 60 * 1000
_DOMAIN = b"covey renewal v1\0"


class RenewalContent(msgspec.Struct, frozen=True, array_like=True):
    """Who asks, when (milliseconds since the epoch), and the statements that it holds."""

    fleet_id: Annotated[str, Meta(max_length=32)]
    sign_key: PublicKey
    at: Counter
    statements: list[bytes]

    @property
    def node_id(self) -> NodeId:
        """Who asks."""
        return node_id_of(self.sign_key)


class _Request(msgspec.Struct, frozen=True, array_like=True):
    content: bytes
    signature: Signature


def ask_for_renewal(
    identity: NodeIdentity, fleet_id: str, statements: list[bytes], now: datetime
) -> bytes:
    """Make a request; where the statements are too large for one, it carries the last of them."""
    pushed, left = list[bytes](), MAX_PUSHED_BYTES
    for raw in reversed(statements):
        left -= len(raw)
        if left < 0:
            break
        pushed.append(raw)
    content = RenewalContent(fleet_id, identity.sign_public, to_ms(now), pushed)
    encoded = msgspec.msgpack.encode(content)
    signature = identity.signing_key.sign(_DOMAIN + encoded)
    return msgspec.msgpack.encode(_Request(encoded, signature))


def read_renewal(data: bytes, fleet_id: str, now: datetime) -> RenewalContent:
    """Check a request's form, signature and time; membership is still to be checked.

    Raises `InvalidRequestError` or `UnauthenticatedError`.
    """
    try:
        request = msgspec.msgpack.decode(data, type=_Request)
        content = msgspec.msgpack.decode(request.content, type=RenewalContent)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidRequestError("The renewal request is malformed.") from error
    signed = signature_is_valid(content.sign_key, request.signature, _DOMAIN + request.content)
    if not signed or content.fleet_id != fleet_id:
        raise UnauthenticatedError("The renewal request is not from a member of this fleet.")
    if abs(content.at - to_ms(now)) > MAX_SKEW_MS:
        raise UnauthenticatedError(
            "The renewal request is too old, or the clocks of the two machines differ.",
            hint="Set both clocks right.",
        )
    return content


def answer_renewal(fleet_id: str, seal_key: bytes, statements: list[bytes]) -> bytes:
    """Seal all statements to the member that asks."""
    return seal(seal_key, _purpose(fleet_id), msgspec.msgpack.encode(statements))


def accept_renewal(identity: NodeIdentity, fleet_id: str, answer: bytes) -> list[bytes]:
    """Open an answer; the statements verify themselves. Raises `DamagedError`."""
    plaintext = open_box(identity.sealing_key, _purpose(fleet_id), answer)
    try:
        return msgspec.msgpack.decode(plaintext, type=list[bytes])
    except msgspec.DecodeError as error:
        raise InvalidRequestError("The answer to the renewal is malformed.") from error


def _purpose(fleet_id: str) -> str:
    return f"renewal answer {fleet_id}"
