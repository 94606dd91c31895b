"""Where the members may be found: what the sources tell, merged into what is dialled.

A sighting says that somebody may be at an address. Who is there, the TLS handshake alone decides;
the node that a sighting names only saves calls to a member who is connected already.
"""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

from covey.fleet.election import Mode
from covey.settings import parse_address
from covey.store.api import NodeId

MOST_TARGETS = 512
_MOST_OF_ONE = 8


class Source(StrEnum):
    """Who told of an address, the best way first."""

    CLOUD = "cloud"
    MANUAL = "manual"
    LAN = "lan"
    RECORD = "record"
    TAILSCALE = "tailscale"


@dataclass(frozen=True, slots=True)
class Sighting:
    """Somebody who may be at some addresses (`host:port`).

    `key` is the same each time the source sees that machine; `node_id` is None if the source
    cannot tell whether it is a member.
    """

    source: Source
    key: str
    name: str
    addresses: tuple[str, ...]
    node_id: NodeId | None = None
    mode: Mode | None = None
    dial: bool = True
    os: str = ""


@dataclass(frozen=True, slots=True)
class Target:
    """An address to dial; `urgent` ones are tried again soon and tested each second.

    `rank` counts the better addresses of the same member.
    """

    address: str
    source: Source
    peer: NodeId | None = None
    urgent: bool = False
    rank: int = 0


def dial_plan(
    sightings: Iterable[Sighting], *, own: Collection[str], me: NodeId
) -> tuple[Target, ...]:
    """Return each address once, the best source first.

    An address that two sources give to different members is of neither, so that a false claim
    keeps nobody from being dialled.
    """
    claims: dict[str, Target] = {}
    for item in sorted(sightings, key=lambda seen: list(Source).index(seen.source)):
        if not item.dial or item.node_id == me:
            continue
        for address in item.addresses[:_MOST_OF_ONE]:
            if address in own:
                continue
            present = claims.get(address)
            if present is None:
                urgent = item.source is Source.CLOUD
                claims[address] = Target(address, item.source, item.node_id, urgent)
            elif present.peer != item.node_id:
                peer = _agreed(present.peer, item.node_id)
                claims[address] = Target(address, present.source, peer, present.urgent)
    return _ranked(list(claims.values())[:MOST_TARGETS])


def _ranked(targets: Sequence[Target]) -> tuple[Target, ...]:
    better: Counter[NodeId] = Counter()
    ranked = []
    for target in targets:
        if target.peer is not None:
            ranked.append(replace(target, rank=better[target.peer]))
            better[target.peer] += 1
        else:
            ranked.append(target)
    return tuple(ranked)


def _agreed(one: NodeId | None, other: NodeId | None) -> NodeId | None:
    """Return the one member that is claimed, or None where the claims differ."""
    return (one or other) if None in {one, other} else None


class Standing(StrEnum):
    """Who a machine is here: `stranger` has another fleet's Covey, `unknown` perhaps none."""

    MEMBER = "member"
    STRANGER = "stranger"
    UNKNOWN = "unknown"


@dataclass(slots=True)
class Neighbour:
    """One machine, merged from all sources that see it."""

    name: str
    standing: Standing
    node_id: NodeId | None = None
    sources: list[Source] = field(default_factory=list)
    addresses: list[str] = field(default_factory=list)
    os: str = ""


def merge(
    sightings: Iterable[Sighting],
    *,
    name_of: Callable[[NodeId], str],
    answered: Callable[[str], NodeId | None],
    hosts_of: Callable[[str], NodeId | None],
) -> list[Neighbour]:
    """Merge sightings by node identity, members first.

    `answered` tells who proved itself at an address, `hosts_of` whose record has an IP address or
    host name; a machine without a known node is one by its source's key.
    """
    found: dict[str, Neighbour] = {}
    for item in sightings:
        node = item.node_id or _first(answered, item.addresses)
        if node is None and item.source is not Source.LAN:
            node = _first(hosts_of, [host_of(address) for address in item.addresses])
        key = node or f"{item.source} {item.key}"
        standing = Standing.STRANGER if item.source is Source.LAN else Standing.UNKNOWN
        name = item.name if node is None else name_of(node)
        one = found.setdefault(
            key, Neighbour(name, standing if node is None else Standing.MEMBER, node)
        )
        one.os = one.os or item.os
        if item.source not in one.sources:
            one.sources.append(item.source)
        one.addresses.extend(a for a in item.addresses if a not in one.addresses)
    order = list(Standing)
    return sorted(found.values(), key=lambda item: (order.index(item.standing), item.name))


def host_of(address: str) -> str:
    """Return the host of `host:port`, or the whole text if it is no address."""
    try:
        return parse_address(address).host
    except ValueError:
        return address


def is_ip_address(host: str) -> bool:
    """Whether a host is given by its IP address."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _first(find: Callable[[str], NodeId | None], keys: Iterable[str]) -> NodeId | None:
    return next((node for node in map(find, keys) if node is not None), None)
