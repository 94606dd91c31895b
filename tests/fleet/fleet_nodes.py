"""Whole nodes of a fleet on storage in memory, which meet without a network."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from covey.fleet.authority import verify_certificate
from covey.fleet.core import Surroundings
from covey.fleet.founding import FirstKeys, found_fleet, regain_fleet
from covey.fleet.hosts import HostRecords
from covey.fleet.identity import NodeIdentity
from covey.fleet.invitation import Invitation, read_token, write_token
from covey.fleet.joining import accept_join, ask_to_join
from covey.fleet.keyring import Keyring, create_keyring
from covey.fleet.live_keys import LiveKeys
from covey.fleet.machine import Machine
from covey.fleet.membership import FleetService
from covey.fleet.recovery import RecoveryKey, ask_for_recovery
from covey.fleet.roster_store import FleetRoster
from covey.operations.access import Role
from covey.store.api import Change, NodeId
from covey.store.clock import HybridClock
from covey.store.compaction import Retention
from covey.store.entry import SIGN_EVERY
from covey.store.ports import ChainHead
from covey.store.store import Store
from covey.store.wire import Batch, pack
from covey.testing.memory_log import MemoryLog, MemoryMark

KEY = (Path("/nowhere/key"), b"k" * 32)
DAY = timedelta(days=1)


class Wall:
    """A wall clock that a test moves."""

    def __init__(self) -> None:
        self.at = datetime(2030, 1, 1, tzinfo=UTC)

    def now(self) -> datetime:
        return self.at

    def ms(self) -> int:
        return int(self.at.timestamp() * 1000)


class Node:
    """One unlocked node of a fleet."""

    def __init__(self, first: FirstKeys, wall: Wall) -> None:
        self.first = first
        self.wall = wall
        self.log = MemoryLog()
        self.mark = MemoryMark()
        self.saved: list[Keyring] = []
        self.credentials = 0
        self.new_recovery_key: RecoveryKey | None = None
        self.keys_came = 0
        self.known_secrets: list[str] = []
        self.connected: set[NodeId] = set()
        opened = create_keyring(first.secrets, key_file=KEY)
        self.keys = LiveKeys(opened, self.saved.append)
        self.id = self.keys.node_id

    async def start(self) -> Node:
        self.roster = FleetRoster(self.first.secrets.fleet_id, self.log)
        await self.roster.merge(self.first.statements)
        self.store = Store(
            self.log,
            self.log,
            self.mark,
            fleet_id=self.first.secrets.fleet_id,
            signer=self.keys,
            keys=self.keys,
            trust=self.roster,
            roster=self.roster,
            members=self.roster.present,
            clock=HybridClock(self.wall.ms),
            retention=Retention(90, 10),
        )
        await self.store.start()
        relay = self.keys.current() is None
        self.hosts = HostRecords(self.store.records)
        around = Surroundings(
            held_log=lambda node: self.store.replica.heads().get(node),
            known_secrets=lambda: self.known_secrets,
            addresses=lambda: ["frigg.example:13500"],
            connected=lambda: self.connected,
            credentials_changed=self._count_credentials,
            data_keys_changed=self._count_keys,
            now=self.wall.now,
        )
        self.fleet = FleetService(
            self.keys, self.roster, self.log, None if relay else self.hosts, around
        )
        return self

    async def stop(self) -> None:
        self.fleet.close()
        await self.store.close()

    def _count_credentials(self) -> None:
        self.credentials += 1

    def _count_keys(self) -> None:
        self.keys_came += 1

    async def set(self, key: str, value: bytes) -> None:
        await self.store.records.write([Change("env", key, value)])

    def value(self, key: str) -> bytes | None:
        record = self.store.records.get("env", key)
        return None if record is None else record.value

    def head(self, origin: NodeId) -> ChainHead:
        return self.store.replica.heads().get(origin) or ChainHead(0, b"")

    def certificate_is_valid(self) -> bool:
        """Whether this node's certificate verifies by what it trusts itself."""
        secrets = self.keys.secrets
        return (
            verify_certificate(secrets.certificate, secrets.authorities, self.wall.at).node_id
            == self.id
        )


async def found(wall: Wall, name: str = "frigg") -> tuple[Node, RecoveryKey]:
    made = found_fleet(Machine(name), wall.now())
    node = await Node(made.keys, wall).start()
    await node.fleet.announce(Machine(name))
    return node, made.recovery_key


async def invite(
    admin: Node, *, role: Role | None = None, relay: bool = False, life: timedelta = DAY
) -> Invitation:
    """Make an invitation and read it from its token, as the other machine does."""
    made = await admin.fleet.invite(relay=relay, role=role, life=life)
    return read_token(write_token(made))


async def join(
    admin: Node, name: str, *, role: Role | None = None, relay: bool = False
) -> tuple[Node, bytes]:
    """Join by an invitation; returns the node and the answer that it was given."""
    invitation = await invite(admin, role=role, relay=relay)
    return await redeem(admin, invitation, name)


async def redeem(admin: Node, invitation: Invitation, name: str) -> tuple[Node, bytes]:
    identity, machine = NodeIdentity.generate(), Machine(name, f"{name}.example")
    request = ask_to_join(invitation, identity, machine, admin.wall.now())
    answer = await admin.fleet.admit(request, "192.0.2.1")
    first = accept_join(invitation, identity, machine, request, answer, admin.wall.now())
    return await Node(first, admin.wall).start(), answer


async def recover(helper: Node, key: RecoveryKey, name: str) -> Node:
    """Regain the fleet on a new machine with the help of a node that is left."""
    challenge = await helper.fleet.challenge("192.0.2.1")
    answer = await helper.fleet.recover(ask_for_recovery(key, challenge), "192.0.2.1")
    regained = regain_fleet(key, answer, Machine(name), helper.wall.now())
    node = await Node(regained.keys, helper.wall).start()
    node.new_recovery_key = regained.recovery_key
    answer = await helper.fleet.renew(node.fleet.renewal_request(), "192.0.2.1")
    await node.fleet.accept_renewal(answer)
    return node


async def tell(*nodes: Node) -> None:
    """Let nodes exchange statements as sessions do, until nothing is new."""
    news = True
    while news:
        news = False
        for one in nodes:
            for other in nodes:
                if one.roster.digest() != other.roster.digest():
                    news = await one.roster.merge(other.roster.export()) or news


async def meet(*nodes: Node) -> None:
    """Exchange statements, then log entries."""
    await tell(*nodes)
    for node in nodes:
        await node.store.keys_changed()
        await node.store.trust_changed()
    for to in nodes:
        for of in nodes:
            if to is not of:
                await _pull(to, of)


async def _pull(to: Node, of: Node) -> None:
    for origin, head in of.store.replica.heads().items():
        while (after := to.head(origin).seq) < head.seq:
            entries = of.store.replica.read(origin, after, 4 * SIGN_EVERY)
            last = max(place for place, each in enumerate(entries) if each.signature)
            entries = entries[: last + 1]
            absent = set(of.store.replica.missing().get(origin, ()))
            batch = Batch(origin, after, pack(entries, absent), entries[-1].signature)
            await to.store.replica.apply(batch, None)
            if to.head(origin).seq == after:
                break


async def trio(frigg: Node, *, second: Role = Role.DEVELOPER) -> tuple[Node, Node]:
    odin, _ = await join(frigg, "odin", role=second)
    loki, _ = await join(frigg, "loki")
    await meet(frigg, odin, loki)
    return odin, loki


async def renew(node: Node, at: Node) -> None:
    answer = await at.fleet.renew(node.fleet.renewal_request(), "192.0.2.1")
    await node.fleet.accept_renewal(answer)


def trusted_numbers(node: Node) -> list[int]:
    return [item.number for item in node.roster.roster.trusted]
