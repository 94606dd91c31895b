"""API tokens: made once, kept by their hash, fleet-wide, scoped and expiring."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
import re
import secrets
from base64 import b32encode
from collections.abc import Callable, Collection
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from typing import Annotated, Protocol

import msgspec

from covey.errors import (
    ConflictError,
    CoveyError,
    InvalidRequestError,
    NotFoundError,
    RefusedError,
    UnauthenticatedError,
)
from covey.operations.access import Caller, CallerKind, Role
from covey.store.api import Change, NodeId, Record, RecordStore

COLLECTION = "tokens"
"""The fleet's tokens, by id."""

_USES = "token uses"
_COARSE = timedelta(minutes=10)
_FORM = re.compile(r"covey_([a-z2-7]{12})_([a-z2-7]{52})\Z")
_SECRET_BYTES = 32
_log = logging.getLogger("covey.tokens")


class LocalUses(Protocol):
    """Where this node keeps when a token was last used here: its `LocalState`."""

    def get_local(self, namespace: str, key: str) -> bytes | None:
        """Return a value or None."""

    async def put_local(self, namespace: str, key: str, value: bytes | None) -> None:
        """Set a value durably; None deletes."""


class Makers(Protocol):
    """Who can have made a token: the members of the fleet."""

    @property
    def node_id(self) -> NodeId:
        """This node."""

    def role_of(self, node_id: NodeId) -> Role | None:
        """Return the role of a present member, None for all others."""


Moment = Annotated[datetime, msgspec.Meta(tz=True)]


class Token(msgspec.Struct, frozen=True):
    """A token without its secret; `last_used_at` is of this node, within ten minutes.

    It counts as expired, too, when the machine that made it has left the fleet.
    """

    id: str
    name: str
    role: str
    allow: list[str]
    created_at: Moment
    created_by: str
    expires_at: Moment
    expired: bool
    last_used_at: Moment | None = None


class _Stored(msgspec.Struct, frozen=True, array_like=True):
    name: str
    digest: bytes
    role: str
    allow: list[str]
    created_at: Moment
    created_by: str
    expires_at: Moment


class Tokens:
    """The fleet's tokens; `operations` are the names that a scope can mean.

    Every full member can write records, whatever its role: so a token is believed no further than
    the role of the machine that wrote it, and no longer than that machine is in the fleet.
    `clock` returns the time in UTC. Reads and writes raise what the record store raises.
    """

    def __init__(
        self,
        store: RecordStore,
        uses: LocalUses,
        makers: Makers,
        operations: Collection[str],
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._store = store
        self._uses = uses
        self._makers = makers
        self._operations = operations
        self._clock = clock
        self._used: dict[str, datetime] = {}
        self._writing: set[asyncio.Task[None]] = set()

    async def create(
        self, caller: Caller, name: str, role: Role, allow: list[str], lifetime: timedelta
    ) -> tuple[Token, str]:
        """Make a token that can do no more than `caller`, and return it with its text.

        Raises `RefusedError` for more than the caller's own rights, `ConflictError` for a name
        that is in use and `InvalidRequestError` for a scope that means no operation.
        """
        now = self._clock()
        expires_at = now + lifetime
        self._check_rights(caller, role, allow, expires_at)
        for pattern in allow:
            if not any(fnmatchcase(item, pattern) for item in self._operations):
                raise InvalidRequestError(
                    f"No operation is called {pattern}.",
                    hint="Name an operation (env.get), a domain (env.*), or * for everything.",
                )
        if any(item.name == name and not item.expired for item in self.all()):
            raise ConflictError(
                f"There is already a token called {name}.",
                hint=f"Choose another name, or revoke it: covey token revoke {name}",
            )
        token_id, secret = _text(8)[:12], _text(_SECRET_BYTES)
        stored = _Stored(name, _digest(secret), role.label, allow, now, caller.name, expires_at)
        await self._store.write([Change(COLLECTION, token_id, msgspec.msgpack.encode(stored))])
        return self._shown(token_id, stored, role), f"covey_{token_id}_{secret}"

    def all(self) -> list[Token]:
        """Return every token that is not revoked, in the order of their names."""
        found = [
            self._shown(record.key, stored, self._believed(record, stored))
            for record in self._store.scan(COLLECTION)
            for stored in [_read(record.value)]
        ]
        return sorted(found, key=lambda item: (item.name, item.id))

    async def revoke(self, name_or_id: str) -> list[Token]:
        """Delete a token by its id, or the tokens of a name; raises `NotFoundError`."""
        found = [item for item in self.all() if name_or_id in {item.id, item.name}]
        if not found:
            raise NotFoundError(
                f"There is no token {name_or_id}.", hint="See them all: covey token list"
            )
        await self._store.write([Change(COLLECTION, item.id, None) for item in found])
        for item in found:
            self._used.pop(item.id, None)
            await self._uses.put_local(_USES, item.id, None)
        return found

    def authenticate(self, text: str, address: str) -> Caller | None:
        """Return the caller that a token stands for, or None if there is no such token.

        Raises `UnauthenticatedError` for one that has expired, or whose maker has left the fleet.
        Must be called in the event loop.
        """
        form = _FORM.match(text)
        if form is None:
            return None
        token_id, secret = form.groups()
        record = self._store.get(COLLECTION, token_id)
        if record is None:
            return None
        stored = _read(record.value)
        if not hmac.compare_digest(stored.digest, _digest(secret)):
            return None
        now = self._clock()
        if now >= stored.expires_at:
            raise UnauthenticatedError(
                f"The token {stored.name} expired on {stored.expires_at:%Y-%m-%d %H:%M} UTC.",
                hint=f"Ask an admin for another one: covey token create {stored.name}",
            )
        role = self._believed(record, stored)
        if role is None:
            raise UnauthenticatedError(
                f"The token {stored.name} was made on a machine that has left the fleet.",
                hint=f"Ask an admin for another one: covey token create {stored.name}",
            )
        self._note_use(token_id, now)
        return Caller(
            kind=CallerKind.TOKEN,
            name=stored.name,
            role=role,
            address=address,
            allowed=tuple(stored.allow),
            node_id=record.version.origin,
        )

    async def settle(self) -> None:
        """Wait until the noted uses are kept."""
        while self._writing:
            await asyncio.wait(set(self._writing))

    def _check_rights(
        self, caller: Caller, role: Role, allow: list[str], expires_at: datetime
    ) -> None:
        if role > caller.role:
            raise RefusedError(
                f"{caller.name} is {caller.role.label} and cannot make a token that is "
                f"{role.label}.",
                hint=f"Use --role {caller.role.label}, or ask someone with that role.",
            )
        maker = self._makers.role_of(self._makers.node_id)
        if maker is None or role > maker:
            label = "none" if maker is None else maker.label
            raise RefusedError(
                f"This machine's own role in the fleet is {label}: nobody would believe a token "
                f"from here that is {role.label}.",
                hint=f"Make it on a machine that is {role.label}: covey fleet list",
            )
        beyond = [item for item in allow if not any(covers(own, item) for own in caller.allowed)]
        if beyond:
            raise RefusedError(
                f"{caller.name} is not allowed {', '.join(beyond)} and cannot pass it on.",
                hint=f"Allow at most: {', '.join(caller.allowed)}",
            )
        if caller.kind is CallerKind.TOKEN:
            own_end = min(
                (item.expires_at for item in self.all() if item.name == caller.name), default=None
            )
            if own_end is None or expires_at > own_end:
                raise RefusedError(
                    f"A token made by {caller.name} cannot outlive it.",
                    hint="Choose an earlier --expires, or make it on a node of the fleet.",
                )

    def _note_use(self, token_id: str, now: datetime) -> None:
        last = self._last_use(token_id)
        if last is not None and now - last < _COARSE:
            return
        self._used[token_id] = now
        task = asyncio.get_running_loop().create_task(self._keep_use(token_id, now))
        self._writing.add(task)
        task.add_done_callback(self._writing.discard)

    async def _keep_use(self, token_id: str, now: datetime) -> None:
        try:
            await self._uses.put_local(_USES, token_id, now.isoformat().encode())
        except CoveyError as error:
            _log.warning("the use of a token was not kept: %s", error.message)

    def _last_use(self, token_id: str) -> datetime | None:
        if token_id not in self._used:
            kept = self._uses.get_local(_USES, token_id)
            if kept is None:
                return None
            self._used[token_id] = datetime.fromisoformat(kept.decode())
        return self._used[token_id]

    def _believed(self, record: Record, stored: _Stored) -> Role | None:
        """Return the role in which a token is believed, None if its maker has left the fleet."""
        maker = self._makers.role_of(record.version.origin)
        return None if maker is None else min(maker, Role.parse(stored.role))

    def _shown(self, token_id: str, stored: _Stored, role: Role | None) -> Token:
        return Token(
            id=token_id,
            name=stored.name,
            role=stored.role if role is None else role.label,
            allow=stored.allow,
            created_at=stored.created_at,
            created_by=stored.created_by,
            expires_at=stored.expires_at,
            expired=role is None or self._clock() >= stored.expires_at,
            last_used_at=self._last_use(token_id),
        )


def covers(own: str, asked: str) -> bool:
    """Whether everything that the pattern `asked` matches is matched by `own`, too.

    Both are an operation's name, a domain with `.*`, or `*`.
    """
    return own in {"*", asked} or (own.endswith(".*") and asked.startswith(own[:-1]))


def _read(value: bytes) -> _Stored:
    return msgspec.msgpack.decode(value, type=_Stored)


def _text(size: int) -> str:
    return b32encode(secrets.token_bytes(size)).decode("ascii").lower().rstrip("=")


def _digest(secret: str) -> bytes:
    """Hash a secret of 256 random bits: against such, a slow hash adds nothing."""
    return hashlib.sha256(secret.encode("ascii")).digest()
