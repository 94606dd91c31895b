"""The fleet's shared records over the sealed logs: reads, durable writes, history, conflicts."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence

from covey.errors import PreconditionFailedError, RefusedError
from covey.store.api import (
    Change,
    Changed,
    Conflict,
    NodeId,
    Record,
    Version,
    VersionId,
)
from covey.store.committing import Committed, Committer, Pending
from covey.store.entry import Entry
from covey.store.fence import Fence
from covey.store.folding import Folder
from covey.store.merge import context_of, fold, winner
from covey.store.own_log import OwnLog
from covey.store.ports import DataKeys, Leaf, LogStorage, Trust
from covey.store.seal import UnknownGenerationError, UnreadableEntryError

_log = logging.getLogger("covey.store")

Key = tuple[str, str]


def version_id(origin: NodeId, seq: int) -> VersionId:
    """Return the short name of a version."""
    return VersionId(f"{origin[:8]}.{seq}")


class SealedRecords:
    """Implements `RecordStore`. A relay, which has no data keys, finds nothing and cannot write."""

    def __init__(
        self,
        storage: LogStorage,
        committer: Committer,
        folder: Folder,
        own: OwnLog,
        fence: Fence,
        *,
        keys: DataKeys,
        trust: Trust,
    ) -> None:
        self._storage = storage
        self._committer = committer
        self._folder = folder
        self._own = own
        self._fence = fence
        self._keys = keys
        self._trust = trust

    async def write(self, changes: Sequence[Change]) -> list[Version]:
        """Apply all changes in one durable commit, in order; all or none.

        Raises `PreconditionFailedError`, `TooLargeError`, `StorageError`, `LockedError`,
        `CatchingUpError` after a restore, or `RefusedError` on a relay or a removed node.
        """
        self._check_may_write()
        if not changes:
            return []
        return await self._committer.submit(_Write(self._storage, self._own, self._fence, changes))

    def get(self, collection: str, key: str) -> Record | None:
        """Return the present record, or None if it is absent or deleted."""
        return _record(self._storage.leaves(collection, key))

    def scan(self, collection: str, prefix: str = "") -> Iterator[Record]:
        """Yield present records whose key starts with `prefix`, in key order."""
        leaves: list[Leaf] = []
        for leaf in self._storage.scan_leaves(collection, prefix):
            if leaves and leaves[0].key != leaf.key:
                if (record := _record(leaves)) is not None:
                    yield record
                leaves = []
            leaves.append(leaf)
        if (record := _record(leaves)) is not None:
            yield record

    def history(self, collection: str, key: str) -> list[Version]:
        """Return every known version, newest first."""
        entries = [
            entry
            for entry in self._storage.versions(collection, key)
            if self._folder.accepted(entry.origin, entry.seq)
        ]
        entries.sort(key=lambda each: (each.hlc, each.origin, each.seq), reverse=True)
        return [self._version(entry) for entry in entries]

    def conflicts(self, collection: str) -> list[Conflict]:
        """Return the keys with more than one current version, in key order."""
        found = []
        for key in self._storage.contested(collection):
            leaves = _by_rank(self._storage.leaves(collection, key))
            if len(leaves) > 1:
                versions = tuple(_current(leaf) for leaf in leaves)
                found.append(Conflict(collection, key, versions))
        return found

    def subscribe(self, listener: Callable[[Changed], None]) -> Callable[[], None]:
        """Call `listener` in the event loop after each commit that changed records."""

        def forward(committed: Committed) -> None:
            if committed.keys:
                listener(Changed(committed.keys))

        return self._committer.subscribe(forward)

    def _check_may_write(self) -> None:
        if self._keys.current() is None:
            raise RefusedError(
                "This node is a relay: it holds no data key, so it cannot write records.",
                hint="Run the command on a member of the fleet that is no relay",
            )
        if self._trust.cutoff(self._own.signer.node_id) is not None:
            raise RefusedError(
                "This node was removed from the fleet: its changes are no longer accepted.",
                hint="How to come back: covey status",
            )

    def _version(self, entry: Entry) -> Version:
        value: bytes | None = None
        deleted = False
        if entry.payload is not None:
            try:
                value = self._folder.version(entry).value
                deleted = value is None
            except (UnknownGenerationError, UnreadableEntryError) as error:
                _log.warning("%s", error.message)
        return Version(
            version_id(entry.origin, entry.seq),
            entry.origin,
            entry.seq,
            entry.hlc,
            value,
            deleted=deleted,
            compacted=entry.payload is None,
        )


class _Write:
    """One call of `write`, as a job of the committer: plans all changes, then appends them."""

    def __init__(
        self, storage: LogStorage, own: OwnLog, fence: Fence, changes: Sequence[Change]
    ) -> None:
        self._storage = storage
        self._own = own
        self._fence = fence
        self._changes = changes

    def __call__(self, pending: Pending) -> list[Version]:
        head = pending.heads.get(self._own.signer.node_id)
        self._fence.check(head.seq if head is not None else 0)
        draft = self._own.draft(pending)
        leaves = self._known()
        added: dict[Key, list[Entry]] = {}
        written: list[Version] = []
        for change in self._changes:
            key = change.collection, change.key
            known = leaves.get(key, ())
            _check_expected(change, known)
            context = context_of(known)
            after = max((leaf.hlc for leaf in known), default=0)
            entry = draft.add(*key, change.value, context, after)
            leaf = Leaf(*key, entry.origin, entry.seq, entry.hlc, context, change.value)
            leaves[key] = fold(known, leaf)
            added.setdefault(key, []).append(entry)
            written.append(_current(leaf))
        self._own.append(pending, draft)
        for key, versions in added.items():
            pending.writer.set_leaves(*key, leaves[key], versions)
        pending.keys.update(added)
        return written

    def _known(self) -> dict[Key, Sequence[Leaf]]:
        """Return the current versions of the keys to be changed."""
        names: dict[str, dict[str, None]] = {}
        for change in self._changes:
            names.setdefault(change.collection, {})[change.key] = None
        return {
            (collection, key): leaves
            for collection, keys in names.items()
            for key, leaves in self._storage.leaves_of(collection, tuple(keys)).items()
        }


def _check_expected(change: Change, known: Sequence[Leaf]) -> None:
    if change.expected is None:
        return
    present = winner(known)
    found = version_id(present.origin, present.seq) if present is not None else None
    if found != change.expected:
        raise PreconditionFailedError(
            "It was changed by someone else since you read it.",
            hint="read it again, then repeat your change if it is still wanted",
            details={"expected": change.expected, "present": found},
        )


def _record(leaves: Sequence[Leaf]) -> Record | None:
    if not leaves:
        return None
    ranked = leaves if len(leaves) == 1 else _by_rank(leaves)
    first = ranked[0]
    if first.value is None:
        return None
    rivals = tuple(_current(leaf) for leaf in ranked[1:])
    return Record(first.collection, first.key, first.value, _current(first), rivals)


def _by_rank(leaves: Sequence[Leaf]) -> list[Leaf]:
    return sorted(leaves, key=lambda leaf: (leaf.hlc, leaf.origin, leaf.seq), reverse=True)


def _current(leaf: Leaf) -> Version:
    return Version(
        version_id(leaf.origin, leaf.seq),
        leaf.origin,
        leaf.seq,
        leaf.hlc,
        leaf.value,
        deleted=leaf.value is None,
    )
