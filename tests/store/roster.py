"""The set of members and removals that a node has heard of, in statements with a checksum."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from hashlib import blake2b

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from covey.store.api import NodeId


class Statement(msgspec.Struct, frozen=True):
    """A member, or since `cutoff` is given, a removed one."""

    node: NodeId
    key: bytes
    cutoff: int | None = None
    chain: bytes | None = None


class PlainRoster:
    """Satisfies `RosterPort` and `Trust`; a removal wins over a membership."""

    def __init__(self, statements: Iterable[Statement] = ()) -> None:
        self._held: dict[NodeId, Statement] = {}
        self._listeners: list[Callable[[], None]] = []
        self.add(*statements)

    def add(self, *statements: Statement) -> bool:
        changed = False
        for each in statements:
            held = self._held.get(each.node)
            if held is None or (held.cutoff is None and each.cutoff is not None):
                self._held[each.node] = each
                changed = True
        if changed:
            for listener in list(self._listeners):
                listener()
        return changed

    def restarted(self) -> PlainRoster:
        return PlainRoster(self._held.values())

    def digest(self) -> bytes:
        return blake2b(b"".join(self.export()), digest_size=16).digest()

    def export(self) -> list[bytes]:
        return sorted(_encode(each) for each in self._held.values())

    async def merge(self, statements: Sequence[bytes]) -> bool:
        decoded = [_decode(each) for each in statements]
        return self.add(*(each for each in decoded if each is not None))

    def subscribe(self, listener: Callable[[], None]) -> Callable[[], None]:
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def public_key(self, origin: NodeId) -> Ed25519PublicKey | None:
        held = self._held.get(origin)
        return Ed25519PublicKey.from_public_bytes(held.key) if held else None

    def present(self) -> set[NodeId]:
        return {each.node for each in self._held.values() if each.cutoff is None}

    def cutoff(self, origin: NodeId) -> int | None:
        held = self._held.get(origin)
        return held.cutoff if held else None

    def cutoff_chain(self, origin: NodeId) -> bytes | None:
        held = self._held.get(origin)
        return held.chain if held else None


def _encode(statement: Statement) -> bytes:
    data = msgspec.msgpack.encode(statement)
    return blake2b(data, digest_size=16).digest() + data


def _decode(statement: bytes) -> Statement | None:
    decoded = statement[16:]
    if blake2b(decoded, digest_size=16).digest() != statement[:16]:
        return None
    return msgspec.msgpack.decode(decoded, type=Statement)
