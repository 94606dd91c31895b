"""Making statements: what an admin signs when the fleet or its keys change."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from covey.fleet.authority import CERTIFICATE_LIFE, AuthorityKey, issue_certificate
from covey.fleet.node_secrets import KeyRing
from covey.fleet.recovery import refresh_recovery
from covey.fleet.rings import hand_keys
from covey.fleet.roster import FleetMember, Roster, Statements
from covey.fleet.statements import (
    MAX_COUNTER,
    Authority,
    Certificate,
    Generation,
    Member,
    Removal,
    Retirement,
    Signed,
    Statement,
    place_of,
    sign_statement,
    subject_of,
)
from covey.store.api import NodeId


def to_ms(at: datetime) -> int:
    """Return milliseconds since the epoch."""
    return int(at.timestamp() * 1000)


def next_version(statements: Statements, statement: Statement) -> int:
    """Return a version above every statement on the same subject.

    The highest possible version stays what it is: a removed admin may have used it up, and what it
    signed counts no more by then.
    """
    place = (type(statement).__name__, subject_of(statement))
    highest = max(
        (item.version for slot, item in statements.items() if slot[:2] == place), default=0
    )
    return min(MAX_COUNTER, highest + 1)


@dataclass(frozen=True, slots=True)
class Issuer:
    """An admin at one moment: signs with `authority`, on the ground of what is known.

    `own_names` are host names and IP addresses for its own certificate. Others get none: a
    browser that trusts the authority would believe a member's claim to any name.
    """

    authority: AuthorityKey
    node_id: NodeId
    roster: Roster
    statements: Statements
    ring: KeyRing
    now: datetime
    life: timedelta = CERTIFICATE_LIFE
    own_names: tuple[str, ...] = ()

    @property
    def fleet_id(self) -> str:
        """The fleet's id."""
        return self.roster.fleet_id

    def say(self, statement: Statement) -> Signed:
        """Sign a statement, above all earlier ones on its subject."""
        return sign_statement(
            self.authority.signing_key,
            self.fleet_id,
            statement,
            version=next_version(self.statements, statement),
            issued_at=to_ms(self.now),
        )

    def certify(self, member: Member) -> Signed:
        """Issue a certificate to a member."""
        return self.say(Certificate(member.node_id, self.certificate_for(member)))

    def certificate_for(self, member: Member) -> bytes:
        """Make a certificate (DER) for a member."""
        names = self.own_names if member.node_id == self.node_id else ()
        return issue_certificate(
            self.authority, member.sign_key, member.tls_key, self.now, self.life, names
        )

    def admit(self, member: Member) -> list[Signed]:
        """Take a member in: the member, its certificate, and the keys that it may hold."""
        return [self.say(member), self.certify(member), *self.hand_keys([member])]

    def hand_keys(self, members: Iterable[Member]) -> list[Signed]:
        """Seal to each member the keys that it may hold."""
        found = (hand_keys(self.fleet_id, self.node_id, item, self.ring) for item in members)
        return [self.say(item) for item in found if item is not None]

    def refresh_recovery(self) -> list[Signed]:
        """Bring this admin's recovery box up to date."""
        if not self.roster.recovery:
            return []
        present = self.roster.recovery[0]
        return [self.say(refresh_recovery(present, self.fleet_id, self.node_id, self.ring))]

    def spread_ring(self, without: NodeId | None = None) -> list[Signed]:
        """Hand all keys to every present member but one, and to the recovery key."""
        members = [m.statement for m in self.roster.present if m.node_id != without]
        return [*self.hand_keys(members), *self.refresh_recovery()]

    def introduce(self, successor: AuthorityKey) -> Signed:
        """Introduce the next CA."""
        return self.say(Authority(successor.number, successor.certificate))

    def succeed(self, changed: Iterable[FleetMember] = ()) -> list[Signed]:
        """Say everything that holds again under this CA, and retire all CAs before it.

        `changed` are members as they shall be from now on, where that differs from the roster.
        """
        members = dict(self.roster.members) | {item.node_id: item for item in changed}
        present = [item for item in members.values() if item.present]
        said: list[Signed] = [self.say(item.statement) for item in members.values()]
        said.extend(
            self.say(Removal(item.node_id, item.cutoff, item.cutoff_chain))
            for item in members.values()
            if item.cutoff is not None and not item.left
        )
        said.extend(self.certify(item.statement) for item in present)
        known = {item.id for item in self.roster.generations}
        fresh = [key for key in self.ring.generations if key.id.hex() not in known]
        said.extend(self.say(item) for item in self.roster.generations)
        said.extend(self.say(Generation(key.id.hex(), key.number)) for key in fresh)
        said.extend(self.hand_keys(item.statement for item in present))
        said.extend(self.refresh_recovery())
        restated = tuple(place_of(item.statement) for item in said)
        return [*said, self.say(Retirement(self.authority.number - 1, restated))]

    def as_successor(self, successor: AuthorityKey, ring: KeyRing) -> Issuer:
        """Return the issuer that signs with the next CA."""
        return replace(self, authority=successor, ring=ring)
