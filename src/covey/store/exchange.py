"""Sessions with peers over channels: what a session needs from the node, and what drives it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import msgspec

from covey.store.api import NodeId
from covey.store.entry import Entry
from covey.store.ingest import Outcome
from covey.store.ports import RosterPort, Trust
from covey.store.wire import Batch, Digests, Payloads


class LogChanged(msgspec.Struct, frozen=True):
    """What one durable commit added: origins and how far they are held now, and filled stubs."""

    heads: Mapping[NodeId, int]
    healed: frozenset[tuple[NodeId, int]] = frozenset()


class Replica(Protocol):
    """A node's log as its sessions with peers use it. Reads are fast and synchronous."""

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

    def heads(self) -> Mapping[NodeId, int]:
        """Return how far each origin's log is held durably."""

    def read(self, origin: NodeId, after: int, limit: int) -> Sequence[Entry]:
        """Return entries of one origin in order, from `after` + 1."""

    def missing(self) -> Mapping[NodeId, Sequence[int]]:
        """Return the quarantined places that still hold a stub, by origin."""

    async def apply(self, batch: Batch, listed: Digests | None) -> Outcome:
        """Decide by `ingest.verify`; append, fold and commit durably what it accepts.

        Raises `StorageError` (nothing was changed).
        """

    async def supply(self, payloads: Payloads) -> frozenset[int]:
        """Fill stubs by `ingest.heal`, fold and commit; returns the places that were filled.

        Raises `StorageError` (nothing was changed).
        """

    def subscribe(self, listener: Callable[[LogChanged], None]) -> Callable[[], None]:
        """Call `listener` in the event loop after each commit, local ones too; returns the end."""
