"""A machine's first keys and statements: in a new fleet, or in one regained by the recovery key.

Both run before there is a keyring, a database or a `FleetService`.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import msgspec

from covey.errors import InvalidRequestError
from covey.fleet.authority import CERTIFICATE_LIFE, create_authority
from covey.fleet.identity import KEY_BYTES, NodeIdentity
from covey.fleet.issuing import Issuer, to_ms
from covey.fleet.machine import Machine
from covey.fleet.node_secrets import AuthoritySecret, GenerationKey, KeyRing, NodeSecrets
from covey.fleet.recovery import (
    RecoverAnswer,
    RecoveryKey,
    found_recovery,
    open_recovery,
)
from covey.fleet.roster import Roster, Statements, fold, merge
from covey.fleet.statements import (
    BadStatementError,
    Certificate,
    Generation,
    Member,
    NodeKind,
    Signed,
    open_statement,
)
from covey.fleet.tls_key import endorsed_tls_key
from covey.operations.access import Role

FLEET_NAME = "home"


@dataclass(frozen=True, slots=True)
class FirstKeys:
    """What a machine starts with: secrets for its keyring, statements for its `FleetRoster`."""

    secrets: NodeSecrets
    statements: list[bytes] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Founded:
    """A new or regained fleet; the recovery key is to be shown once and kept nowhere."""

    keys: FirstKeys
    recovery_key: RecoveryKey


def found_fleet(
    machine: Machine,
    now: datetime,
    *,
    fleet_name: str = FLEET_NAME,
    life: timedelta = CERTIFICATE_LIFE,
) -> Founded:
    """Make a new fleet with this machine as its first admin."""
    identity = NodeIdentity.generate()
    authority = create_authority(now)
    generation = GenerationKey.generate(0)
    ring = KeyRing((generation,), (AuthoritySecret.of(authority),))
    recovery_key = RecoveryKey.generate()
    member = _admin(identity, now)
    issuer = Issuer(authority, identity.node_id, Roster(authority.id), {}, ring, now, life)
    certificate = issuer.certificate_for(member)
    recovery = found_recovery(recovery_key, authority.id, identity.node_id, ring, 0)
    said = [
        issuer.introduce(authority),
        issuer.say(member),
        issuer.say(Certificate(identity.node_id, certificate)),
        issuer.say(Generation(generation.id.hex(), generation.number)),
        *issuer.hand_keys([member]),
        issuer.say(recovery),
    ]
    secrets = first_secrets(machine, identity, authority.id, fleet_name, certificate)
    secrets = msgspec.structs.replace(
        secrets,
        authorities=(authority.certificate,),
        generations=ring.generations,
        authority_keys=ring.authorities,
    )
    return Founded(FirstKeys(secrets, [item.raw for item in said]), recovery_key)


def regain_fleet(
    key: RecoveryKey,
    answer: bytes,
    machine: Machine,
    now: datetime,
    life: timedelta = CERTIFICATE_LIFE,
) -> Founded:
    """Make this machine an admin of the recovery key's fleet, from a node's recovery answer.

    The key is used up by that: the result holds a new one. Keep the keys before the statements are
    given to the node (`FleetService.renew` takes them in): from then on the old key is useless.
    Raises `UnauthenticatedError` if the answer is not from the key's own fleet, `DamagedError`.
    """
    found = _read_answer(answer)
    statements = open_all(found.fleet_id, found.statements)
    roster = fold(found.fleet_id, statements)
    ring = open_recovery(key, roster)
    newest = roster.trusted[-1]
    secret = next(item for item in ring.authorities if item.certificate == newest.certificate)
    ring = KeyRing(ring.generations, (secret,))
    identity = NodeIdentity.generate()
    issuer = Issuer(secret.opened, identity.node_id, roster, statements, ring, now, life)
    member = _admin(identity, now)
    fresh = RecoveryKey.generate()
    number = 1 + max(item.number for item in roster.recovery)
    recovery = found_recovery(fresh, found.fleet_id, identity.node_id, ring, number)
    certificate = issuer.certificate_for(member)
    said = [
        issuer.say(member),
        issuer.say(Certificate(identity.node_id, certificate)),
        *issuer.hand_keys([member]),
        issuer.say(recovery),
    ]
    secrets = first_secrets(machine, identity, found.fleet_id, FLEET_NAME, certificate)
    secrets = msgspec.structs.replace(
        secrets,
        authorities=tuple(item.certificate for item in roster.trusted),
        generations=ring.generations,
        authority_keys=ring.authorities,
    )
    every = [item.raw for item in statements.values()] + [item.raw for item in said]
    return Founded(FirstKeys(secrets, every), fresh)


def first_secrets(
    machine: Machine, identity: NodeIdentity, fleet_id: str, fleet_name: str, certificate: bytes
) -> NodeSecrets:
    """Return the secrets of a machine that is new in a fleet, with a new database key."""
    return NodeSecrets(
        name=machine.name,
        fleet_id=fleet_id,
        fleet_name=fleet_name,
        sign_seed=identity.sign_seed,
        seal_seed=identity.seal_seed,
        database_key=os.urandom(KEY_BYTES),
        certificate=certificate,
        authorities=(),
    )


def open_each(fleet_id: str, statements: list[bytes]) -> list[Signed]:
    """Open statements from a stranger, leaving out those that are malformed or not signed."""
    opened = []
    for raw in statements:
        try:
            opened.append(open_statement(raw, fleet_id))
        except BadStatementError:
            continue
    return opened


def open_all(fleet_id: str, statements: list[bytes]) -> Statements:
    """Open and merge statements from a stranger, leaving out those that do not verify."""
    return merge(fleet_id, {}, open_each(fleet_id, statements)).statements


def _admin(identity: NodeIdentity, now: datetime) -> Member:
    return Member(
        identity.node_id,
        identity.sign_public,
        endorsed_tls_key(identity.sign_seed),
        identity.seal_public,
        NodeKind.FULL,
        Role.ADMIN,
        to_ms(now),
    )


def _read_answer(answer: bytes) -> RecoverAnswer:
    try:
        return msgspec.msgpack.decode(answer, type=RecoverAnswer)
    except msgspec.DecodeError as error:
        raise InvalidRequestError(
            "The node's answer to the recovery cannot be read.",
            hint="Check that the address is that of a Covey node, and update Covey here.",
        ) from error
