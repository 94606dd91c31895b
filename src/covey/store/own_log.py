"""This node's own log: what it appends, in order, ending each commit in a signed head."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from covey.store.api import NodeId
from covey.store.clock import HybridClock
from covey.store.committing import Pending
from covey.store.entry import (
    SIGN_EVERY,
    SIGN_EVERY_BYTES,
    Entry,
    chain_next,
    chain_start,
    sign_head,
)
from covey.store.ports import ChainHead, Signer
from covey.store.seal import Sealer


class Draft:
    """Entries sealed for the places that follow the log's end; dropped without a trace."""

    def __init__(self, log: OwnLog, pending: Pending, written: int) -> None:
        self._log = log
        self._seq = written
        self._floor = pending.last_hlc(log.signer.node_id)
        self.entries: list[Entry] = []

    def add(
        self,
        collection: str,
        key: str,
        value: bytes | None,
        context: Mapping[NodeId, int],
        after: int,
    ) -> Entry:
        """Seal one version, later than the clock `after`; raises as `Sealer.seal`."""
        # The log's end may come from a time when the wall clock was far ahead.
        floor = self._floor if self._log.clock.admits(self._floor) else 0
        hlc = self._log.clock.tick(after=max(after, floor))
        entry = self._log.sealer.seal(
            self._log.signer.node_id,
            self._seq + len(self.entries) + 1,
            hlc,
            collection,
            key,
            value,
            context,
        )
        self.entries.append(entry)
        return entry


class OwnLog:
    """Appends drafts in a transaction and signs at its end."""

    def __init__(self, signer: Signer, sealer: Sealer, clock: HybridClock) -> None:
        self.signer = signer
        self.sealer = sealer
        self.clock = clock

    def draft(self, pending: Pending) -> Draft:
        """Begin to write behind what this transaction has appended."""
        return Draft(self, pending, self._head(pending).seq + len(pending.tail))

    def append(self, pending: Pending, draft: Draft) -> None:
        """Append a draft; no other draft of this transaction may be open."""
        if not pending.tail and draft.entries:
            pending.finishers.append(lambda: self.seal_tail(pending))
        pending.tail.extend(draft.entries)

    def seal_tail(self, pending: Pending) -> None:
        """Chain, sign and write what this transaction has appended so far."""
        tail = pending.tail
        if not tail:
            return
        node, key = self.signer.node_id, self.signer.signing_key
        chain = self._head(pending).chain
        unsigned = size = 0
        for entry in tail:
            chain = chain_next(chain, entry.digest)
            unsigned += 1
            size += len(entry.payload or b"")
            signed = entry
            if entry is tail[-1] or unsigned >= SIGN_EVERY or size >= SIGN_EVERY_BYTES:
                signature = sign_head(key, node, entry.seq, chain)
                signed = msgspec.structs.replace(entry, signature=signature)
                unsigned = size = 0
            pending.writer.append(signed)
        pending.advance(node, ChainHead(tail[-1].seq, chain), tail[-1].hlc)
        tail.clear()

    def _head(self, pending: Pending) -> ChainHead:
        node = self.signer.node_id
        return pending.heads.get(node) or ChainHead(0, chain_start(node))
