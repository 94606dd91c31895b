"""Who a forwarded call is by: said and signed by the node that forwards it, for one other node.

An assertion holds for minutes, is made for one audience, and is accepted only on a connection
that its origin itself is the far end of: whoever copies one can do nothing with it.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import TypeVar

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from covey.errors import RefusedError, UnauthenticatedError
from covey.fleet.identity import signature_is_valid
from covey.operations.access import Caller, CallerKind, Limits, Role
from covey.store.api import NodeId

LIFE_MS = 5 * 60 * 1000
"""How long an assertion holds."""

_SKEW_MS = 60 * 1000
_DOMAIN = b"covey caller assertion v1\0"
_MOST_KEPT = 512
_LONGEST = 64 << 10
_LONGEST_NAME = 256

K = TypeVar("K")
V = TypeVar("V")


class Assertion(msgspec.Struct, frozen=True, array_like=True):
    """What the origin says of the caller; times are milliseconds since the epoch."""

    caller: str
    kind: str
    role: str
    allowed: tuple[str, ...]
    origin: str
    audience: str
    expires_ms: int


class _Signed(msgspec.Struct, frozen=True, array_like=True):
    body: bytes
    signature: bytes


@dataclass(frozen=True, slots=True)
class Origin:
    """A present member that calls may come from: its key (raw Ed25519), name and highest role."""

    sign_key: bytes
    name: str
    role: Role


def wall_ms() -> int:
    """Return the wall clock in milliseconds since the epoch."""
    return time.time_ns() // 1_000_000


class Asserter:
    """Makes the assertions of this node, and keeps each for half of its life."""

    def __init__(
        self,
        me: NodeId,
        signing_key: Callable[[], Ed25519PrivateKey],
        now_ms: Callable[[], int] = wall_ms,
    ) -> None:
        self._me = me
        self._signing_key = signing_key
        self._now_ms = now_ms
        self._made: OrderedDict[tuple[object, ...], tuple[int, bytes]] = OrderedDict()

    def assertion(self, caller: Caller, audience: NodeId) -> bytes:
        """Say who calls; raises `RefusedError` for a call that came from another node itself.

        What another node called, over a link or by its certificate, would count as ours there.
        """
        if caller.via is not None or caller.kind not in {CallerKind.LOCAL, CallerKind.TOKEN}:
            raise RefusedError(
                "A call from another node goes no further than here.",
                hint="Call the host itself: -H NAME.",
            )
        key = (caller.name, caller.kind, caller.role, caller.allowed, audience)
        now = self._now_ms()
        made = self._made.get(key)
        if made is not None and LIFE_MS // 2 < made[0] - now <= LIFE_MS:
            return made[1]
        expires = now + LIFE_MS
        body = msgspec.msgpack.encode(
            Assertion(
                caller.name,
                caller.kind.value,
                caller.role.label,
                caller.allowed,
                self._me,
                audience,
                expires,
            )
        )
        signature = self._signing_key().sign(_DOMAIN + body)
        data = msgspec.msgpack.encode(_Signed(body, signature))
        _keep(self._made, key, (expires, data))
        return data


class AssertionVerifier:
    """Turns assertions into callers.

    `origin` returns a present member by its id, or None; `limits` is this node's policy for a
    member (name, id) and a role.
    """

    def __init__(
        self,
        me: NodeId,
        origin: Callable[[NodeId], Origin | None],
        limits: Callable[[str, NodeId, Role], Limits],
        now_ms: Callable[[], int] = wall_ms,
    ) -> None:
        self._me = me
        self._origin = origin
        self._limits = limits
        self._now_ms = now_ms
        self._proven: OrderedDict[bytes, Assertion] = OrderedDict()

    def verify(self, data: bytes, peer: NodeId, address: str) -> Caller:
        """Return the caller of a call that `peer` sent, with the least of both roles.

        Raises `UnauthenticatedError` for what is not signed by the peer, not meant for this node
        or not valid any more, and `RefusedError` for a node that is no member.
        """
        origin = self._origin(peer)
        if origin is None:
            raise RefusedError(f"Node {peer[:8]} is not a member of this fleet.")
        said = self._read(data, origin)
        if said.origin != peer or said.audience != self._me:
            raise _invalid("it is not for this connection")
        left = said.expires_ms - self._now_ms()
        if not -_SKEW_MS <= left <= LIFE_MS + _SKEW_MS:
            raise UnauthenticatedError(
                f"What {origin.name} says of its caller is not valid at this time.",
                hint="Set both machines' clocks; covey doctor shows how far they are apart.",
            )
        role = min(_role(said.role), origin.role)
        return Caller(
            kind=_kind(said.kind),
            name=said.caller,
            role=role,
            address=address,
            allowed=said.allowed,
            node_id=peer,
            via=origin.name,
            limits=self._limits(origin.name, peer, role),
        )

    def renewed(self, caller: Caller) -> Caller:
        """Return a caller that was verified before, with the rights of now; raises as `verify`."""
        peer = NodeId(caller.node_id or "")
        origin = self._origin(peer)
        if origin is None:
            raise RefusedError(f"Node {peer[:8]} is not a member of this fleet.")
        role = min(caller.role, origin.role)
        return replace(caller, role=role, limits=self._limits(origin.name, peer, role))

    def _read(self, data: bytes, origin: Origin) -> Assertion:
        if len(data) > _LONGEST:
            raise _invalid("it is too long")
        digest = blake2b(origin.sign_key + data, digest_size=32).digest()
        known = self._proven.get(digest)
        if known is not None:
            return known
        try:
            signed = msgspec.msgpack.decode(data, type=_Signed)
            if not signature_is_valid(origin.sign_key, signed.signature, _DOMAIN + signed.body):
                raise _invalid("its signature is wrong")
            said = msgspec.msgpack.decode(signed.body, type=Assertion)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise _invalid("it cannot be read") from error
        # The name is kept in the audit trail, and shown on terminals.
        if not (0 < len(said.caller) <= _LONGEST_NAME and said.caller.isprintable()):
            raise _invalid("it names nobody that can be shown")
        _keep(self._proven, digest, said)
        return said


def _keep(kept: OrderedDict[K, V], key: K, value: V) -> None:
    kept[key] = value
    kept.move_to_end(key)
    if len(kept) > _MOST_KEPT:
        kept.popitem(last=False)


def _role(label: str) -> Role:
    try:
        return Role.parse(label)
    except KeyError as error:
        raise _invalid("it names a role that is not known here") from error


def _kind(label: str) -> CallerKind:
    """Return how the caller proved themselves; this machine's own user is no user of that one."""
    try:
        found = CallerKind(label)
    except ValueError as error:
        raise _invalid("it names a kind of caller that is not known here") from error
    if found is CallerKind.ANONYMOUS:
        raise _invalid("it names nobody")
    return CallerKind.TOKEN if found is CallerKind.TOKEN else CallerKind.NODE


def _invalid(reason: str) -> UnauthenticatedError:
    return UnauthenticatedError(f"The statement about the call's caller is not valid: {reason}.")
