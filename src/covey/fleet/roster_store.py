"""The roster of a running node: kept in its local state, watched by whoever depends on it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from hashlib import blake2b

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from covey.errors import DamagedError
from covey.fleet.roster import Refused, Roster, Statements, fold, merge
from covey.fleet.statements import BadStatementError, Signed, open_statement
from covey.store.api import NodeId
from covey.store.ports import LocalState

MAX_STATEMENTS_AT_ONCE = 50_000
_NAMESPACE = "fleet"
_KEY = "statements"
_REPORTED = 50
_CHECKED_AT_ONCE = 64
"""Signatures that are checked before others get their turn: a peer may send any number."""
_log = logging.getLogger("covey.fleet")

Listener = Callable[[], None]


class FleetRoster:
    """The membership statements of this node; satisfies the store's `Trust` and `RosterPort`.

    All statements are kept under one key, so that a batch is taken in whole or not at all. Methods
    are to be called from the event loop.
    """

    def __init__(self, fleet_id: str, local: LocalState) -> None:
        """Load what is kept; raises `DamagedError` when it cannot be read."""
        self._fleet_id = fleet_id
        self._local = local
        self._listeners: list[Listener] = []
        self._writing = asyncio.Lock()
        self._adopting: set[asyncio.Future[bool]] = set()
        self._refused: list[Refused] = []
        self._statements: Statements = merge(fleet_id, {}, self._load()).statements
        self._roster = fold(fleet_id, self._statements)

    @property
    def roster(self) -> Roster:
        """Who is in the fleet."""
        return self._roster

    @property
    def statements(self) -> Statements:
        """The statements held, by slot."""
        return self._statements

    @property
    def refused(self) -> Sequence[Refused]:
        """The latest statements that were refused, for `covey doctor`."""
        return tuple(self._refused)

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Call `listener` after each change; returns the cancellation."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def present(self) -> set[NodeId]:
        """Return the ids of the members that are in the fleet."""
        return {member.node_id for member in self._roster.present}

    def public_key(self, origin: NodeId) -> Ed25519PublicKey | None:
        """Return the signing key of a member, present or removed, or None if unknown."""
        member = self._roster.members.get(origin)
        if member is None:
            return None
        return Ed25519PublicKey.from_public_bytes(member.statement.sign_key)

    def cutoff(self, origin: NodeId) -> int | None:
        """Return the last sequence number accepted of a removed member, None if not removed."""
        member = self._roster.members.get(origin)
        return None if member is None else member.cutoff

    def cutoff_chain(self, origin: NodeId) -> bytes | None:
        """Return the chain's value at a removed member's cutoff, None if none was stated."""
        member = self._roster.members.get(origin)
        return None if member is None else member.cutoff_chain

    def digest(self) -> bytes:
        """Return a digest of all statements held: equal digests need no exchange."""
        every = sorted(item.digest for item in self._statements.values())
        return blake2b(b"".join(every), digest_size=32).digest()

    def export(self) -> list[bytes]:
        """Return all statements, in a fixed order."""
        return [self._statements[slot].raw for slot in sorted(self._statements)]

    async def merge(self, statements: Sequence[bytes]) -> bool:
        """Take in statements that verify, ignore and report the others; True if any was new."""
        held = {item.raw for item in self._statements.values()}
        opened: list[Signed] = []
        unreadable: list[Refused] = []
        for number, raw in enumerate(statements[:MAX_STATEMENTS_AT_ONCE], 1):
            if number % _CHECKED_AT_ONCE == 0:
                await asyncio.sleep(0)
            if raw in held:
                continue
            try:
                opened.append(open_statement(raw, self._fleet_id))
            except BadStatementError as error:
                unreadable.append(Refused(error.message, "unknown"))
        self._report(unreadable)
        return await self.adopt(opened)

    async def adopt(self, signed: Iterable[Signed]) -> bool:
        """Take in statements whose signatures were checked already; True if any was new.

        It goes on to its end when the caller is cancelled: what is on disk and what is in memory
        must not differ.
        """
        fresh = list(signed)
        if not fresh:
            return False
        work = asyncio.ensure_future(self._adopt(fresh))
        self._adopting.add(work)
        work.add_done_callback(self._adopting.discard)
        return await asyncio.shield(work)

    async def _adopt(self, fresh: list[Signed]) -> bool:
        async with self._writing:
            merged = merge(self._fleet_id, self._statements, fresh)
            self._report(merged.refused)
            if merged.statements == self._statements:
                return False
            blob = msgspec.msgpack.encode([item.raw for item in merged.statements.values()])
            await self._local.put_local(_NAMESPACE, _KEY, blob)
            self._statements = merged.statements
            self._roster = fold(self._fleet_id, self._statements)
        for listener in tuple(self._listeners):
            listener()
        return True

    def _load(self) -> list[Signed]:
        blob = self._local.get_local(_NAMESPACE, _KEY)
        if blob is None:
            return []
        try:
            raw = msgspec.msgpack.decode(blob, type=list[bytes])
            return [open_statement(item, self._fleet_id) for item in raw]
        except (msgspec.DecodeError, BadStatementError) as error:
            raise DamagedError(
                "The list of this fleet's members is damaged.",
                hint="Restore the last backup of the database, or join the fleet again.",
            ) from error

    def _report(self, refused: Iterable[Refused]) -> None:
        found = list(refused)
        if found:
            reasons = "; ".join(sorted({f"{item.statement}: {item.reason}" for item in found})[:5])
            _log.warning("refused %d membership statements: %s", len(found), reasons)
            self._refused = [*self._refused, *found][-_REPORTED:]
