"""What the store asks of others: keys, trust, the roster, a channel to a peer, durable storage."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Protocol, TypeVar

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from covey.store.api import NodeId
from covey.store.entry import Entry

T = TypeVar("T")


class DataKeys(Protocol):
    """The fleet's data keys by generation; a relay has none."""

    def current(self) -> tuple[bytes, bytes] | None:
        """Return `(generation id, 32-byte key)` that new entries are sealed with."""

    def key(self, generation: bytes) -> bytes | None:
        """Return the key of a generation, or None if it was never given to this node."""

    def generations(self) -> Sequence[bytes]:
        """Return the ids of all generations held, newest first."""


class Trust(Protocol):
    """Whose logs are accepted, and how far."""

    def public_key(self, origin: NodeId) -> Ed25519PublicKey | None:
        """Return the signing key of a member, present or removed, or None if unknown."""

    def cutoff(self, origin: NodeId) -> int | None:
        """Return the last sequence number accepted of a removed member, None if not removed."""

    def cutoff_chain(self, origin: NodeId) -> bytes | None:
        """Return the chain's value at the cutoff as the removal states it, None if it does not.

        It proves a removed member's log up to the cutoff to those who hold no signed head there,
        and stops the removed member from signing another past.
        """


class Signer(Protocol):
    """This node as the origin of a log."""

    @property
    def node_id(self) -> NodeId:
        """This node's id."""

    @property
    def signing_key(self) -> Ed25519PrivateKey:
        """The key that signs the heads of this node's log."""


class RosterPort(Protocol):
    """The signed membership statements, exchanged whole beside the log (a grow-only map)."""

    def digest(self) -> bytes:
        """Return a digest of all statements held: equal digests need no exchange."""

    def export(self) -> list[bytes]:
        """Return all statements."""

    async def merge(self, statements: Sequence[bytes]) -> bool:
        """Take in statements that verify, ignore and report the others; True if any was new."""

    def subscribe(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Call `listener` in the event loop after each change; returns the cancellation."""


class Channel(Protocol):
    """Ordered, authenticated frames to a peer; its methods raise `UnreachableError` at its end."""

    @property
    def peer(self) -> NodeId:
        """The peer's node id, as its certificate proves."""

    async def send(self, frame: bytes) -> None:
        """Send one frame; waits while the peer does not read (back-pressure)."""

    async def receive(self) -> bytes:
        """Return the next frame."""

    async def close(self) -> None:
        """End the connection."""


class Leaf(msgspec.Struct, frozen=True):
    """A version of a key that nothing known supersedes: `context` is what it supersedes.

    `context` maps an origin to the highest sequence number of this key seen from it when the
    version was written (a dotted version vector), joined with the contexts of its rivals.
    """

    collection: str
    key: str
    origin: NodeId
    seq: int
    hlc: int
    context: Mapping[NodeId, int]
    value: bytes | None


class ChainHead(msgspec.Struct, frozen=True):
    """How far an origin's log is held, and the chain's value there."""

    seq: int
    chain: bytes


class Quarantined(msgspec.Struct, frozen=True):
    """An entry set aside: its place in the log is held by a stub, `reason` is for people."""

    origin: NodeId
    seq: int
    reason: str
    frame: bytes


class LogWriter(Protocol):
    """The writes of one transaction; nothing is visible or durable before it ends well."""

    def append(self, entry: Entry) -> None:
        """Add an entry or replace the stub at its place; an entry held with its payload stays.

        A signature already held at that place is kept when the new entry brings none.
        """

    def set_head(self, origin: NodeId, head: ChainHead) -> None:
        """Record how far an origin's log is held."""

    def set_leaves(
        self, collection: str, key: str, leaves: Sequence[Leaf], versions: Sequence[Entry] = ()
    ) -> None:
        """Replace the current versions of one key.

        `versions` are the entries now found to be versions of it, current or not.
        """

    def drop_payload(self, origin: NodeId, seq: int) -> None:
        """Turn an entry into a stub (compaction)."""

    def quarantine(self, item: Quarantined) -> None:
        """Set an entry aside."""

    def release(self, origin: NodeId, seq: int) -> None:
        """Remove an entry from quarantine."""

    def hold(self, entry: Entry) -> None:
        """Keep an appended entry out of the fold until its clock's time has come."""

    def unhold(self, origin: NodeId, seq: int) -> None:
        """End the holding of an entry."""


class LogStorage(Protocol):
    """Durable storage of logs and of the fold over them.

    Reads are synchronous and may be called from any thread; `transaction` from the one writer
    thread alone, and reads inside it see its writes. Raises `StorageError` (full disk,
    input/output) and `DamagedError`.
    """

    async def commit(self, work: Callable[[LogWriter], T]) -> T:
        """Run `work` in a transaction in the writer thread; returns after the durable commit."""

    def transaction(self) -> AbstractContextManager[LogWriter]:
        """Begin a transaction; commits durably on a clean exit, rolls back otherwise."""

    def heads(self) -> dict[NodeId, ChainHead]:
        """Return how far each origin's log is held."""

    def read(self, origin: NodeId, after: int, limit: int) -> list[Entry]:
        """Return entries of one origin in order, from `after` + 1."""

    def versions(self, collection: str, key: str) -> list[Entry]:
        """Return all entries that `set_leaves` was told to be versions of a key, in any order."""

    def read_by_generation(
        self, generation: bytes, after: tuple[NodeId, int] | None, limit: int
    ) -> list[Entry]:
        """Return entries with a payload sealed under a generation, in one lasting order."""

    def payloads_outside(self, generations: Collection[bytes]) -> int:
        """Return how many entries have a payload sealed under a generation other than these."""

    def superseded(self, before_hlc: int, cursor: int, rows: int) -> tuple[list[Entry], int | None]:
        """Look through `rows` versions that are not current and whose payload is held.

        Returns those with an HLC under `before_hlc`, and the cursor to go on from (begin with 0),
        or None at the end.
        """

    def held(self, up_to_hlc: int | None = None) -> list[Entry]:
        """Return the entries kept out of the fold by `hold`, all or those with no later HLC."""

    def leaves(self, collection: str, key: str) -> list[Leaf]:
        """Return the current versions of one key."""

    def leaves_of(self, collection: str, keys: Sequence[str]) -> dict[str, list[Leaf]]:
        """Return the current versions of many keys; a key that has none may be left out."""

    def scan_leaves(self, collection: str, prefix: str) -> Iterator[Leaf]:
        """Yield current versions whose key starts with `prefix`, in key order."""

    def contested(self, collection: str) -> list[str]:
        """Return the keys with more than one current version."""

    def quarantined(self) -> list[Quarantined]:
        """Return all entries set aside."""


class LogChanged(msgspec.Struct, frozen=True):
    """What one durable commit did: how far origins are held now, stubs filled, payloads missed."""

    heads: Mapping[NodeId, int]
    healed: frozenset[tuple[NodeId, int]] = frozenset()
    missing: frozenset[tuple[NodeId, int]] = frozenset()


class LogView(Protocol):
    """What a session reads of its node; fast and synchronous."""

    @property
    def fleet_id(self) -> str:
        """The fleet: sessions with members of another are refused."""

    @property
    def node_id(self) -> NodeId:
        """This node's id."""

    @property
    def trust(self) -> Trust:
        """Whose logs are accepted, and how far."""

    @property
    def roster(self) -> RosterPort:
        """The signed membership statements."""

    def wall_ms(self) -> int:
        """Return the wall clock's milliseconds since the epoch."""

    def key_tags(self) -> Mapping[bytes, bytes]:
        """Return `Sealer.tags()`, empty on a relay."""

    def heads(self) -> Mapping[NodeId, ChainHead]:
        """Return how far each origin's log is held durably."""

    def read(self, origin: NodeId, after: int, limit: int) -> Sequence[Entry]:
        """Return entries of one origin in order, from `after` + 1."""

    def missing(self) -> Mapping[NodeId, Sequence[int]]:
        """Return the quarantined places that still hold a stub, by origin."""

    def met(self, peer: NodeId, heads: Mapping[NodeId, int]) -> None:
        """Take note of how far a peer held each log when its session began."""


class Published(msgspec.Struct, frozen=True):
    """How far peers were given this node's own log; they may hold more unless `exact`."""

    seq: int
    exact: bool


class PublishedMark(Protocol):
    """Remembers outside of the database how far this node's own log was given to peers.

    A database that was lost or restored from a backup does not know it any more.
    """

    def read(self) -> Published:
        """Return what is remembered."""

    def note(self, seq: int) -> None:
        """Take note that entries up to `seq` are about to be given to a peer.

        Raises `StorageError`.
        """

    def reset(self, seq: int) -> None:
        """Take note that no peer needs to be expected to hold more than `seq`."""


class LocalState(Protocol):
    """Small durable state of this node alone (invitations, known addresses); not replicated."""

    def get_local(self, namespace: str, key: str) -> bytes | None:
        """Return a value or None."""

    def scan_local(self, namespace: str) -> list[tuple[str, bytes]]:
        """Return all keys and values of a namespace in key order."""

    async def put_local(self, namespace: str, key: str, value: bytes | None) -> None:
        """Set a value durably; None deletes."""

    async def take_local(self, namespace: str, key: str) -> bytes | None:
        """Delete and return a value in one step: of many takers, one gets it."""
