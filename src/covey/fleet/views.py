"""What the fleet's operations return."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum

import msgspec

from covey.fleet.authority import fingerprint, read_certificate
from covey.fleet.core import FleetCore
from covey.fleet.hosts import HostRecord
from covey.fleet.roster import FleetMember
from covey.fleet.statements import NodeKind


class Standing(StrEnum):
    """A machine's standing; `recorded` has a host record and is no member."""

    MEMBER = "member"
    LEFT = "left"
    REMOVED = "removed"
    RECORDED = "recorded"


class FleetNode(msgspec.Struct, frozen=True):
    """One machine; a relay has no role, and `connected` is null for this machine itself."""

    name: str
    node_id: str | None
    standing: Standing
    kind: str | None
    role: str | None
    connected: bool | None
    joined_at: str | None
    certificate_expires_at: str | None
    addresses: tuple[str, ...]


class FleetNodeDetails(msgspec.Struct, frozen=True):
    """One machine with everything that the fleet knows of it; `version` is its record's version."""

    node: FleetNode
    hostname: str
    os: str
    covey_version: str
    tailscale: str
    fields: dict[str, str]
    version: str


class AuthorityView(msgspec.Struct, frozen=True):
    """One certificate authority of the fleet; `fingerprint` is the SHA-256 of its certificate."""

    number: int
    fingerprint: str
    trusted: bool


class FleetInfo(msgspec.Struct, frozen=True):
    """The fleet as a whole; `refused` lists the latest membership statements not believed."""

    fleet_id: str
    name: str
    members: int
    relays: int
    admins: list[str]
    data_key_generations: int
    authorities: list[AuthorityView]
    holds_authority: bool
    refused: list[str]


class CreatedInvitation(msgspec.Struct, frozen=True):
    """An invitation just made; the token is shown this once."""

    token: str
    id: str
    kind: str
    role: str | None
    expires_at: str
    addresses: list[str]


class OpenInvitation(msgspec.Struct, frozen=True):
    """An invitation that can still be used."""

    id: str
    kind: str
    role: str | None
    created_at: str
    expires_at: str
    failures: int


class RemovedNode(msgspec.Struct, frozen=True):
    """What a removal did. `secrets_known` names the variables to change now: the node read them."""

    name: str
    node_id: str | None
    secrets_known: list[str]
    data_keys_rotated: bool
    authority_rotated: bool
    advice: str


class RotatedKeys(msgspec.Struct, frozen=True):
    """The new data-key generation, and how many members received it."""

    generation: str
    number: int
    recipients: int


class RotatedAuthority(msgspec.Struct, frozen=True):
    """Where a CA rotation stands: `overlap` trusts both CAs, `finished` the new one alone."""

    state: str
    fingerprint: str
    advice: str


class NewRecoveryKey(msgspec.Struct, frozen=True):
    """A recovery key, shown this once; earlier ones are useless from now on."""

    recovery_key: str
    advice: str


def iso(seconds: float) -> str:
    """Write a time as ISO 8601 in UTC."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


def member_view(core: FleetCore, member: FleetMember, host: HostRecord | None) -> FleetNode:
    """Show a member, present or not."""
    standing = Standing.MEMBER
    if not member.present:
        standing = Standing.LEFT if member.left else Standing.REMOVED
    relay = member.statement.kind is NodeKind.RELAY
    expires = None
    if member.present and member.certificate is not None:
        expires = read_certificate(member.certificate).not_after.isoformat(timespec="seconds")
    myself = member.node_id == core.keys.node_id
    return FleetNode(
        name=host.name if host is not None else core.name_of(member.node_id),
        node_id=member.node_id,
        standing=standing,
        kind=member.statement.kind.value,
        role=None if relay else member.statement.role.label,
        connected=None if myself else member.node_id in core.around.connected(),
        joined_at=iso(member.statement.joined_at / 1000),
        certificate_expires_at=expires,
        addresses=member.addresses or (host.addresses if host is not None else ()),
    )


def host_view(host: HostRecord) -> FleetNode:
    """Show a machine that is on record and no member."""
    return FleetNode(
        name=host.name,
        node_id=None,
        standing=Standing.RECORDED,
        kind=None,
        role=None,
        connected=None,
        joined_at=None,
        certificate_expires_at=None,
        addresses=host.addresses,
    )


def list_nodes(core: FleetCore, *, everything: bool) -> list[FleetNode]:
    """List the members by name; with `everything` also who went, and machines on record."""
    hosts = core.hosts.list() if core.reads_hosts else []
    by_id = {host.node_id: host for host in hosts if host.node_id is not None}
    members = core.roster.members.values() if everything else core.roster.present
    found = [member_view(core, member, by_id.get(member.node_id)) for member in members]
    if everything:
        found.extend(host_view(host) for host in hosts if host.node_id not in core.roster.members)
    return sorted(found, key=lambda node: (node.name.casefold(), node.node_id or ""))


def show_node(core: FleetCore, name: str) -> FleetNodeDetails:
    """Show one machine; raises `NotFoundError`."""
    host = core.hosts.find(name) if core.reads_hosts else None
    if host is not None and host.node_id not in core.roster.members:
        node = host_view(host)
    else:
        member = core.find_member(name)
        host = core.hosts.of_member(member.node_id) if core.reads_hosts else None
        node = member_view(core, member, host)
    if host is None:
        return FleetNodeDetails(node, "", "", "", "", {}, "")
    return FleetNodeDetails(
        node,
        host.hostname,
        host.os,
        host.covey_version,
        host.tailscale,
        host.fields,
        host.version,
    )


def describe_fleet(core: FleetCore) -> FleetInfo:
    """Describe the fleet as a whole."""
    roster = core.roster
    held = {item.certificate for item in core.keys.secrets.authority_keys}
    newest = roster.trusted[-1].certificate if roster.trusted else b""
    return FleetInfo(
        fleet_id=roster.fleet_id,
        name=core.keys.secrets.fleet_name,
        members=len(roster.present),
        relays=sum(m.statement.kind is NodeKind.RELAY for m in roster.present),
        admins=[core.name_of(member.node_id) for member in roster.admins],
        data_key_generations=len(roster.generations),
        authorities=[
            AuthorityView(item.number, fingerprint(item.certificate).hex(), not item.retired)
            for item in roster.authorities
        ],
        holds_authority=newest in held,
        refused=[f"{item.statement}: {item.reason}" for item in core.roster_store.refused],
    )
