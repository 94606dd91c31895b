"""The fleet service of an unlocked node: what operations and the peer port ask of the fleet.

Before a node is unlocked there is no `FleetService`: `found_fleet`, `ask_to_join` with
`accept_join`, and `regain_fleet` then work by themselves. Its methods run on the event loop.
"""

from __future__ import annotations

import dataclasses
from datetime import timedelta

import msgspec

from covey.errors import ConflictError, PreconditionFailedError
from covey.fleet.admission import Admission
from covey.fleet.authority import create_authority, fingerprint, to_pem
from covey.fleet.core import FleetCore, Surroundings, check_role
from covey.fleet.hosts import HostRecord, HostRecords
from covey.fleet.invitation import Invitation
from covey.fleet.issuing import Issuer
from covey.fleet.live_keys import LiveKeys
from covey.fleet.machine import Machine
from covey.fleet.node_secrets import AuthoritySecret, GenerationKey, KeyRing, join_rings
from covey.fleet.recovery import RecoveryKey, found_recovery
from covey.fleet.roster import FleetMember
from covey.fleet.roster_store import FleetRoster
from covey.fleet.statements import (
    Contact,
    Generation,
    Leave,
    NodeKind,
    Removal,
    Signed,
)
from covey.fleet.upkeep import Upkeep
from covey.fleet.views import RemovedNode, RotatedAuthority, RotatedKeys
from covey.operations.access import Role
from covey.store.api import NodeId
from covey.store.ports import ChainHead, LocalState


class FleetService:
    """One node's part in the fleet, while it is unlocked; `close` ends it.

    `hosts` is None on a relay. Changes raise `RefusedError` on a node that is not an admin.
    """

    def __init__(
        self,
        keys: LiveKeys,
        roster: FleetRoster,
        local: LocalState,
        hosts: HostRecords | None,
        around: Surroundings,
    ) -> None:
        self.core = FleetCore(keys, roster, local, hosts, around)
        self.invitations = Admission(self.core)
        self._upkeep = Upkeep(self.core)
        self._unsubscribe = roster.subscribe(self.core.try_take_up)
        self.core.try_take_up()

    def close(self) -> None:
        """Stop following the roster."""
        self._unsubscribe()

    async def announce(self, machine: Machine, addresses: tuple[str, ...] = ()) -> str:
        """Record what this machine tells of itself, and return its name.

        Call it at each start, after the first sync: an earlier write would rival the record that
        the inviting node made. A relay tells its addresses alone, in a statement.
        """
        if not self.core.reads_hosts:
            if addresses and addresses != self.core.me.addresses:
                contact = Contact(self.core.keys.node_id, addresses[:16])
                await self.core.commit([self.core.sign_own(contact)])
            return self.core.keys.secrets.name
        host = await self.core.hosts.record_member(self.core.keys.node_id, machine, addresses)
        self.core.keys.learn(name=host.name)
        return host.name

    def member_addresses(self) -> set[str]:
        """Return where other members are reached, as far as this node can read it."""
        core = self.core
        others = {m.node_id: m.addresses for m in core.roster.present}
        others.pop(core.keys.node_id, None)
        hosts = core.hosts.list() if core.reads_hosts else []
        on_record = {a for host in hosts if host.node_id in others for a in host.addresses}
        return on_record.union(*others.values())

    async def maintain(self) -> None:
        """Do what is due: certificates, departures, old invitations.

        Call it hourly and after each change of the roster. A node that is no member does nothing.
        """
        if not self.core.is_member:
            return
        await self._upkeep.keep_certificates()
        await self.invitations.sweep()
        admins = self.core.roster.admins
        if admins and admins[0].node_id == self.core.keys.node_id:
            for member in list(self.core.roster.members.values()):
                if member.left:
                    await self._remove(member, _stated_head(member))

    def authority(self) -> bytes:
        """Return the trusted CA certificates as PEM; they are public."""
        return "".join(to_pem(item.certificate) for item in self.core.roster.trusted).encode()

    def member(self, certificate: bytes) -> NodeId:
        """Return the present member that a TLS certificate (DER) belongs to.

        Raises `UnauthenticatedError` if it does not verify, `RefusedError` for a removed node.
        """
        return self.core.member_of(certificate).node_id

    async def admit(self, request: bytes, address: str) -> bytes:
        """Answer a join request of a machine that has no certificate yet."""
        _ = address
        return await self.invitations.admit(request)

    async def renew(self, request: bytes, address: str) -> bytes:
        """Answer a member whose certificate is not valid any more, or that is not known yet."""
        _ = address
        return await self._upkeep.renew(request)

    async def challenge(self, address: str) -> bytes:
        """Return a challenge for a recovery."""
        _ = address
        return self._upkeep.challenge()

    async def recover(self, request: bytes, address: str) -> bytes:
        """Answer a holder of the recovery key."""
        _ = address
        return self._upkeep.recover(request)

    def renewal_request(self) -> bytes:
        """Make a request to post to a peer that refuses this node's certificate."""
        return self._upkeep.renewal_request()

    async def accept_renewal(self, answer: bytes) -> bool:
        """Take in the peer's answer; True if it brought anything new."""
        return await self._upkeep.accept_renewal(answer)

    async def invite(
        self, *, relay: bool = False, role: Role | None = None, life: timedelta
    ) -> Invitation:
        """Make an invitation for a member (a developer, if not said otherwise) or a relay."""
        kind = NodeKind.RELAY if relay else NodeKind.FULL
        check_role(kind, role)
        granted = Role.VIEWER if relay else role or Role.DEVELOPER
        return await self.invitations.invite(kind, granted, life)

    async def remove(self, name: str) -> RemovedNode:
        """Remove a member for good and change every key that it knew, or forget a recorded machine.

        What its log held here by now stays; later entries are refused everywhere. An admin knew
        the CA's key, so that a new CA takes over at once. Raises `NotFoundError`, `ConflictError`.
        """
        host = self.core.hosts.find(name) if self.core.reads_hosts else None
        if host is not None and host.node_id not in self.core.roster.members:
            await self.core.hosts.delete(host)
            return RemovedNode(
                host.name,
                None,
                [],
                data_keys_rotated=False,
                authority_rotated=False,
                advice="It was no member; its record is deleted.",
            )
        member = self.core.find_member(name)
        if member.node_id == self.core.keys.node_id:
            raise ConflictError(
                "This is the machine that you are on.", hint="To take it out: covey fleet leave"
            )
        if not member.present and not member.left:
            raise ConflictError(
                f"{name} was removed before.", hint="Its entries are refused already."
            )
        return await self._remove(member, self.core.around.held_log(member.node_id))

    async def rename(self, name: str, new_name: str, expected: str | None = None) -> HostRecord:
        """Give a machine another name; raises `NotFoundError`, `ConflictError` if it is taken."""
        host = self.core.hosts.get(name)
        if expected is not None and expected != host.version:
            raise PreconditionFailedError(
                f"The record of {host.name} was changed since it was read.",
                hint="Read it again: covey fleet show " + host.name,
            )
        renamed = await self.core.hosts.rename(host, new_name, expected)
        if renamed.node_id == self.core.keys.node_id:
            self.core.keys.learn(name=renamed.name)
        return renamed

    async def set_role(self, name: str, role: Role) -> FleetMember:
        """Give a member another role; an admin that becomes less makes a new CA take over."""
        member = self.core.find_member(name)
        if not member.present:
            raise ConflictError(f"{name} is not in the fleet any more.")
        check_role(member.statement.kind, role)
        if member.is_admin and role is not Role.ADMIN and len(self.core.roster.admins) == 1:
            raise ConflictError(
                "The fleet needs an admin, and this is the only one.",
                hint="Make another machine an admin first: covey fleet set-role NAME admin",
            )
        statement = msgspec.structs.replace(member.statement, role=role)
        async with self.core.changing:
            issuer = self.core.issuer()
            if member.is_admin and role is not Role.ADMIN:
                changed = dataclasses.replace(member, statement=statement)
                await self.core.commit(self._replace_authority(issuer, changed))
            else:
                said = [issuer.say(statement), *issuer.hand_keys([statement])]
                await self.core.commit(said)
        return self.core.roster.members[member.node_id]

    async def rotate_keys(self) -> RotatedKeys:
        """Make a new data key for what is written from now on, and hand it to every member."""
        async with self.core.changing:
            issuer, fresh = self._with_new_key(self.core.issuer())
            said = [issuer.say(Generation(fresh.id.hex(), fresh.number)), *issuer.spread_ring()]
            await self.core.commit(said)
        recipients = sum(m.statement.kind is NodeKind.FULL for m in self.core.roster.present)
        return RotatedKeys(fresh.id.hex(), fresh.number, recipients)

    async def rotate_authority(self, *, finish: bool = False) -> RotatedAuthority:
        """Begin a CA rotation, in which both CAs are trusted, or `finish` it.

        Raises `ConflictError` if a rotation is under way, or none is to finish.
        """
        async with self.core.changing:
            issuer = self.core.issuer()
            under_way = len(self.core.roster.trusted) > 1
            if finish is not under_way:
                raise ConflictError(
                    "A rotation of the authority is under way."
                    if under_way
                    else "No rotation of the authority is under way.",
                    hint="Run: covey fleet rotate-authority" + (" --finish" if under_way else ""),
                )
            if finish:
                only = tuple(i for i in issuer.ring.authorities if i.opened == issuer.authority)
                ring = KeyRing(issuer.ring.generations, only)
                await self.core.commit(issuer.as_successor(issuer.authority, ring).succeed())
                return RotatedAuthority(
                    "finished",
                    fingerprint(issuer.authority.certificate).hex(),
                    "Machines that were off meanwhile catch up when they connect.",
                )
            successor = create_authority(self.core.now, issuer.authority.number + 1)
            ring = join_rings(issuer.ring, KeyRing((), (AuthoritySecret.of(successor),)))
            after = issuer.as_successor(successor, ring)
            await self.core.commit([issuer.introduce(successor), *after.spread_ring()])
        return RotatedAuthority(
            "overlap",
            fingerprint(successor.certificate).hex(),
            "When all machines have been online: covey fleet rotate-authority --finish",
        )

    async def renew_recovery_key(self) -> RecoveryKey:
        """Make a new recovery key and return it once; the earlier one is useless from now on."""
        async with self.core.changing:
            issuer = self.core.issuer()
            key = RecoveryKey.generate()
            number = 1 + max((item.number for item in self.core.roster.recovery), default=-1)
            fleet_id = issuer.fleet_id
            said = found_recovery(key, fleet_id, issuer.node_id, issuer.ring, number)
            await self.core.commit([issuer.say(said)])
        return key

    async def leave(self) -> None:
        """Take this machine out of the fleet; peers must hear of it before its keys are deleted.

        Raises `ConflictError` on the only admin of a fleet with other members.
        """
        me = self.core.me
        if me.is_admin and len(self.core.roster.admins) == 1 and len(self.core.roster.present) > 1:
            raise ConflictError(
                "This is the only admin of the fleet, which could then change nothing any more.",
                hint="Make another machine an admin first: covey fleet set-role NAME admin",
            )
        head = self.core.around.held_log(me.node_id)
        statement = Leave(me.node_id, head.seq if head else 0, head.chain if head else None)
        await self.core.commit([self.core.sign_own(statement)])

    async def _remove(self, member: FleetMember, head: ChainHead | None) -> RemovedNode:
        full = member.statement.kind is NodeKind.FULL
        was_admin = full and member.statement.role is Role.ADMIN
        known = sorted(self.core.around.known_secrets()) if full else []
        name = self.core.name_of(member.node_id)
        async with self.core.changing:
            cutoff, chain = (head.seq, head.chain) if head is not None else (0, None)
            issuer = self.core.issuer()
            said: list[Signed] = []
            if full:
                issuer, fresh = self._with_new_key(issuer)
                said = [issuer.say(Generation(fresh.id.hex(), fresh.number))]
            if was_admin:
                out = dataclasses.replace(member, cutoff=cutoff, cutoff_chain=chain, left=False)
                said = self._replace_authority(issuer, out)
            else:
                said.append(issuer.say(Removal(member.node_id, cutoff, chain)))
                said.extend(issuer.spread_ring(without=member.node_id) if full else [])
            await self.core.commit(said)
        if self.core.reads_hosts:
            await self.core.hosts.release(member.node_id)
        return RemovedNode(
            name,
            member.node_id,
            known,
            data_keys_rotated=full,
            authority_rotated=was_admin,
            advice=_advice(name, known),
        )

    def _with_new_key(self, issuer: Issuer) -> tuple[Issuer, GenerationKey]:
        numbers = [item.number for item in self.core.roster.generations]
        fresh = GenerationKey.generate(1 + max(numbers, default=-1))
        ring = join_rings(issuer.ring, KeyRing((fresh,)))
        return dataclasses.replace(issuer, ring=ring), fresh

    def _replace_authority(self, issuer: Issuer, changed: FleetMember) -> list[Signed]:
        """Let a new CA take over at once, because `changed` knows the key of the present one."""
        successor = create_authority(self.core.now, issuer.authority.number + 1)
        ring = KeyRing(issuer.ring.generations, (AuthoritySecret.of(successor),))
        after = issuer.as_successor(successor, ring)
        return [issuer.introduce(successor), *after.succeed([changed])]


def _stated_head(member: FleetMember) -> ChainHead | None:
    """Return the end of its log that a leaving member stated."""
    if member.cutoff is None or member.cutoff_chain is None:
        return None
    return ChainHead(member.cutoff, member.cutoff_chain)


def _advice(name: str, known: list[str]) -> str:
    if not known:
        return f"{name} is out; it knew no secret of the fleet."
    return f"{name} is out, but it has read these secrets: change them where they are used."
