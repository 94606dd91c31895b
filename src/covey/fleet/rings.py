"""Handing data keys (and to admins the CA's key) to a member, sealed in a statement."""

from __future__ import annotations

import logging

import msgspec
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from covey.errors import DamagedError
from covey.fleet.identity import NodeIdentity
from covey.fleet.node_secrets import KeyRing, join_rings
from covey.fleet.roster import FleetMember, Roster
from covey.fleet.sealing import open_box, seal
from covey.fleet.statements import DataKeys, Member, NodeKind
from covey.operations.access import Role
from covey.store.api import NodeId

_log = logging.getLogger("covey.fleet")


def ring_for(member: Member, ring: KeyRing) -> KeyRing:
    """Return the part of `ring` that a member may hold: a relay none, the CA's key admins alone."""
    if member.kind is NodeKind.RELAY:
        return KeyRing()
    return ring if member.role is Role.ADMIN else KeyRing(ring.generations)


def hand_keys(fleet_id: str, issuer: NodeId, member: Member, ring: KeyRing) -> DataKeys | None:
    """Seal to a member what it may hold; None if that is nothing."""
    allowed = ring_for(member, ring)
    if not allowed.generations:
        return None
    purpose = _purpose(fleet_id, issuer, member.node_id)
    plaintext = msgspec.msgpack.encode(allowed)
    return DataKeys(member.node_id, issuer, seal(member.seal_key, purpose, plaintext))


def own_ring(roster: Roster, identity: NodeIdentity) -> KeyRing:
    """Open everything that the fleet's admins have sealed to this node, but for what is damaged."""
    node_id = identity.node_id
    rings: list[KeyRing] = []
    for item in roster.data_keys:
        if item.recipient != node_id:
            continue
        purpose = _purpose(roster.fleet_id, NodeId(item.issuer), node_id)
        try:
            rings.append(open_ring(identity.sealing_key, purpose, item.box))
        except DamagedError as error:
            _log.warning("keys sealed by %s were ignored: %s", item.issuer[:8], error.message)
    return join_rings(*rings)


def open_ring(key: X25519PrivateKey, purpose: str, box: bytes) -> KeyRing:
    """Open one sealed ring; raises `DamagedError`."""
    try:
        return msgspec.msgpack.decode(open_box(key, purpose, box), type=KeyRing)
    except msgspec.DecodeError as error:
        raise DamagedError(
            "Keys that were sealed to this node cannot be read.",
            hint="Update Covey on this machine.",
        ) from error


def check_ring(roster: Roster, member: FleetMember, ring: KeyRing) -> None:
    """Raise `DamagedError` unless a full member holds every data key of the fleet.

    A generation's id is derived from its key: a wrong key cannot pass for the right one.
    """
    if member.statement.kind is NodeKind.RELAY:
        return
    held = {item.id.hex() for item in ring.generations}
    if any(generation.id not in held for generation in roster.generations):
        raise DamagedError(
            "The data keys that were handed over are not those of this fleet.",
            hint="Nothing was changed here. On an admin node run: covey doctor, then invite again.",
        )


def _purpose(fleet_id: str, issuer: NodeId, recipient: str) -> str:
    return f"data keys {fleet_id} {issuer} {recipient}"
