"""What the fold owes to changes from outside: new data keys, removed members, passing time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import msgspec

from covey.store.api import NodeId
from covey.store.clock import HybridClock
from covey.store.committing import Committer, Pending
from covey.store.entry import Entry
from covey.store.fence import LOCAL_NAMESPACE
from covey.store.folding import Folder
from covey.store.ports import DataKeys, LocalState, LogStorage, Trust

T = TypeVar("T")

_ROWS = 512
_GENERATIONS_KEY = "folded generations"
_CUTOFFS_KEY = "folded cutoffs"

_encode = msgspec.msgpack.Encoder().encode
_generations = msgspec.msgpack.Decoder(list[bytes])
_cutoffs = msgspec.msgpack.Decoder(dict[str, int])


class Upkeep:
    """Brings the fold up to date, in small transactions; what was done is remembered durably."""

    def __init__(
        self,
        storage: LogStorage,
        local: LocalState,
        committer: Committer,
        folder: Folder,
        *,
        keys: DataKeys,
        trust: Trust,
        clock: HybridClock,
    ) -> None:
        self._storage = storage
        self._local = local
        self._committer = committer
        self._folder = folder
        self._keys = keys
        self._trust = trust
        self._clock = clock

    async def fold_new_generations(self) -> int:
        """Fold what data keys gained since last time have made readable; returns how many."""
        done = _read(self._local, _GENERATIONS_KEY, _generations) or []
        count = 0
        for generation in self._keys.generations():
            if generation in done:
                continue
            count += await self._fold_generation(generation)
            done = [*done, generation]
            await self._local.put_local(LOCAL_NAMESPACE, _GENERATIONS_KEY, _encode(done))
        return count

    async def apply_cutoffs(self) -> int:
        """Fold the keys anew that the entries of removed members touch; returns the entries."""
        done = _read(self._local, _CUTOFFS_KEY, _cutoffs) or {}
        count = 0
        for origin in sorted(self._committer.heads):
            before, now = done.get(origin), self._trust.cutoff(origin)
            if before == now:
                continue
            start = min(cutoff for cutoff in (before, now) if cutoff is not None)
            count += await self._fold_after(origin, start)
            done = {**done, origin: now} if now is not None else _without(done, origin)
            await self._local.put_local(LOCAL_NAMESPACE, _CUTOFFS_KEY, _encode(done))
        return count

    async def release_held(self) -> int:
        """Fold the held entries that the clock admits by now; returns how many."""
        due = self._storage.held(self._clock.horizon())
        for start in range(0, len(due), _ROWS):
            await self._commit(due[start : start + _ROWS], self._folder.release)
        return len(due)

    async def _fold_generation(self, generation: bytes) -> int:
        count = 0
        after: tuple[NodeId, int] | None = None
        while entries := self._storage.read_by_generation(generation, after, _ROWS):
            await self._commit(entries, self._folder.add)
            after = entries[-1].origin, entries[-1].seq
            count += len(entries)
        return count

    async def _fold_after(self, origin: NodeId, after: int) -> int:
        count = 0
        while entries := self._storage.read(origin, after, _ROWS):
            await self._commit(entries, self._folder.again)
            after = entries[-1].seq
            count += len(entries)
        return count

    async def _commit(
        self, entries: Sequence[Entry], work: Callable[[Pending, Sequence[Entry]], None]
    ) -> None:
        def job(pending: Pending) -> None:
            work(pending, entries)

        await self._committer.submit(job)


def _read(local: LocalState, key: str, decoder: msgspec.msgpack.Decoder[T]) -> T | None:
    data = local.get_local(LOCAL_NAMESPACE, key)
    return decoder.decode(data) if data is not None else None


def _without(cutoffs: Mapping[str, int], origin: str) -> dict[str, int]:
    return {each: cutoff for each, cutoff in cutoffs.items() if each != origin}
