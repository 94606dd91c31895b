"""What the fleet's services share: the keys, the roster, and the way statements come into force."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from covey.errors import (
    CoveyError,
    InvalidRequestError,
    NotFoundError,
    RefusedError,
    UnauthenticatedError,
)
from covey.fleet.authority import CERTIFICATE_LIFE, utc_now, verify_certificate
from covey.fleet.hosts import HostRecords
from covey.fleet.issuing import Issuer, next_version, to_ms
from covey.fleet.live_keys import LiveKeys
from covey.fleet.rings import own_ring
from covey.fleet.roster import FleetMember, Roster
from covey.fleet.roster_store import FleetRoster
from covey.fleet.statements import NodeKind, Signed, Statement, sign_statement
from covey.operations.access import Role
from covey.store.api import NodeId
from covey.store.ports import ChainHead, LocalState

SHORT_ID = 8
_log = logging.getLogger("covey.fleet")


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the fleet asks of the running node; wiring supplies each.

    `held_log` tells how far an origin's log is held here, `known_secrets` names the secrets that a
    full member can read, `addresses` are where others reach this node (`host:port`), `connected`
    are the peers with an open session. `credentials_changed` is called when the certificate or the
    trusted CAs changed, `data_keys_changed` when data keys came; `LiveKeys` holds them by then.
    `advertised` are the hosts for which an admin's own certificate is valid, beside loopback.
    """

    held_log: Callable[[NodeId], ChainHead | None]
    known_secrets: Callable[[], list[str]]
    addresses: Callable[[], list[str]]
    connected: Callable[[], Collection[NodeId]]
    credentials_changed: Callable[[], None]
    data_keys_changed: Callable[[], None] = lambda: None
    now: Callable[[], datetime] = utc_now
    certificate_life: timedelta = CERTIFICATE_LIFE
    advertised: tuple[str, ...] = ()


class FleetCore:
    """One unlocked node in its fleet; admin changes run one after the other under `changing`."""

    def __init__(
        self,
        keys: LiveKeys,
        roster: FleetRoster,
        local: LocalState,
        hosts: HostRecords | None,
        around: Surroundings,
    ) -> None:
        self.keys = keys
        self.roster_store = roster
        self.local = local
        self.around = around
        self.changing = asyncio.Lock()
        self._hosts = hosts

    @property
    def roster(self) -> Roster:
        """Who is in the fleet."""
        return self.roster_store.roster

    @property
    def hosts(self) -> HostRecords:
        """The host records; raises `RefusedError` on a relay, which cannot read them."""
        if self._hosts is None:
            raise RefusedError(
                "This node is a relay: it stores the fleet's records and cannot read them.",
                hint="Run the command on a full member.",
            )
        return self._hosts

    @property
    def reads_hosts(self) -> bool:
        """Whether this node reads host records."""
        return self._hosts is not None

    @property
    def now(self) -> datetime:
        """The present time."""
        return self.around.now()

    @property
    def is_member(self) -> bool:
        """Whether this node is in the fleet."""
        member = self.roster.members.get(self.keys.node_id)
        return member is not None and member.present

    @property
    def node_id(self) -> NodeId:
        """This node."""
        return self.keys.node_id

    def role_of(self, node_id: NodeId) -> Role | None:
        """Return the role of a full member that is in the fleet, None for all others."""
        member = self.roster.members.get(node_id)
        if member is None or not member.present or member.statement.kind is NodeKind.RELAY:
            return None
        return member.statement.role

    @property
    def me(self) -> FleetMember:
        """This node's own standing; raises `RefusedError` if it is not in the fleet any more."""
        member = self.roster.members.get(self.keys.node_id)
        if member is None or not member.present:
            raise RefusedError(
                "This machine is not a member of the fleet any more.",
                hint="Join again with a new invitation: covey join TOKEN",
            )
        return member

    def issuer(self) -> Issuer:
        """Return this node as an admin; raises `RefusedError` naming those that are one."""
        _ = self.me
        by_certificate = {item.certificate: item for item in self.keys.secrets.authority_keys}
        trusted = self.roster.trusted
        found = by_certificate.get(trusted[-1].certificate) if trusted else None
        if found is None:
            names = ", ".join(self.name_of(member.node_id) for member in self.roster.admins)
            raise RefusedError(
                "This node does not hold the fleet's authority key: only admin nodes do.",
                hint=f"Run the command on an admin node: {names or 'none is left'}.",
                details={"admins": [member.node_id for member in self.roster.admins]},
            )
        return Issuer(
            found.opened,
            self.keys.node_id,
            self.roster,
            self.roster_store.statements,
            self.keys.secrets.ring,
            self.now,
            self.around.certificate_life,
            self.around.advertised,
        )

    def sign_own(self, statement: Statement) -> Signed:
        """Sign a statement about this node itself, above its earlier ones."""
        return sign_statement(
            self.keys.signing_key,
            self.roster.fleet_id,
            statement,
            version=next_version(self.roster_store.statements, statement),
            issued_at=to_ms(self.now),
        )

    async def commit(self, signed: Iterable[Signed]) -> None:
        """Put statements in force here; peers receive them with the next exchange."""
        await self.roster_store.adopt(signed)
        self.take_up()

    def take_up(self) -> None:
        """Take over what the statements hold for this node: keys, certificate, trusted CAs."""
        member = self.roster.members.get(self.keys.node_id)
        if member is None or not member.present:
            return
        trusted = tuple(item.certificate for item in self.roster.trusted)
        before = self.keys.secrets
        ring = own_ring(self.roster, self.keys.identity)
        self.keys.learn(ring, certificate=self._fresh(member, trusted), authorities=trusted)
        retired = {item.certificate for item in self.roster.authorities if item.retired}
        self.keys.forget_authorities(retired if member.is_admin else None)
        after = self.keys.secrets
        if (after.certificate, after.authorities) != (before.certificate, before.authorities):
            self.around.credentials_changed()
        if after.generations != before.generations:
            self.around.data_keys_changed()

    def try_take_up(self) -> None:
        """Take over what came from others; a failure is logged, and the next upkeep tries again."""
        try:
            self.take_up()
        except CoveyError as error:
            _log.error("membership changes could not be taken up: %s", error.message)

    def name_of(self, node_id: NodeId) -> str:
        """Return a member's name, or the short form of its id where no name is known."""
        host = self._hosts.of_member(node_id) if self._hosts is not None else None
        if host is not None:
            return host.name
        if node_id == self.keys.node_id:
            return self.keys.secrets.name
        return node_id[:SHORT_ID]

    def find_member(self, name: str) -> FleetMember:
        """Return the present or removed member with this name or id; raises `NotFoundError`."""
        wanted = name.lower()
        if len(wanted) >= SHORT_ID:
            by_id = [m for m in self.roster.members.values() if m.node_id.startswith(wanted)]
            if len(by_id) == 1:
                return by_id[0]
        if self._hosts is not None:
            host = self._hosts.get(name)
            member = self.roster.members.get(NodeId(host.node_id or ""))
            if member is not None:
                return member
        raise NotFoundError(
            f"No member of the fleet is called {name}.", hint="See them all: covey fleet list"
        )

    def member_of(self, certificate: bytes) -> FleetMember:
        """Return the present member with this certificate (DER).

        Raises `UnauthenticatedError` if it does not verify, `RefusedError` if its node was removed.
        """
        trusted = [item.certificate for item in self.roster.trusted]
        found = verify_certificate(certificate, trusted, self.now)
        member = self.roster.members.get(found.node_id)
        if member is None or not member.present:
            raise RefusedError(
                f"Node {found.node_id[:SHORT_ID]} is not a member of this fleet"
                f"{' any more' if member is not None else ''}.",
                hint="Join again with a new invitation: covey join TOKEN",
            )
        return member

    def _fresh(self, member: FleetMember, trusted: tuple[bytes, ...]) -> bytes | None:
        if member.certificate is None:
            return None
        try:
            verify_certificate(member.certificate, trusted, self.now)
        except UnauthenticatedError:
            return None
        return member.certificate


def check_role(kind: NodeKind, role: object) -> None:
    """Raise `InvalidRequestError` for a role given to a relay."""
    if kind is NodeKind.RELAY and role is not None:
        raise InvalidRequestError(
            "A relay has no role: it forwards what it cannot read.",
            hint="Leave out --role, or leave out --relay.",
        )
