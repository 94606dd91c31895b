"""Refused calls of one member in the audit trail: kept, but not until nothing else is left."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from covey.operations.audit import AuditEntry, AuditSink
from covey.operations.invoke import REFUSALS
from covey.store.api import NodeId

MOST_A_MINUTE = 300
_MINUTE_S = 60.0
_log = logging.getLogger("covey.remote")


class RefusalTrails:
    """Makes the trail of each member's calls over one trail.

    That keeps its newest entries: whoever may do nothing could else push out what it holds.
    """

    def __init__(
        self,
        audit: AuditSink,
        most: int = MOST_A_MINUTE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._audit = audit
        self._most = most
        self._clock = clock
        self._counts: dict[NodeId, tuple[float, int]] = {}

    def of(self, peer: NodeId) -> AuditSink:
        """Return the trail for the calls of a proven member."""
        return _PeerTrail(self, peer)

    def record(self, peer: NodeId, entry: AuditEntry) -> None:
        """Append one entry, unless it is one refusal of too many."""
        if entry.outcome in REFUSALS and not self._may_keep(peer):
            return
        self._audit.record(entry)

    def _may_keep(self, peer: NodeId) -> bool:
        now = self._clock()
        since, count = self._counts.get(peer, (now, 0))
        if now - since >= _MINUTE_S:
            since, count = now, 0
        self._counts[peer] = since, count + 1
        if count == self._most:
            _log.warning("more than %d calls of %s were refused: not all are kept", count, peer[:8])
        return count < self._most


class _PeerTrail:
    def __init__(self, trails: RefusalTrails, peer: NodeId) -> None:
        self._trails = trails
        self._peer = peer

    def record(self, entry: AuditEntry) -> None:
        self._trails.record(self._peer, entry)
