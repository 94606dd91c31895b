"""Gathers writes on the logs into few durable commits (group commit) and tells what they did."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import msgspec

from covey.errors import CoveyError, LockedError, StorageError
from covey.store.api import NodeId
from covey.store.entry import Entry
from covey.store.ports import ChainHead, LogStorage, LogWriter

T = TypeVar("T")

_GROUP = 256
_log = logging.getLogger("covey.store")

Place = tuple[NodeId, int]


class Committed(msgspec.Struct, frozen=True):
    """What one durable commit did: logs that grew and how far they are held, keys that changed.

    `missing` are new stubs whose payload a peer may have, `healed` stubs that were filled.
    """

    heads: Mapping[NodeId, int]
    keys: frozenset[tuple[str, str]]
    healed: frozenset[Place]
    missing: frozenset[Place]


class Pending:
    """An open transaction: its writer, and the logs' heads as it leaves them.

    `tail` are entries of this node's own log that wait for their signature.
    """

    def __init__(
        self,
        storage: LogStorage,
        writer: LogWriter,
        heads: Mapping[NodeId, ChainHead],
        clocks: Mapping[NodeId, int],
    ) -> None:
        self.storage = storage
        self.writer = writer
        self.heads = dict(heads)
        self.clocks = dict(clocks)
        self.grown: dict[NodeId, int] = {}
        self.keys: set[tuple[str, str]] = set()
        self.healed: set[Place] = set()
        self.missing: set[Place] = set()
        self.tail: list[Entry] = []
        self.finishers: list[Callable[[], None]] = []

    def last_hlc(self, origin: NodeId) -> int:
        """Return the clock of the last entry held of an origin, 0 if there is none."""
        if origin not in self.clocks:
            head = self.heads.get(origin)
            last = self.storage.read(origin, head.seq - 1, 1) if head is not None else []
            self.clocks[origin] = last[0].hlc if last else 0
        return self.clocks[origin]

    def advance(self, origin: NodeId, head: ChainHead, hlc: int) -> None:
        """Record that an origin's log is held up to `head`, whose entry has the clock `hlc`."""
        self.writer.set_head(origin, head)
        self.heads[origin] = head
        self.clocks[origin] = hlc
        self.grown[origin] = head.seq

    def finish(self) -> None:
        """Do what waits for the end of the transaction."""
        for finisher in self.finishers:
            finisher()
        self.finishers.clear()

    def committed(self) -> Committed:
        """Return what to tell once the transaction is durable."""
        return Committed(
            self.grown,
            frozenset(self.keys),
            frozenset(self.healed),
            frozenset(self.missing),
        )


Job = Callable[[Pending], T]


@dataclass(slots=True)
class _Waiting:
    job: Job[Any]
    future: asyncio.Future[Any]


@dataclass(slots=True)
class _Refusal:
    """A job that refused before it changed anything: the others of its group go on."""

    error: Exception


@dataclass(slots=True)
class _Outcome:
    results: list[Any] = field(default_factory=list)
    pending: Pending | None = None


class Committer:
    """Runs jobs in the writer thread, all that wait in one transaction, in their order.

    A job may raise a `CoveyError` only before its first effect on the `Pending` transaction.
    """

    def __init__(self, storage: LogStorage) -> None:
        self._storage = storage
        self._heads: Mapping[NodeId, ChainHead] = storage.heads()
        self._clocks: Mapping[NodeId, int] = {}
        self._queue: list[_Waiting] = []
        self._drain: asyncio.Task[None] | None = None
        self._listeners: list[Callable[[Committed], None]] = []
        self._closed = False

    @property
    def heads(self) -> Mapping[NodeId, ChainHead]:
        """How far each origin's log is held durably."""
        return self._heads

    async def submit(self, job: Job[T]) -> T:
        """Run a job; returns its result after the durable commit of its transaction.

        Raises what the job refused with, `StorageError`, or `LockedError` after `close`.
        """
        if self._closed:
            raise LockedError("This node is locked or stopping.", hint="Run: covey unlock")
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._queue.append(_Waiting(job, future))
        if self._drain is None:
            self._drain = asyncio.create_task(self._run())
        return await future

    def subscribe(self, listener: Callable[[Committed], None]) -> Callable[[], None]:
        """Call `listener` in the event loop after each commit; returns the cancellation."""
        self._listeners.append(listener)

        def cancel() -> None:
            if listener in self._listeners:
                self._listeners.remove(listener)

        return cancel

    async def close(self) -> None:
        """Take no more jobs and wait for those that were taken."""
        self._closed = True
        if self._drain is not None:
            await asyncio.shield(self._drain)

    async def _run(self) -> None:
        try:
            while self._queue:
                group, self._queue = self._queue[:_GROUP], self._queue[_GROUP:]
                await self._commit(group)
        finally:
            self._drain = None

    async def _commit(self, group: list[_Waiting]) -> None:
        outcome = _Outcome()
        try:
            await self._storage.commit(lambda writer: self._work(writer, group, outcome))
        except Exception as error:  # noqa: BLE001 - each job is given what ended it
            if len(group) == 1 or isinstance(error, StorageError | LockedError):
                for waiting in group:
                    _settle(waiting.future, _Refusal(error))
                return
            # One job's defect must not fail the others.
            for waiting in group:
                await self._commit([waiting])
            return
        if outcome.pending is not None:
            self._heads = outcome.pending.heads
            self._clocks = outcome.pending.clocks
            self._publish(outcome.pending.committed())
        for waiting, result in zip(group, outcome.results, strict=True):
            _settle(waiting.future, result)

    def _work(self, writer: LogWriter, group: list[_Waiting], outcome: _Outcome) -> None:
        pending = Pending(self._storage, writer, self._heads, self._clocks)
        for waiting in group:
            try:
                outcome.results.append(waiting.job(pending))
            except StorageError:
                raise
            except CoveyError as error:
                outcome.results.append(_Refusal(error))
        pending.finish()
        outcome.pending = pending

    def _publish(self, committed: Committed) -> None:
        if not (committed.heads or committed.keys or committed.healed or committed.missing):
            return
        for listener in tuple(self._listeners):
            try:
                listener(committed)
            except Exception:  # noqa: BLE001 - a listener's defect stops no commit
                _log.exception("a listener to the store's commits failed")


def _settle(future: asyncio.Future[Any], result: object) -> None:
    if future.done():
        return
    if isinstance(result, _Refusal):
        future.set_exception(result.error)
    else:
        future.set_result(result)
