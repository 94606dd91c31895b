"""What a node says of itself on its LAN, so that its fleet knows it and nobody else does.

The tag is an HMAC under the fleet's data key over what is announced and the time of day; members
find out whose it is by computing it for each member. To others it is random, and another every six
hours, so that they cannot tell fleets apart or follow a machine by it. It proves nothing beyond
that: whoever repeats it is dialled, and fails in the TLS handshake.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from covey.fleet.election import Mode
from covey.fleet.sealing import derive
from covey.store.api import NodeId

SERVICE_TYPE = "_covey._tcp.local."
EPOCH_S = 6 * 3600
_FORMAT = "1"
_TAG_BYTES = 16
_NEWEST_KEYS = 4


@dataclass(frozen=True, slots=True)
class Announcement:
    """What is sent to the LAN: the instance's name, where it is, and the TXT record."""

    name: str
    port: int
    addresses: tuple[str, ...]
    properties: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Heard:
    """What a machine of the LAN sent; none of it is to be trusted."""

    name: str
    port: int
    addresses: tuple[str, ...]
    properties: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Known:
    """The member that an announcement is from, as far as its tag says."""

    node_id: NodeId
    mode: Mode


def properties(
    key: bytes, me: NodeId, mode: Mode, port: int, now: float, version: str
) -> dict[str, str]:
    """Return the TXT record of a member; `key` is the data key in force, `now` the epoch's time."""
    tag = _tag(_beacon_key(key), me, mode, port, int(now // EPOCH_S))
    return {"v": _FORMAT, "t": tag, "m": mode.value, "x": version}


def recognise(
    heard: Heard, keys: Iterable[bytes], members: Iterable[NodeId], now: float
) -> Known | None:
    """Return the member that sent this, or None for a stranger; `keys` are newest first."""
    found = heard.properties
    try:
        mode = Mode(found.get("m", ""))
    except ValueError:
        return None
    tag = found.get("t", "")
    if found.get("v") != _FORMAT or len(tag) != 2 * _TAG_BYTES or not tag.isascii():
        return None
    epoch = int(now // EPOCH_S)
    present = list(members)
    for key in list(keys)[:_NEWEST_KEYS]:
        beacon_key = _beacon_key(key)
        for when in (epoch, epoch - 1, epoch + 1):
            for member in present:
                expected = _tag(beacon_key, member, mode, heard.port, when)
                if hmac.compare_digest(expected, tag):
                    return Known(member, mode)
    return None


def next_epoch(now: float) -> float:
    """Return the seconds until the tag changes."""
    return EPOCH_S - now % EPOCH_S


def _beacon_key(key: bytes) -> bytes:
    return derive(key, "beacon on the LAN")


def _tag(key: bytes, member: NodeId, mode: Mode, port: int, epoch: int) -> str:
    message = f"{member} {mode.value} {port} {epoch}".encode()
    return hmac.digest(key, message, "sha256")[:_TAG_BYTES].hex()
