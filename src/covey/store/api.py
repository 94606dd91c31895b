"""What the domains use of the store: sealed, replicated records by collection and key."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NewType, Protocol

import msgspec

NodeId = NewType("NodeId", str)
"""32 lower-case hexadecimal digits: BLAKE2b-128 of the node's Ed25519 public key."""

VersionId = NewType("VersionId", str)
"""`<first 8 digits of the origin's node id>.<sequence number>`, unique in a fleet."""


class Version(msgspec.Struct, frozen=True):
    """One written version of a record; `value` is None for a deletion or a compacted version."""

    id: VersionId
    origin: NodeId
    seq: int
    hlc: int
    value: bytes | None
    deleted: bool = False
    compacted: bool = False

    @property
    def at_ms(self) -> int:
        """Milliseconds since the epoch at which it was written."""
        return self.hlc >> 16


class Record(msgspec.Struct, frozen=True):
    """A key's present value; `rivals` are concurrent versions that lost by the clock."""

    collection: str
    key: str
    value: bytes
    version: Version
    rivals: tuple[Version, ...] = ()


class Change(msgspec.Struct, frozen=True):
    """One write; a `value` of None deletes. `expected` refuses when the present version differs.

    A change supersedes every version of the key known here, rivals included.
    """

    collection: str
    key: str
    value: bytes | None
    expected: VersionId | None = None


class Conflict(msgspec.Struct, frozen=True):
    """Concurrent versions of one key, the winner first; a winner may be a deletion."""

    collection: str
    key: str
    versions: tuple[Version, ...]


class Changed(msgspec.Struct, frozen=True):
    """What one commit, local or received, changed: `(collection, key)` pairs."""

    keys: frozenset[tuple[str, str]]


class RecordStore(Protocol):
    """The fleet's shared records. Reads are synchronous and fast; writes are durable on return.

    Writes raise `PreconditionFailedError`, `TooLargeError`, `StorageError` or `LockedError`.
    """

    async def write(self, changes: Sequence[Change]) -> list[Version]:
        """Apply all changes in one commit, in order."""

    def get(self, collection: str, key: str) -> Record | None:
        """Return the present record, or None if it is absent or deleted."""

    def scan(self, collection: str, prefix: str = "") -> Iterator[Record]:
        """Yield present records whose key starts with `prefix`, in key order."""

    def history(self, collection: str, key: str) -> list[Version]:
        """Return every known version, newest first."""

    def conflicts(self, collection: str) -> list[Conflict]:
        """Return the keys with more than one current version."""

    def subscribe(self, listener: Callable[[Changed], None]) -> Callable[[], None]:
        """Call `listener` in the event loop after each commit; returns the cancellation."""
