"""Members of a fleet in memory: identities and certificates as real ones, links without sockets."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
from cryptography import x509

from covey.errors import ConflictError, CoveyError, RefusedError
from covey.fleet.authority import (
    create_authority,
    issue_certificate,
    utc_now,
    verify_certificate,
)
from covey.fleet.identity import NodeIdentity
from covey.fleet.tls_key import derive_tls_key, endorsed_tls_key
from covey.operations.access import Caller, CallerKind, Limits, Role
from covey.operations.audit import AuditEntry
from covey.operations.context import Context, Services
from covey.operations.registry import Effect, Operation, Registry, operation
from covey.remote.call_client import PeerPlace
from covey.remote.call_links import CallLinks, CallTrust
from covey.remote.call_server import CallServer
from covey.remote.caller_assertion import Asserter, AssertionVerifier, Origin
from covey.store.api import NodeId
from covey.wiring.tls import TlsContexts, TlsIdentity
from tests.store.channels import MemoryChannel, connected

DEADLINE_S = 20.0


class Word(msgspec.Struct, frozen=True):
    """Something said, there and back."""

    text: str
    data: bytes = b""


class Work:
    """What the operations of a member do, and what the tests watch."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.running = 0
        self.released = asyncio.Event()
        self.callers: list[Caller] = []


@operation("word.get", access=Role.VIEWER, effect=Effect.READ, http="GET /word/{text}")
async def get_word(ctx: Context, text: str) -> Word:
    """Return a word, with who said it."""
    work = ctx.service(Work)
    work.callers.append(ctx.caller)
    if text == "bad":
        raise ConflictError("That word is bad.", hint="Say another.", details={"word": text})
    return Word(f"{text} by {work.name}")


@operation("word.set", access=Role.OPERATOR, effect=Effect.CHANGE, http="PUT /word/{text}")
async def set_word(ctx: Context, text: str) -> Word:
    """Change something."""
    ctx.service(Work).callers.append(ctx.caller)
    return Word(text)


@operation("word.wait", access=Role.VIEWER, effect=Effect.READ, http="POST /wait")
async def wait_word(ctx: Context) -> Word:
    """Wait until released."""
    work = ctx.service(Work)
    work.running += 1
    try:
        await work.released.wait()
    finally:
        work.running -= 1
    return Word("released")


@operation("word.guard", access=Role.OPERATOR, effect=Effect.CHANGE, http="POST /guard")
async def guard_word(ctx: Context) -> Word:
    """Wait until released, as an operator alone may."""
    return await wait_word(ctx)


@operation("word.flood", access=Role.VIEWER, effect=Effect.READ, http="GET /flood")
async def flood(ctx: Context, *, count: int, size: int = 1) -> AsyncIterator[Word]:
    """Say much."""
    work = ctx.service(Work)
    work.running += 1
    try:
        for number in range(count):
            yield Word(str(number), bytes(size))
    finally:
        work.running -= 1


@operation("word.echo", access=Role.VIEWER, effect=Effect.READ, http="POST /echo")
async def echo(
    ctx: Context, *, words: AsyncIterator[Word], most: int = 10**9
) -> AsyncIterator[Word]:
    """Say the same; no more than `most` words."""
    work = ctx.service(Work)
    work.running += 1
    try:
        said = 0
        async for word in words:
            if said == most:
                return
            said += 1
            yield word
    finally:
        work.running -= 1


def operation_of(function: Any) -> Operation:
    found = function.__covey_operation__
    assert isinstance(found, Operation)
    return found


REGISTRY = Registry(
    [operation_of(item) for item in (get_word, set_word, wait_word, guard_word, flood, echo)]
)


class Trail:
    def __init__(self) -> None:
        self.entries: list[AuditEntry] = []

    def record(self, entry: AuditEntry) -> None:
        self.entries.append(entry)


@dataclass
class Fleet:
    """The members, and who is one still."""

    folder: Path
    authority: Any = field(default_factory=lambda: create_authority(utc_now()))
    members: dict[str, Member] = field(default_factory=dict)
    removed: set[NodeId] = field(default_factory=set)
    now_ms: int = 1_800_000_000_000

    def member(self, name: str, role: Role = Role.ADMIN) -> Member:
        found = Member(self, name, role)
        self.members[name] = found
        return found

    def by_id(self, node_id: NodeId) -> Member | None:
        for member in self.members.values():
            if member.id == node_id and node_id not in self.removed:
                return member
        return None

    async def remove(self, name: str) -> None:
        self.removed.add(self.members[name].id)
        for member in self.members.values():
            await member.links.cut_strangers()

    async def close(self) -> None:
        for member in self.members.values():
            await member.links.close()
            for task in member.sessions:
                task.cancel()
            await asyncio.gather(*member.sessions, return_exceptions=True)


class Member:
    """One node: its links, its operations, its trail."""

    def __init__(self, fleet: Fleet, name: str, role: Role) -> None:
        self.fleet = fleet
        self.name = name
        self.role = role
        self.identity = NodeIdentity.generate()
        self.id = self.identity.node_id
        self.work = Work(name)
        self.trail = Trail()
        self.limits: Callable[[str, NodeId, Role], Limits] = lambda *_: Limits()
        self.sessions: list[asyncio.Task[None]] = []
        self.dials = 0
        seed = self.identity.sign_seed
        certificate = issue_certificate(
            fleet.authority, self.identity.sign_public, endorsed_tls_key(seed), utc_now()
        )
        self.tls = TlsContexts(
            TlsIdentity(
                x509.load_der_x509_certificate(certificate),
                derive_tls_key(seed),
                (x509.load_der_x509_certificate(fleet.authority.certificate),),
            ),
            fleet.folder,
        )
        services = Services()
        services.provide(Work, self.work)
        now = lambda: fleet.now_ms  # noqa: E731
        self.asserter = Asserter(self.id, lambda: self.identity.signing_key, now)
        verifier = AssertionVerifier(self.id, self._origin, self._limits, now)
        self.server = CallServer(REGISTRY, services, self.trail, verifier)
        self.links = CallLinks(
            CallTrust(
                me=self.id,
                is_member=lambda node_id: fleet.by_id(node_id) is not None,
                certified=self._certified,
                client_tls=self.client_tls,
                server_tls=lambda: self.tls.server,
            ),
            self.server.serve,
            self._dial_now,
        )

    def client_tls(self) -> ssl.SSLContext:
        return self.tls.client

    def place(self, host: Member) -> PeerPlace:
        return PeerPlace(host.name, host.id, self.links, self.asserter, self.trail)

    async def call(self, host: Member, function: Any, **arguments: Any) -> Any:
        """Call an operation of another member as this one's owner."""
        caller = arguments.pop("caller", self.owner())
        found = operation_of(function)
        values = found.signature.arguments(**arguments)
        return await self.place(host).invoke(found, values, self.context(caller))

    def owner(self) -> Caller:
        return Caller(CallerKind.LOCAL, f"root@{self.name}", Role.ADMIN, "local")

    def context(self, caller: Caller | None = None, deadline: float | None = None) -> Context:
        return Context(caller or self.owner(), Services(), "0" * 16, deadline)

    def run(self, channel: MemoryChannel) -> None:
        self.sessions.append(asyncio.create_task(self.links.run(channel)))

    def _origin(self, node_id: NodeId) -> Origin | None:
        found = self.fleet.by_id(node_id)
        if found is None:
            return None
        return Origin(found.identity.sign_public, found.name, found.role)

    def _limits(self, member: str, node_id: NodeId, role: Role) -> Limits:
        return self.limits(member, node_id, role)

    def _certified(self, certificate: bytes) -> NodeId:
        authorities = [self.fleet.authority.certificate]
        found = verify_certificate(certificate, authorities, utc_now())
        if self.fleet.by_id(found.node_id) is None:
            raise RefusedError("That node is not a member.")
        return found.node_id

    def _dial_now(self) -> None:
        self.dials += 1


def link(one: Member, other: Member) -> tuple[MemoryChannel, MemoryChannel]:
    """Connect two members and let calls run; closing an end is a cut."""
    ends = connected(one.id, other.id, room=4)
    one.run(ends[0])
    other.run(ends[1])
    return ends


async def eventually(probe: Callable[[], object]) -> None:
    """Wait until `probe` is true; fails after the deadline."""
    async with asyncio.timeout(DEADLINE_S):
        while not probe():
            await asyncio.sleep(0.002)


async def failure(work: Any) -> CoveyError:
    """Return the error that awaiting `work` raises."""
    try:
        async with asyncio.timeout(DEADLINE_S):
            await work
    except CoveyError as error:
        return error
    raise AssertionError("it did not fail")


Scene = Callable[[Fleet], Awaitable[None]]
Play = Callable[[Scene], None]


def pair(fleet: Fleet, role: Role = Role.ADMIN) -> tuple[Member, Member]:
    freya, frigg = fleet.member("freya", role), fleet.member("frigg")
    link(freya, frigg)
    return freya, frigg


def three(fleet: Fleet) -> tuple[Member, Member, Member]:
    """freya - odin - frigg: the outer two have no link."""
    freya, odin, frigg = (fleet.member(name) for name in ("freya", "odin", "frigg"))
    link(freya, odin)
    link(odin, frigg)
    return freya, odin, frigg


async def words(*items: Word) -> AsyncIterator[Word]:
    for item in items:
        yield item


async def collect(host: Member, other: Member, function: Any, items: Any, **arguments: Any):
    found = operation_of(function)
    values = found.signature.arguments(**arguments)
    place = host.place(other)
    return [item async for item in place.stream(found, values, host.context(), items)]
