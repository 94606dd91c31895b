"""Invitations of one node, and the admission of those who come with one."""

from __future__ import annotations

from datetime import timedelta

import msgspec

from covey.errors import ConflictError, NotFoundError, UnauthenticatedError
from covey.fleet.authority import fingerprint
from covey.fleet.core import FleetCore
from covey.fleet.invitation import (
    Invitation,
    KeptInvitation,
    check_expiry,
    create_invitation,
)
from covey.fleet.issuing import Issuer, to_ms
from covey.fleet.joining import (
    JoinAnswer,
    JoinContent,
    answer_join,
    read_join_request,
    request_is_proved,
)
from covey.fleet.statements import Member, NodeKind
from covey.operations.access import Role

MAX_FAILURES = 5
"""So many wrong proofs end an invitation."""

_NAMESPACE = "invitations"
_USED = "invitations used"
_KEPT_AFTER_USE = timedelta(days=30)


class Admission:
    """The invitations that this node made; another node does not know them."""

    def __init__(self, core: FleetCore) -> None:
        self._core = core

    async def invite(self, kind: NodeKind, role: Role, life: timedelta) -> Invitation:
        """Make an invitation; raises `RefusedError` on a node without the CA's key."""
        core = self._core
        authority = core.issuer().authority
        invitation, kept = create_invitation(
            core.roster.fleet_id,
            fingerprint(authority.certificate),
            core.around.addresses(),
            kind=kind,
            role=role,
            life=life,
            now=core.now,
        )
        await self._put(kept)
        return invitation

    def open_invitations(self) -> list[KeptInvitation]:
        """Return the invitations that can still be used, oldest first."""
        now = core_seconds(self._core)
        kept = (_decode(value) for _, value in self._core.local.scan_local(_NAMESPACE))
        return sorted((k for k in kept if k.expires_at > now), key=lambda k: (k.created_at, k.id))

    async def revoke(self, invitation_id: str) -> KeptInvitation:
        """Make an invitation useless; raises `NotFoundError`."""
        value = await self._core.local.take_local(_NAMESPACE, invitation_id)
        if value is None:
            raise NotFoundError(
                f"No open invitation has the id {invitation_id}.",
                hint="See them all: covey fleet invitations",
            )
        return _decode(value)

    async def sweep(self) -> None:
        """Drop invitations that expired, and the memory of used ones after a while."""
        now = core_seconds(self._core)
        for namespace, grace in ((_NAMESPACE, 0), (_USED, int(_KEPT_AFTER_USE.total_seconds()))):
            for key, value in self._core.local.scan_local(namespace):
                if _decode(value).expires_at + grace <= now:
                    await self._core.local.put_local(namespace, key, None)

    async def admit(self, request: bytes) -> bytes:
        """Answer a join request.

        Raises `UnauthenticatedError` for an invitation that is unknown, used, expired or not
        proved, `ConflictError` for a node that was in the fleet before, `InvalidRequestError`.
        """
        core = self._core
        read, content = read_join_request(request)
        async with core.changing:
            kept = self._find(content.invitation_id)
            check_expiry(kept.expires_at, core.now)
            if not request_is_proved(read, kept.proof_key):
                await self._count_failure(kept)
                raise _useless("its secret is wrong")
            issuer = core.issuer()
            if content.node_id in core.roster.members:
                raise ConflictError(
                    "This machine's key was in the fleet before and cannot be used again.",
                    hint="Start the join anew: a new key is made each time.",
                )
            if await core.local.take_local(_NAMESPACE, kept.id) is None:
                raise _useless("it was used already")
            await self._take_in(issuer, kept, content)
        name = core.name_of(content.node_id)
        if core.reads_hosts:
            name = (await core.hosts.record_member(content.node_id, content.machine)).name
        relay = kept.kind is NodeKind.RELAY
        answer = JoinAnswer(
            name=name,
            fleet_name="" if relay else core.keys.secrets.fleet_name,
            statements=core.roster_store.export(),
        )
        return answer_join(request, kept.proof_key, answer)

    async def _take_in(self, issuer: Issuer, kept: KeptInvitation, content: JoinContent) -> None:
        core = self._core
        used = msgspec.structs.replace(kept, used_by=content.node_id, proof_key=b"")
        await core.local.put_local(_USED, kept.id, msgspec.msgpack.encode(used))
        member = Member(
            content.node_id,
            content.sign_key,
            content.tls_key,
            content.seal_key,
            kept.kind,
            kept.role,
            to_ms(core.now),
        )
        await core.commit(issuer.admit(member))

    def _find(self, invitation_id: str) -> KeptInvitation:
        value = self._core.local.get_local(_NAMESPACE, invitation_id)
        if value is not None:
            return _decode(value)
        if self._core.local.get_local(_USED, invitation_id) is not None:
            raise _useless("it was used already")
        raise _useless("this node did not make it, or it was revoked or has expired")

    async def _count_failure(self, kept: KeptInvitation) -> None:
        failed = msgspec.structs.replace(kept, failures=kept.failures + 1)
        if failed.failures >= MAX_FAILURES:
            await self._core.local.put_local(_NAMESPACE, kept.id, None)
        else:
            await self._put(failed)

    async def _put(self, kept: KeptInvitation) -> None:
        await self._core.local.put_local(_NAMESPACE, kept.id, msgspec.msgpack.encode(kept))


def core_seconds(core: FleetCore) -> int:
    """Return the present time in seconds since the epoch."""
    return int(core.now.timestamp())


def _decode(value: bytes) -> KeptInvitation:
    return msgspec.msgpack.decode(value, type=KeptInvitation)


def _useless(reason: str) -> UnauthenticatedError:
    return UnauthenticatedError(
        f"This invitation cannot be used: {reason}.", hint="Ask for a new one: covey invite"
    )
