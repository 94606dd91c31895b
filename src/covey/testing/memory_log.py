"""A log storage in memory, verified by the same suite as the real one, that can lose its process.

What was committed is in `survivors()`; what an unfinished transaction wrote is not.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeVar

import msgspec

from covey.errors import CoveyError
from covey.store.api import NodeId
from covey.store.entry import Entry
from covey.store.ports import ChainHead, Leaf, LogWriter, Published, Quarantined

T = TypeVar("T")

Place = tuple[NodeId, int]
Key = tuple[str, str]


@dataclass(slots=True)
class _Tables:
    """The rows of one database; in a transaction, the rows that it changes (None deletes)."""

    entries: dict[Place, Entry] = field(default_factory=dict)
    heads: dict[NodeId, ChainHead] = field(default_factory=dict)
    leaves: dict[Key, tuple[Leaf, ...] | None] = field(default_factory=dict)
    versions: dict[Key, frozenset[Place]] = field(default_factory=dict)
    aside: dict[Place, Quarantined | None] = field(default_factory=dict)
    holding: dict[Place, bool] = field(default_factory=dict)

    def take(self, changes: _Tables) -> None:
        """Apply the changes of a transaction."""
        self.entries.update(changes.entries)
        self.heads.update(changes.heads)
        self.leaves.update(changes.leaves)
        for key, places in changes.versions.items():
            self.versions[key] = self.versions.get(key, frozenset()) | places
        self.aside.update(changes.aside)
        self.holding.update(changes.holding)

    def copy(self) -> _Tables:
        """Return an independent copy (the rows themselves are immutable)."""
        copied = _Tables()
        copied.take(self)
        return copied


class MemoryLog:
    """Implements `LogStorage` and `LocalState`; for one event loop and its threads.

    `before_commit` is called at the end of each transaction and may raise: a `StorageError` for a
    full disk, anything else for a crash. Nothing of that transaction is kept then.
    """

    def __init__(self) -> None:
        self.before_commit: Callable[[], object] = int
        self.commits = 0
        self._committed = _Tables()
        self._local: dict[Key, bytes] = {}
        self._open: _Tables | None = None
        self._writer_thread = 0

    def survivors(self) -> MemoryLog:
        """Return what a new process finds after this one was killed at this moment."""
        copied = MemoryLog()
        copied._committed = self._committed.copy()
        copied._local = dict(self._local)
        return copied

    async def commit(self, work: Callable[[LogWriter], T]) -> T:
        """Run `work` in a transaction at once, in the caller's thread."""
        with self.transaction() as writer:
            return work(writer)

    @contextmanager
    def transaction(self) -> Iterator[LogWriter]:
        """Begin a transaction; its writes are kept on a clean exit alone."""
        if self._open is not None:
            raise RuntimeError("A transaction is open already.")
        changes = self._open = _Tables()
        self._writer_thread = threading.get_ident()
        try:
            yield _MemoryWriter(self._committed, changes)
            self.before_commit()
            self._committed.take(changes)
            self.commits += 1
        finally:
            self._open = None

    def heads(self) -> dict[NodeId, ChainHead]:
        """Return how far each origin's log is held."""
        return dict(self._view().heads)

    def read(self, origin: NodeId, after: int, limit: int) -> list[Entry]:
        """Return entries of one origin in order, from `after` + 1."""
        entries = self._view().entries
        found: list[Entry] = []
        seqs = sorted(seq for at, seq in entries if at == origin and seq > after)
        found.extend(entries[origin, seq] for seq in seqs[:limit])
        return found

    def versions(self, collection: str, key: str) -> list[Entry]:
        """Return all entries that are known to be versions of a key."""
        view = self._view()
        places = view.versions.get((collection, key), frozenset())
        return [view.entries[place] for place in sorted(places)]

    def read_by_generation(self, generation: bytes, after: Place | None, limit: int) -> list[Entry]:
        """Return entries with a payload sealed under a generation, by origin and seq."""
        return [
            entry
            for place, entry in sorted(self._view().entries.items())
            if entry.generation == generation
            and entry.payload is not None
            and (after is None or place > after)
        ][:limit]

    def payloads_outside(self, generations: Collection[bytes]) -> int:
        """Return how many entries have a payload sealed under a generation other than these."""
        return sum(
            entry.payload is not None and entry.generation not in generations
            for entry in self._view().entries.values()
        )

    def superseded(self, before_hlc: int, cursor: int, rows: int) -> tuple[list[Entry], int | None]:
        """Look through `rows` versions that are not current and whose payload is held."""
        view = self._view()
        current = {
            (leaf.origin, leaf.seq) for leaves in view.leaves.values() for leaf in leaves or ()
        }
        places = sorted(frozenset[Place]().union(*view.versions.values()))
        found = [
            view.entries[place]
            for place in places[cursor : cursor + rows]
            if place not in current
            and view.entries[place].payload is not None
            and view.entries[place].hlc < before_hlc
        ]
        return found, cursor + rows if cursor + rows < len(places) else None

    def held(self, up_to_hlc: int | None = None) -> list[Entry]:
        """Return the entries kept out of the fold by `hold`."""
        view = self._view()
        entries = [view.entries[place] for place, on in sorted(view.holding.items()) if on]
        return [entry for entry in entries if up_to_hlc is None or entry.hlc <= up_to_hlc]

    def leaves(self, collection: str, key: str) -> list[Leaf]:
        """Return the current versions of one key."""
        place = (collection, key)
        staged = self._staged()
        if staged is not None and place in staged.leaves:
            return list(staged.leaves[place] or ())
        return list(self._committed.leaves.get(place) or ())

    def leaves_of(self, collection: str, keys: Sequence[str]) -> dict[str, list[Leaf]]:
        """Return the current versions of many keys."""
        return {key: self.leaves(collection, key) for key in keys}

    def scan_leaves(self, collection: str, prefix: str) -> Iterator[Leaf]:
        """Yield current versions whose key starts with `prefix`, in key order."""
        for (at, key), leaves in sorted(self._view().leaves.items()):
            if at == collection and key.startswith(prefix):
                yield from leaves or ()

    def contested(self, collection: str) -> list[str]:
        """Return the keys with more than one current version, in order."""
        return sorted(
            key
            for (at, key), leaves in self._view().leaves.items()
            if at == collection and leaves is not None and len(leaves) > 1
        )

    def quarantined(self) -> list[Quarantined]:
        """Return all entries set aside."""
        return [item for _, item in sorted(self._view().aside.items()) if item is not None]

    def get_local(self, namespace: str, key: str) -> bytes | None:
        """Return a value or None."""
        return self._local.get((namespace, key))

    def scan_local(self, namespace: str) -> list[tuple[str, bytes]]:
        """Return all keys and values of a namespace in key order."""
        return [(key, value) for (at, key), value in sorted(self._local.items()) if at == namespace]

    async def put_local(self, namespace: str, key: str, value: bytes | None) -> None:
        """Set a value; None deletes."""
        self.before_commit()
        if value is None:
            self._local.pop((namespace, key), None)
        else:
            self._local[namespace, key] = value

    async def take_local(self, namespace: str, key: str) -> bytes | None:
        """Delete and return a value in one step."""
        self.before_commit()
        return self._local.pop((namespace, key), None)

    def _view(self) -> _Tables:
        """Return what this thread may see: the writer its own writes, all others what is kept."""
        staged = self._staged()
        if staged is None:
            return self._committed
        view = self._committed.copy()
        view.take(staged)
        return view

    def _staged(self) -> _Tables | None:
        return self._open if threading.get_ident() == self._writer_thread else None


class _MemoryWriter:
    """The writes of one transaction."""

    def __init__(self, committed: _Tables, changes: _Tables) -> None:
        self._committed = committed
        self._changes = changes

    def append(self, entry: Entry) -> None:
        place = (entry.origin, entry.seq)
        present = self._present(place)
        if present is not None:
            if present.payload is not None:
                return
            entry = msgspec.structs.replace(entry, signature=entry.signature or present.signature)
        self._changes.entries[place] = entry

    def set_head(self, origin: NodeId, head: ChainHead) -> None:
        self._changes.heads[origin] = head

    def set_leaves(
        self, collection: str, key: str, leaves: Sequence[Leaf], versions: Sequence[Entry] = ()
    ) -> None:
        place = (collection, key)
        self._changes.leaves[place] = tuple(leaves)
        found = frozenset((entry.origin, entry.seq) for entry in versions)
        self._changes.versions[place] = self._changes.versions.get(place, frozenset()) | found

    def drop_payload(self, origin: NodeId, seq: int) -> None:
        present = self._present((origin, seq))
        if present is not None:
            self._changes.entries[origin, seq] = msgspec.structs.replace(present, payload=None)

    def quarantine(self, item: Quarantined) -> None:
        self._changes.aside[item.origin, item.seq] = item

    def release(self, origin: NodeId, seq: int) -> None:
        self._changes.aside[origin, seq] = None

    def hold(self, entry: Entry) -> None:
        self._changes.holding[entry.origin, entry.seq] = True

    def unhold(self, origin: NodeId, seq: int) -> None:
        self._changes.holding[origin, seq] = False

    def _present(self, place: Place) -> Entry | None:
        staged = self._changes.entries.get(place)
        return staged or self._committed.entries.get(place)


class MemoryMark:
    """A published mark that outlives the simulated process."""

    def __init__(self, published: Published | None = None) -> None:
        self.published = published or Published(0, exact=True)

    def read(self) -> Published:
        """Return what was remembered."""
        return self.published

    def note(self, seq: int) -> None:
        """Take note that entries up to `seq` are about to be given to a peer."""
        self.published = Published(max(seq, self.published.seq), self.published.exact)

    def reset(self, seq: int) -> None:
        """Take note that no peer needs to be expected to hold more than `seq`."""
        self.published = Published(seq, exact=True)


class CrashError(Exception):
    """The simulated end of the process between two writes."""


class Fault:
    """Makes the commit number `at` (from 1, counted from now) fail with an error.

    Install it as `log.before_commit`; a `CrashError` stands for kill -9.
    """

    def __init__(self, at: int, error: CoveyError | CrashError) -> None:
        self._left = at
        self._error = error

    def __call__(self) -> None:
        """Count one commit, and fail at the chosen one."""
        self._left -= 1
        if self._left == 0:
            raise self._error
