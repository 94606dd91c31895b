"""The store of one unlocked node, put together: records, replica, upkeep and health."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection

from covey.errors import CoveyError
from covey.store.api import NodeId
from covey.store.clock import HybridClock
from covey.store.committing import Committer
from covey.store.compaction import Retention, compact
from covey.store.fence import FENCE_KEY, FENCED, LOCAL_NAMESPACE, Fence, FenceState
from covey.store.folding import Folder
from covey.store.health import StoreHealth
from covey.store.own_log import OwnLog
from covey.store.ports import (
    DataKeys,
    LocalState,
    LogStorage,
    PublishedMark,
    RosterPort,
    Signer,
    Trust,
)
from covey.store.records import SealedRecords
from covey.store.replica import LogReplica
from covey.store.seal import Sealer
from covey.store.upkeep import Upkeep

_HELD_EVERY_S = 30.0
_COMPACT_EVERY_S = 86_400.0
_FIRST_COMPACT_S = 600.0
_log = logging.getLogger("covey.store")


class Store:
    """Everything that stands on the logs of one node; made once its database is open.

    `members` gives the present members of the fleet, relays and this node among them.
    """

    def __init__(
        self,
        storage: LogStorage,
        local: LocalState,
        mark: PublishedMark,
        *,
        fleet_id: str,
        signer: Signer,
        keys: DataKeys,
        trust: Trust,
        roster: RosterPort,
        members: Callable[[], Collection[NodeId]],
        clock: HybridClock,
        retention: Retention,
    ) -> None:
        sealer = Sealer(keys)
        self._storage = storage
        self._local = local
        self._mark = mark
        self._keys = keys
        self._clock = clock
        self._retention = retention
        self._node_id = signer.node_id
        self._committer = Committer(storage)
        self._folder = Folder(sealer, trust, clock)
        self._sealer = sealer
        published = mark.read()
        restored = local.get_local(LOCAL_NAMESPACE, FENCE_KEY) is not None
        up = restored or self._held() < published.seq
        self._fence = Fence(signer.node_id, published, members, up=up)
        own = OwnLog(signer, sealer, clock)
        self.records = SealedRecords(
            storage, self._committer, self._folder, own, self._fence, keys=keys, trust=trust
        )
        self.replica = LogReplica(
            storage,
            self._committer,
            self._folder,
            own,
            self._fence,
            mark,
            fleet_id=fleet_id,
            trust=trust,
            roster=roster,
            sealer=sealer,
            clock=clock,
        )
        self._upkeep = Upkeep(
            storage, local, self._committer, self._folder, keys=keys, trust=trust, clock=clock
        )
        self._changed = asyncio.Lock()
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Catch up with keys, cutoffs and time, then begin the periodic upkeep."""
        if self._fence.up:
            await self._local.put_local(LOCAL_NAMESPACE, FENCE_KEY, FENCED)
            self._fence.settle(self._held())
        elif not self._mark.read().exact:
            # The database is whole, so no peer was given more than it holds.
            self._mark.reset(self._held())
        await self.keys_changed()
        await self.trust_changed()
        await self._release()
        self._tasks = [
            asyncio.create_task(self._every(_HELD_EVERY_S, _HELD_EVERY_S, self._release)),
            asyncio.create_task(self._every(_FIRST_COMPACT_S, _COMPACT_EVERY_S, self._compact)),
        ]

    async def keys_changed(self) -> int:
        """Fold what data keys that were gained make readable; returns how many entries."""
        async with self._changed:
            return await self._upkeep.fold_new_generations()

    async def trust_changed(self) -> int:
        """Leave out of the fold, or take back, what removals of members say; returns how many."""
        async with self._changed:
            return await self._upkeep.apply_cutoffs()

    async def compact(self) -> int:
        """Drop the payloads that the retention allows; returns how many."""
        return await compact(self._committer, self._folder, self._retention, self._clock.wall_ms())

    async def lift_fence(self) -> FenceState:
        """Let this node write although other members may hold more of its log; see `fence`."""
        state = self._fence.state(self._held())
        self._fence.lift()
        await self._forget_fence()
        return state

    def health(self) -> StoreHealth:
        """Return what is wrong or waiting."""
        generations = self._keys.generations()
        unknown = self._storage.payloads_outside(generations) if generations else 0
        heads = self._committer.heads
        return StoreHealth(
            entries=sum(head.seq for head in heads.values()),
            logs=len(heads),
            quarantined=tuple(self._storage.quarantined()),
            held=len(self._storage.held()),
            undecryptable=unknown,
            missing=sum(len(seqs) for seqs in self.replica.missing().values()),
            relay=not generations,
            fence=self._fence.state(self._held()) if self._fence.up else None,
            forked=self.replica.forked,
            backwards=tuple(sorted(self.replica.backwards)),
        )

    async def close(self) -> None:
        """Stop the upkeep, finish the writes under way, and forget the keys."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._committer.close()
        self._sealer.forget()

    async def _release(self) -> None:
        await self._upkeep.release_held()
        await self._forget_fence()

    async def _forget_fence(self) -> None:
        if not self._fence.up and self._local.get_local(LOCAL_NAMESPACE, FENCE_KEY) is not None:
            self._mark.reset(self._held())
            await self._local.put_local(LOCAL_NAMESPACE, FENCE_KEY, None)
            _log.info("this node has caught up with its own log and writes again")

    async def _compact(self) -> None:
        dropped = await self.compact()
        if dropped:
            _log.info("compaction dropped the content of %d old versions", dropped)

    async def _every(
        self, first_s: float, then_s: float, work: Callable[[], Awaitable[None]]
    ) -> None:
        await asyncio.sleep(first_s)
        while True:
            try:
                await work()
            except CoveyError as error:
                _log.warning("%s", error)
            await asyncio.sleep(then_s)

    def _held(self) -> int:
        head = self._committer.heads.get(self._node_id)
        return head.seq if head is not None else 0
