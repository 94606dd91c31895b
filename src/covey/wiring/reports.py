"""What a running node tells of itself: its status and its peers."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime

import msgspec

from covey import __version__
from covey.env.model import COLLECTION as VARIABLES
from covey.fleet.authority import read_certificate
from covey.fleet.hosts import COLLECTION as HOSTS
from covey.fleet.keyring import Keyring
from covey.fleet.links import Link
from covey.fleet.node import NodeState, NodeStatus, Peer
from covey.fleet.roster import FleetMember
from covey.fleet.statements import NodeKind
from covey.fleet.upstream import Kind
from covey.remote.calls import Route
from covey.store.replicate import SessionStats
from covey.wiring.open_node import Frame, OpenNode

_SKEW_WARNING_MS = 60_000


@dataclass(frozen=True, slots=True)
class Birth:
    """When this process began."""

    wall: float = field(default_factory=time.time)
    steady: float = field(default_factory=time.monotonic)


def describe_node(
    frame: Frame, keyring: Keyring, node: OpenNode | None, birth: Birth, notes: list[str]
) -> NodeStatus:
    """Describe the node as it is now; `node` is None while it is locked."""
    paths = frame.paths
    locked = NodeStatus(
        state=NodeState.LOCKED,
        name=None,
        node_id=keyring.node_id,
        fleet_id=keyring.fleet_id,
        kind=None,
        role=None,
        version=__version__,
        pid=os.getpid(),
        started_at=iso(birth.wall),
        uptime_seconds=int(time.monotonic() - birth.steady),
        listen=[],
        socket=paths.socket,
        home=paths.home or paths.data_dir,
        members=None,
        peers_connected=None,
        upstream=None,
        entries=None,
        conflicts=None,
        database_bytes=None,
        certificate_expires_at=None,
        warnings=notes,
    )
    if node is None:
        return locked
    member = node.roster.roster.members.get(node.keys.node_id)
    secrets = node.keys.secrets
    return msgspec.structs.replace(
        locked,
        state=NodeState.READY if node.is_member else NodeState.REMOVED,
        name=secrets.name,
        kind=(NodeKind.RELAY if node.is_relay else NodeKind.FULL).value,
        role=None if node.is_relay or member is None else member.statement.role.label,
        listen=node.listening,
        members=len(node.roster.roster.present),
        peers_connected=len(node.links.open_links),
        entries=sum(head.seq for head in node.store.replica.heads().values()),
        upstream=_upstream(node),
        conflicts=_conflicts(node),
        database_bytes=node.database.size(),
        certificate_expires_at=read_certificate(secrets.certificate).not_after.isoformat(),
        warnings=[*notes, *_warnings(node, paths.data_dir)],
    )


def describe_peers(node: OpenNode) -> list[Peer]:
    """Describe every other present member, by name."""
    found = [
        _peer(node, member)
        for member in node.roster.roster.present
        if member.node_id != node.keys.node_id
    ]
    return sorted(found, key=lambda peer: (peer.name or "", peer.node_id))


def iso(at: float) -> str:
    """Write seconds since the epoch as ISO 8601 in UTC."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")


def _peer(node: OpenNode, member: FleetMember) -> Peer:
    links = node.links
    link = links.link_with(member.node_id)
    exchange = node.exchanges.get(member.node_id)
    stats = exchange.stats() if exchange is not None else None
    return Peer(
        node_id=member.node_id,
        name=node.fleet.core.name_of(member.node_id),
        kind=member.statement.kind.value,
        state=_state(link, stats),
        address=link.address if link is not None else _address(node, member),
        direction=link.direction.value if link is not None else None,
        source=node.neighbourhood.source_of(link) if link is not None else None,
        route=_route(node, link, member),
        round_trip_ms=_milliseconds(node, link, member),
        connected_at=iso(link.since) if link is not None else None,
        last_seen_at=iso(link.pulse.heard_at) if link is not None else None,
        clock_skew_ms=stats.clock_skew_ms if stats is not None else None,
        entries_sent=stats.entries_sent if stats is not None else 0,
        entries_received=stats.entries_received if stats is not None else 0,
        entries_behind=stats.behind + stats.ahead if stats is not None else 0,
        last_error=None if link is not None else _last_error(node, member),
    )


def is_level(stats: SessionStats) -> bool:
    """Whether both sides of a session hold the same entries."""
    return stats.ready and stats.behind == 0 and stats.ahead == 0


def _state(link: Link | None, stats: SessionStats | None) -> str:
    if link is None:
        return "unreachable"
    return "silent" if link.pulse.doubted else _sync_state(stats)


def _route(node: OpenNode, link: Link | None, member: FleetMember) -> str | None:
    """Return which way leads to a member: without a session there may be a relay for calls."""
    if link is not None:
        return Route.DIRECT.value
    health = node.mesh.calls.health(member.node_id)
    return None if health is None else health.route.value


def _milliseconds(node: OpenNode, link: Link | None, member: FleetMember) -> float | None:
    if link is not None and link.pulse.round_trip_s is not None:
        return round(link.pulse.round_trip_s * 1000, 2)
    health = node.mesh.calls.health(member.node_id)
    return None if health is None or health.rtt_ms is None else round(health.rtt_ms, 2)


def _upstream(node: OpenNode) -> str:
    found = node.neighbourhood.upstream
    if found.node_id is None or found.kind is Kind.SERVING:
        return found.kind.value
    return f"{found.kind.value}: {node.fleet.core.name_of(found.node_id)}"


def _sync_state(stats: SessionStats | None) -> str:
    return "level" if stats is not None and is_level(stats) else "syncing"


def _addresses(node: OpenNode, member: FleetMember) -> list[str]:
    host = node.hosts.of_member(member.node_id) if node.hosts is not None else None
    known = list(host.addresses) if host is not None else []
    answered = [
        route.address
        for route in node.links.routes
        if node.links.peer_at(route.address) == member.node_id
    ]
    return [*answered, *known]


def _address(node: OpenNode, member: FleetMember) -> str | None:
    return next(iter(_addresses(node, member)), None)


def _last_error(node: OpenNode, member: FleetMember) -> str | None:
    addresses = set(_addresses(node, member))
    errors = (route.last_error for route in node.links.routes if route.address in addresses)
    return next((error for error in errors if error), None)


def _conflicts(node: OpenNode) -> int | None:
    if node.is_relay:
        return None
    return sum(len(node.store.records.conflicts(name)) for name in (VARIABLES, HOSTS))


def way_back(data_dir: str) -> str:
    """Say how a machine that is out of its fleet comes back."""
    return f"covey agent stop; mv {data_dir} {data_dir}.old; covey join, with a new invitation"


def _warnings(node: OpenNode, data_dir: str) -> list[str]:
    found = []
    if not node.is_member:
        found.append(f"This machine is out of its fleet. To come back: {way_back(data_dir)}")
    health = node.store.health()
    if health.quarantined:
        found.append(f"{len(health.quarantined)} damaged entries are set aside: covey doctor")
    if health.fence is not None:
        found.append("Writing waits until this restored node has caught up: covey doctor")
    if health.held:
        found.append(f"{health.held} entries are from a clock far ahead: covey doctor")
    return found
