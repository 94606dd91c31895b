"""Signed membership statements: the only things that say who is in the fleet and what they hold.

A statement is signed by a fleet CA, except `RenewalRequest`, `Leave` and `Contact`, which a node
signs about itself. Statements carry public facts and boxes sealed to their recipients, so that a
relay may store and check them without learning a secret.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from hashlib import blake2b
from typing import Annotated, TypeAlias

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from msgspec import Meta

from covey.errors import InvalidRequestError, UnauthenticatedError
from covey.fleet.authority import authority_key_of, read_certificate
from covey.fleet.identity import node_id_of, signature_is_valid
from covey.fleet.tls_key import TlsKey
from covey.operations.access import Role

MAX_STATEMENT_BYTES = 256 << 10
_DOMAIN = b"covey statement v1\0"

Id = Annotated[str, Meta(pattern="^[0-9a-f]{32}$", max_length=32)]
PublicKey = Annotated[bytes, Meta(min_length=32, max_length=32)]
Signature = Annotated[bytes, Meta(min_length=64, max_length=64)]
ChainValue = Annotated[bytes, Meta(min_length=32, max_length=32)]
MAX_COUNTER = 1 << 53
Counter = Annotated[int, Meta(ge=0, le=MAX_COUNTER)]
CertificateBytes = Annotated[bytes, Meta(max_length=4096)]
Box = Annotated[bytes, Meta(max_length=MAX_STATEMENT_BYTES)]


class NodeKind(StrEnum):
    """A full member reads the shared records; a relay stores and forwards what it cannot read."""

    FULL = "full"
    RELAY = "relay"


class Member(msgspec.Struct, frozen=True, tag="member", tag_field="type"):
    """A node is in the fleet, with these keys, this kind and this role."""

    node_id: Id
    sign_key: PublicKey
    tls_key: TlsKey
    seal_key: PublicKey
    kind: NodeKind
    role: Role
    joined_at: Counter


class Removal(msgspec.Struct, frozen=True, tag="removal", tag_field="type"):
    """A node is out for good; entries of its log after `cutoff` are refused.

    `chain` is the log chain's value at the cutoff, or None if no entry was held.
    """

    node_id: Id
    cutoff: Counter
    chain: ChainValue | None = None


class Leave(msgspec.Struct, frozen=True, tag="leave", tag_field="type"):
    """A node declares itself out; signed by its own key. `cutoff` is its log's last entry."""

    node_id: Id
    cutoff: Counter
    chain: ChainValue | None = None


class Generation(msgspec.Struct, frozen=True, tag="generation", tag_field="type"):
    """A data key exists; the highest `number` seals new entries."""

    id: Id
    number: Counter


class DataKeys(msgspec.Struct, frozen=True, tag="data-keys", tag_field="type"):
    """All data keys that `issuer` holds, sealed to one member (to an admin, the CA's key too)."""

    recipient: Id
    issuer: Id
    box: Box


class Authority(msgspec.Struct, frozen=True, tag="authority", tag_field="type"):
    """CA `number` is trusted; signed by its predecessor, the first by itself."""

    number: Counter
    certificate: CertificateBytes


class Retirement(msgspec.Struct, frozen=True, tag="retirement", tag_field="type"):
    """The CAs up to and including `number` are trusted no more; signed by a later one.

    It takes effect once everything that the later CA said again (`restated`, by `place_of`) is
    held: so no part of a batch can make members vanish, or removed ones come back.
    """

    number: Counter
    restated: tuple[Annotated[bytes, Meta(min_length=8, max_length=8)], ...] = ()


class Certificate(msgspec.Struct, frozen=True, tag="certificate", tag_field="type"):
    """A node's certificate, issued by the CA that signs the statement."""

    node_id: Id
    certificate: CertificateBytes


class RenewalRequest(msgspec.Struct, frozen=True, tag="renewal-request", tag_field="type"):
    """A node asks that its certificate with this serial be replaced; signed by its own key."""

    node_id: Id
    serial: Annotated[str, Meta(max_length=64)]


class Contact(msgspec.Struct, frozen=True, tag="contact", tag_field="type"):
    """Where others reach a relay, which cannot write a host record; signed by its own key."""

    node_id: Id
    addresses: Annotated[tuple[Annotated[str, Meta(max_length=262)], ...], Meta(max_length=16)]


class Recovery(msgspec.Struct, frozen=True, tag="recovery", tag_field="type"):
    """The recovery key's public halves, and what `issuer` sealed to it.

    `endorsement` is the recovery key's own signature over the fleet's id: it proves to the holder
    of the recovery key that an answering fleet is theirs. The highest `number` is in force.
    """

    issuer: Id
    number: Counter
    sign_key: PublicKey
    seal_key: PublicKey
    endorsement: Signature
    box: Box


Statement: TypeAlias = (
    Member
    | Removal
    | Leave
    | Generation
    | DataKeys
    | Authority
    | Retirement
    | Certificate
    | RenewalRequest
    | Contact
    | Recovery
)

Slot: TypeAlias = tuple[str, str, bytes]
"""Statement type, subject, signer's public key: in one slot the latest statement counts."""


class _Body(msgspec.Struct, frozen=True, array_like=True):
    fleet_id: Id
    version: Counter
    issued_at: Counter
    statement: Statement


class _Envelope(msgspec.Struct, frozen=True, array_like=True):
    signer: PublicKey
    body: bytes
    signature: Signature


class BadStatementError(InvalidRequestError):
    """A membership statement is malformed, forged or from another fleet."""


@dataclass(frozen=True)
class Signed:
    """A statement whose signature fits its stated signer; whether to trust that is the roster's."""

    raw: bytes
    signer: bytes
    version: int
    issued_at: int
    statement: Statement

    @cached_property
    def digest(self) -> bytes:
        """Digest of the whole envelope."""
        return blake2b(self.raw, digest_size=32).digest()

    @cached_property
    def slot(self) -> Slot:
        """The place in the grow-only map."""
        return type(self.statement).__name__, subject_of(self.statement), self.signer

    @property
    def rank(self) -> tuple[int, int, bytes]:
        """The order within a slot: the highest counts."""
        return self.version, self.issued_at, self.digest


def subject_of(statement: Statement) -> str:
    """Return what a statement is about; a new statement on the same subject replaces the old."""
    match statement:
        case Member() | Removal() | Leave() | Certificate() | RenewalRequest() | Contact():
            return statement.node_id
        case Generation():
            return statement.id
        case DataKeys():
            return f"{statement.recipient}.{statement.issuer}"
        case Authority():
            return fleet_key_id(statement.certificate)
        case Retirement():
            return "authorities"
        case Recovery():
            return statement.issuer


def place_of(statement: Statement) -> bytes:
    """Return a short digest of a statement's type and subject."""
    place = f"{type(statement).__name__} {subject_of(statement)}"
    return blake2b(place.encode(), digest_size=8).digest()


def fleet_key_id(certificate: bytes) -> str:
    """Return a CA's id from its certificate; raises `BadStatementError`."""
    try:
        return node_id_of(authority_key_of(certificate))
    except ValueError as error:
        raise BadStatementError(f"An authority's certificate is malformed: {error}.") from error


def sign_statement(
    key: Ed25519PrivateKey, fleet_id: str, statement: Statement, *, version: int, issued_at: int
) -> Signed:
    """Sign a statement; `issued_at` is in milliseconds since the epoch.

    Raises `BadStatementError` for one that nobody could read again.
    """
    body = msgspec.msgpack.encode(_Body(fleet_id, version, issued_at, statement))
    try:
        msgspec.msgpack.decode(body, type=_Body)
    except msgspec.DecodeError as error:
        raise BadStatementError(f"A membership statement is out of bounds: {error}.") from error
    public = key.public_key().public_bytes_raw()
    raw = msgspec.msgpack.encode(_Envelope(public, body, key.sign(_DOMAIN + body)))
    if len(raw) > MAX_STATEMENT_BYTES:
        raise BadStatementError("A membership statement is over its size limit.")
    return Signed(raw, public, version, issued_at, statement)


def open_statement(raw: bytes, fleet_id: str) -> Signed:
    """Decode a statement and check its signature, form and fleet; raises `BadStatementError`."""
    if len(raw) > MAX_STATEMENT_BYTES:
        raise BadStatementError("A membership statement is over its size limit.")
    try:
        envelope = msgspec.msgpack.decode(raw, type=_Envelope)
        body = msgspec.msgpack.decode(envelope.body, type=_Body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadStatementError(f"A membership statement is malformed: {error}.") from error
    if body.fleet_id != fleet_id:
        raise BadStatementError("A membership statement belongs to another fleet.")
    if not signature_is_valid(envelope.signer, envelope.signature, _DOMAIN + envelope.body):
        raise BadStatementError("A membership statement's signature is not valid.")
    _check_form(body.statement, envelope.signer)
    return Signed(raw, envelope.signer, body.version, body.issued_at, body.statement)


def signed_by_its_node(statement: Statement) -> bool:
    """Whether the statement's subject signs it, rather than a CA."""
    return isinstance(statement, RenewalRequest | Leave | Contact)


def _certified(certificate: bytes) -> str:
    try:
        return read_certificate(certificate).node_id
    except UnauthenticatedError as error:
        raise BadStatementError(error.message) from error


def _check_form(statement: Statement, signer: bytes) -> None:
    match statement:
        case Member():
            if node_id_of(statement.sign_key) != statement.node_id:
                raise BadStatementError("A member's id does not fit its key.")
            if not statement.tls_key.belongs_to(statement.sign_key):
                raise BadStatementError("A member's TLS key is not its own.")
        case Authority():
            fleet_key_id(statement.certificate)
        case Certificate():
            if _certified(statement.certificate) != statement.node_id:
                raise BadStatementError("A certificate is for another node than stated.")
        case RenewalRequest() | Leave() | Contact():
            if node_id_of(signer) != statement.node_id:
                raise BadStatementError("A node may speak in this way of itself alone.")
        case Removal() | Generation() | DataKeys() | Retirement() | Recovery():
            pass
