"""Folds sealed entries into the current versions of their keys."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence

from covey.store.api import NodeId
from covey.store.clock import HybridClock
from covey.store.committing import Pending
from covey.store.entry import Entry
from covey.store.merge import fold, refold
from covey.store.ports import Leaf, LogStorage, Quarantined, Trust
from covey.store.seal import Sealer, UnknownGenerationError, UnreadableEntryError

Key = tuple[str, str]

_log = logging.getLogger("covey.store")


class Folder:
    """Opens entries and keeps each key's current versions; used inside a transaction."""

    def __init__(self, sealer: Sealer, trust: Trust, clock: HybridClock) -> None:
        self._sealer = sealer
        self._trust = trust
        self._clock = clock

    def accepted(self, origin: NodeId, seq: int) -> bool:
        """Whether an entry counts: its origin was not removed before it."""
        cutoff = self._trust.cutoff(origin)
        return cutoff is None or seq <= cutoff

    def add(self, pending: Pending, entries: Iterable[Entry]) -> None:
        """Fold appended entries in: holds those of absurd clocks, sets unreadable ones aside."""
        horizon, newest = self._clock.horizon(), 0
        found: dict[str, dict[str, list[tuple[Leaf, Entry]]]] = {}
        for entry in entries:
            if entry.payload is None or not self.accepted(entry.origin, entry.seq):
                continue
            if entry.hlc > horizon:
                pending.writer.hold(entry)
                continue
            newest = max(newest, entry.hlc)
            version = self._open(pending, entry)
            if version is not None:
                keys = found.setdefault(entry.collection, {})
                keys.setdefault(version.key, []).append((version, entry))
        self._clock.observe(newest)
        for collection, keys in found.items():
            known = pending.storage.leaves_of(collection, tuple(keys))
            for key, added in keys.items():
                leaves: Sequence[Leaf] = known.get(key, ())
                for version, _ in added:
                    leaves = fold(leaves, version)
                pending.writer.set_leaves(collection, key, leaves, [entry for _, entry in added])
                pending.keys.add((collection, key))

    def release(self, pending: Pending, entries: Iterable[Entry]) -> None:
        """Fold held entries whose time has come; one whose time has not is held again."""
        for entry in entries:
            pending.writer.unhold(entry.origin, entry.seq)
            self.add(pending, (entry,))

    def again(self, pending: Pending, entries: Iterable[Entry]) -> None:
        """Fold the keys of these entries anew, after the cutoff of their origin changed."""
        found: dict[Key, list[Entry]] = {}
        for entry in entries:
            version = self._open(pending, entry) if entry.payload is not None else None
            if version is not None:
                found.setdefault((version.collection, version.key), []).append(entry)
        for key, touched in found.items():
            known = pending.storage.versions(*key)
            places = {(each.origin, each.seq) for each in known}
            # One that was folded counts, though the clock was set back since.
            added = [
                each
                for each in touched
                if (each.origin, each.seq) not in places and self._clock.admits(each.hlc)
            ]
            opened = (
                self._open(pending, each)
                for each in (*known, *added)
                if each.payload is not None and self.accepted(each.origin, each.seq)
            )
            pending.writer.set_leaves(*key, refold(each for each in opened if each), added)
        pending.keys.update(found)

    def version(self, entry: Entry) -> Leaf:
        """Return the version in an entry; raises as `Sealer.open`."""
        opened = self._sealer.open(entry)
        return Leaf(
            entry.collection,
            opened.key,
            entry.origin,
            entry.seq,
            entry.hlc,
            opened.context,
            opened.value,
        )

    def _open(self, pending: Pending, entry: Entry) -> Leaf | None:
        try:
            return self.version(entry)
        except UnknownGenerationError:
            return None
        except UnreadableEntryError as error:
            _log.warning("%s It was set aside.", error.message)
            pending.writer.quarantine(Quarantined(entry.origin, entry.seq, error.message, b""))
            return None


def dots(storage: LogStorage, collection: str, key: str) -> frozenset[tuple[NodeId, int]]:
    """Return the places of a key's current versions."""
    return frozenset((leaf.origin, leaf.seq) for leaf in storage.leaves(collection, key))
