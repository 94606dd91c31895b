"""The join protocol: a machine proves an invitation's secret and receives its place in the fleet.

The request and the answer are authenticated by keys derived from the secret, over everything in
them: whoever sits between can neither change a key nor learn the secret, and the answer proves
that the inviting node made it. Nothing here does I/O.
"""

from __future__ import annotations

from datetime import datetime
from hashlib import sha256
from typing import Annotated

import msgspec
from msgspec import Meta

from covey.errors import DamagedError, InvalidRequestError, UnauthenticatedError
from covey.fleet.authority import fingerprint, verify_certificate
from covey.fleet.founding import FirstKeys, first_secrets, open_all
from covey.fleet.identity import NodeIdentity, node_id_of, signature_is_valid
from covey.fleet.invitation import Invitation, check_expiry, proof_is_valid, prove
from covey.fleet.machine import Machine, NodeName
from covey.fleet.rings import check_ring, own_ring
from covey.fleet.roster import fold
from covey.fleet.statements import PublicKey, Signature
from covey.fleet.tls_key import TlsKey, endorsed_tls_key
from covey.store.api import NodeId

MAX_JOIN_REQUEST_BYTES = 16 << 10
_REQUEST_DOMAIN = b"covey join request v1\0"

Proof = Annotated[bytes, Meta(min_length=32, max_length=32)]


class JoinContent(msgspec.Struct, frozen=True, array_like=True):
    """What a machine asks for: its keys, and what it tells of itself."""

    invitation_id: Annotated[str, Meta(pattern="^[0-9a-f]{16}$", max_length=16)]
    sign_key: PublicKey
    tls_key: TlsKey
    seal_key: PublicKey
    machine: Machine

    @property
    def node_id(self) -> NodeId:
        """The id that the machine will have."""
        return node_id_of(self.sign_key)


class JoinRequest(msgspec.Struct, frozen=True, array_like=True):
    """The content, the proof of the secret, and a signature that proves the signing key."""

    content: bytes
    proof: Proof
    signature: Signature


class JoinAnswer(msgspec.Struct, frozen=True, array_like=True):
    """The machine's name in the fleet, the fleet's name (not for relays) and all statements.

    Certificate, CAs, role and the sealed data keys are among the statements.
    """

    name: NodeName
    fleet_name: str
    statements: list[bytes]


class _SealedAnswer(msgspec.Struct, frozen=True, array_like=True):
    content: bytes
    proof: Proof


def ask_to_join(
    invitation: Invitation, identity: NodeIdentity, machine: Machine, now: datetime
) -> bytes:
    """Make the request of a machine that is in no fleet yet.

    Raises `UnauthenticatedError` if the invitation has expired.
    """
    check_expiry(invitation.expires_at, now)
    content = msgspec.msgpack.encode(
        JoinContent(
            invitation.id.hex(),
            identity.sign_public,
            endorsed_tls_key(identity.sign_seed),
            identity.seal_public,
            machine,
        )
    )
    proof = prove(invitation.proof_key, "join request", content)
    signature = identity.signing_key.sign(_REQUEST_DOMAIN + content)
    return msgspec.msgpack.encode(JoinRequest(content, proof, signature))


def read_join_request(data: bytes) -> tuple[JoinRequest, JoinContent]:
    """Read a request and check its own signature; its proof is still to be checked.

    Raises `InvalidRequestError`.
    """
    malformed = InvalidRequestError(
        "The join request is malformed.", hint="Update Covey on the machine that joins."
    )
    if len(data) > MAX_JOIN_REQUEST_BYTES:
        raise malformed
    try:
        request = msgspec.msgpack.decode(data, type=JoinRequest)
        content = msgspec.msgpack.decode(request.content, type=JoinContent)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise malformed from error
    message = _REQUEST_DOMAIN + request.content
    signed = signature_is_valid(content.sign_key, request.signature, message)
    if not signed or not content.tls_key.belongs_to(content.sign_key):
        raise malformed
    return request, content


def request_is_proved(request: JoinRequest, proof_key: bytes) -> bool:
    """Whether the request was made by someone who knows the invitation's secret."""
    return proof_is_valid(proof_key, "join request", request.content, request.proof)


def answer_join(request: bytes, proof_key: bytes, answer: JoinAnswer) -> bytes:
    """Write the answer to a request that was proved."""
    content = msgspec.msgpack.encode(answer)
    proof = prove(proof_key, "join answer", _answer_message(request, content))
    return msgspec.msgpack.encode(_SealedAnswer(content, proof))


def accept_join(
    invitation: Invitation,
    identity: NodeIdentity,
    machine: Machine,
    request: bytes,
    answer: bytes,
    now: datetime,
) -> FirstKeys:
    """Check the answer and return what the machine starts with; runs before there is a keyring.

    A wrong data key is found here. Raises `UnauthenticatedError` if the answer is not from the
    inviting node or its certificate does not verify, `DamagedError` for wrong data keys.
    """
    found = _open_answer(invitation, request, answer)
    fleet_id = invitation.fleet_id.hex()
    roster = fold(fleet_id, open_all(fleet_id, found.statements))
    trusted = tuple(item.certificate for item in roster.trusted)
    if invitation.authority not in {fingerprint(item) for item in trusted}:
        raise _not_the_fleet("its authority is not the one in the invitation")
    member = roster.members.get(identity.node_id)
    if member is None or not member.present or member.certificate is None:
        raise _not_the_fleet("it did not take this machine in")
    verify_certificate(member.certificate, trusted, now)
    ring = own_ring(roster, identity)
    check_ring(roster, member, ring)
    secrets = first_secrets(machine, identity, fleet_id, found.fleet_name, member.certificate)
    secrets = msgspec.structs.replace(
        secrets,
        name=found.name,
        authorities=trusted,
        generations=ring.generations,
        authority_keys=ring.authorities,
    )
    return FirstKeys(secrets, found.statements)


def _open_answer(invitation: Invitation, request: bytes, answer: bytes) -> JoinAnswer:
    try:
        sealed = msgspec.msgpack.decode(answer, type=_SealedAnswer)
    except msgspec.DecodeError as error:
        raise _not_the_fleet("it cannot be read") from error
    message = _answer_message(request, sealed.content)
    if not proof_is_valid(invitation.proof_key, "join answer", message, sealed.proof):
        raise _not_the_fleet("the answering node does not know the invitation")
    try:
        return msgspec.msgpack.decode(sealed.content, type=JoinAnswer)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise DamagedError(
            "The inviting node's answer cannot be read.", hint="Update Covey on this machine."
        ) from error


def _answer_message(request: bytes, content: bytes) -> bytes:
    return sha256(request).digest() + content


def _not_the_fleet(reason: str) -> UnauthenticatedError:
    return UnauthenticatedError(
        f"The answer does not come from the fleet that invited: {reason}.",
        hint="Nothing was changed here. Check the addresses, and ask for a new invitation.",
    )
