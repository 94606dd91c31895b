"""Which old versions give up their payload, and the walk that finds them.

Only a superseded version's payload is dropped, when it is older than the retention and beyond the
newest versions that are kept in any case. Current versions, deletions among them, always stay, so
the fold is the same before and after, here and on a replica that syncs from here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from covey.store.api import NodeId
from covey.store.clock import from_ms
from covey.store.committing import Committer, Pending
from covey.store.entry import Entry
from covey.store.folding import Folder, dots
from covey.store.seal import UnknownGenerationError, UnreadableEntryError

DAY_MS = 86_400_000
_ROWS = 256

Place = tuple[NodeId, int]


class Retention(msgspec.Struct, frozen=True):
    """What history stays: all of the last days, and the newest versions of each key."""

    days: int
    versions: int


def plan(
    versions: Iterable[Entry], current: frozenset[Place], before_hlc: int, keep: int
) -> list[Place]:
    """Return the places whose payload is to be dropped, among all versions of one key."""
    newest = sorted(versions, key=lambda each: (each.hlc, each.origin, each.seq), reverse=True)
    return [
        (entry.origin, entry.seq)
        for entry in newest[max(keep, 1) :]
        if entry.payload is not None
        and entry.hlc < before_hlc
        and (entry.origin, entry.seq) not in current
    ]


async def compact(committer: Committer, folder: Folder, retention: Retention, now_ms: int) -> int:
    """Drop what the retention allows, in small transactions; returns how many payloads."""
    before = from_ms(max(0, now_ms - retention.days * DAY_MS))
    dropped = 0
    cursor: int | None = 0
    while cursor is not None:
        slice_ = _Slice(folder, before, retention.versions, cursor)
        found, cursor = await committer.submit(slice_)
        dropped += found
    return dropped


class _Slice:
    """One transaction of the walk."""

    def __init__(self, folder: Folder, before: int, keep: int, cursor: int) -> None:
        self._folder = folder
        self._before = before
        self._keep = keep
        self._cursor = cursor

    def __call__(self, pending: Pending) -> tuple[int, int | None]:
        storage = pending.storage
        entries, cursor = storage.superseded(self._before, self._cursor, _ROWS)
        drops: set[Place] = set()
        for key in self._keys(entries):
            versions = [
                each
                for each in storage.versions(*key)
                if self._folder.accepted(each.origin, each.seq)
            ]
            drops.update(plan(versions, dots(storage, *key), self._before, self._keep))
        for place in sorted(drops):
            pending.writer.drop_payload(*place)
        return len(drops), cursor

    def _keys(self, entries: Sequence[Entry]) -> set[tuple[str, str]]:
        keys: set[tuple[str, str]] = set()
        for entry in entries:
            try:
                version = self._folder.version(entry)
            except (UnknownGenerationError, UnreadableEntryError):
                continue
            keys.add((version.collection, version.key))
        return keys
