"""Drives one session with a peer over a channel."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Protocol

from covey.errors import CoveyError, UnreachableError
from covey.store.api import NodeId
from covey.store.ingest import Outcome
from covey.store.ports import Channel, LogChanged, LogView
from covey.store.receiving import Apply, Supply
from covey.store.replicate import Ended, Frame, Merge, Out, Session, SessionStats
from covey.store.wire import Batch, Digests, EndCode, Payloads

_FRAMES_WAITING = 4
_FRAMES_A_TURN = 4
_WORK_WAITING = 16
_UNSENT_BYTES = 32 << 20
_GOODBYE_S = 2.0

Work = Apply | Supply | Merge


class Replica(LogView, Protocol):
    """A node's log as its sessions with peers use it."""

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


class Exchange:
    """One session over one channel, from the greeting to the end. Memory is bounded."""

    def __init__(self, channel: Channel, replica: Replica) -> None:
        self._channel = channel
        self._replica = replica
        self._grown: dict[NodeId, int] = {}
        self._healed: set[tuple[NodeId, int]] = set()
        self._missing: set[tuple[NodeId, int]] = set()
        self._roster_changed = False
        self._session = Session(replica, channel.peer)
        self._wake = asyncio.Event()
        self._frames: asyncio.Queue[bytes] = asyncio.Queue(_FRAMES_WAITING)
        self._work: asyncio.Queue[Work] = asyncio.Queue()
        self._done: deque[Callable[[], list[Out]]] = deque()
        self._unsent: deque[bytes] = deque()
        self._unsent_bytes = 0
        self._send_wake = asyncio.Event()
        self._lost: UnreachableError | None = None
        self._ended: Ended | None = None

    def stats(self) -> SessionStats:
        """Return how the session does."""
        return self._session.stats()

    def stop(self, code: EndCode = EndCode.STOPPING, message: str = "the node stops") -> None:
        """End the session soon, telling the peer why."""
        self._done.append(lambda: self._session.end(code, message))
        self._wake.set()

    async def run(self) -> Ended:
        """Run the session and close the channel; returns why it ended. Call it once."""
        unsubscribe = self._replica.subscribe(self._on_log)
        unsubscribe_roster = self._replica.roster.subscribe(self._on_roster)
        heads = self._replica.heads()
        self._on_log(LogChanged({origin: head.seq for origin, head in heads.items()}))
        try:
            async with asyncio.TaskGroup() as group:
                others = [group.create_task(self._receive()), group.create_task(self._labour())]
                sender = group.create_task(self._send())
                ended = await self._turns()
                self._send_wake.set()
                await asyncio.wait([sender], timeout=0 if self._lost else _GOODBYE_S)
                for task in (sender, *others):
                    task.cancel()
            return ended
        finally:
            unsubscribe()
            unsubscribe_roster()
            with suppress(UnreachableError):
                await self._channel.close()

    async def _turns(self) -> Ended:
        self._perform(self._session.start())
        while True:
            try:
                self._turn()
            except CoveyError as error:
                self._perform(self._fail(error))
            if self._ended is not None:
                return self._ended
            await (asyncio.sleep(0) if self._can_take() else self._wake.wait())
            self._wake.clear()

    def _turn(self) -> None:
        while self._done and self._ended is None:
            self._perform(self._done.popleft()())
        if self._roster_changed:
            self._roster_changed = False
            self._perform(self._session.roster_changed())
        if self._grown or self._healed or self._missing:
            healed, missing = frozenset(self._healed), frozenset(self._missing)
            change = LogChanged(dict(self._grown), healed, missing)
            self._grown.clear()
            self._healed.clear()
            self._missing.clear()
            self._perform(self._session.committed(change))
        for _ in range(_FRAMES_A_TURN):
            if not self._can_take():
                break
            self._perform(self._session.receive(self._frames.get_nowait()))
        if self._lost is not None and self._frames.empty() and self._ended is None:
            self._ended = Ended(EndCode.LOST, self._lost.message)

    def _can_take(self) -> bool:
        return (
            not self._frames.empty()
            and self._unsent_bytes < _UNSENT_BYTES
            and self._work.qsize() < _WORK_WAITING
        )

    def _perform(self, out: Sequence[Out]) -> None:
        for each in out if self._ended is None else ():
            match each:
                case Frame():
                    self._unsent.append(each.data)
                    self._unsent_bytes += len(each.data)
                    self._send_wake.set()
                case Apply() | Supply() | Merge():
                    self._work.put_nowait(each)
                case Ended():
                    self._ended = each

    def _fail(self, error: CoveyError) -> list[Out]:
        """End because of this node's own trouble, whose details are not the peer's business."""
        out = self._session.end(EndCode.STORAGE, "the node cannot use its store now")
        return [*out[:-1], Ended(EndCode.STORAGE, error.message)]

    async def _receive(self) -> None:
        try:
            while True:
                await self._frames.put(await self._channel.receive())
                self._wake.set()
        except UnreachableError as error:
            self._lost = error
            self._wake.set()

    async def _send(self) -> None:
        try:
            while self._unsent or self._ended is None:
                if not self._unsent:
                    await self._send_wake.wait()
                    self._send_wake.clear()
                    continue
                data = self._unsent.popleft()
                await self._channel.send(data)
                self._unsent_bytes -= len(data)
                self._wake.set()
        except UnreachableError as error:
            self._lost = error
            self._wake.set()

    async def _labour(self) -> None:
        while True:
            task = asyncio.ensure_future(self._do(await self._work.get()))
            try:
                # A commit under way is let finish: those who subscribed must hear of it.
                self._done.append(await asyncio.shield(task))
            except asyncio.CancelledError:
                await asyncio.wait([task])
                raise
            except CoveyError as error:
                self._done.append(partial(self._fail, error))
            self._wake.set()

    async def _do(self, work: Work) -> Callable[[], list[Out]]:
        match work:
            case Apply():
                outcome = await self._replica.apply(work.batch, work.listed)
                return partial(self._session.applied, work.batch, outcome)
            case Supply():
                await self._replica.supply(work.payloads)
                return self._session.supplied
            case Merge():
                await self._replica.roster.merge(work.statements)
                return self._session.merged

    def _on_log(self, change: LogChanged) -> None:
        for origin, seq in change.heads.items():
            self._grown[origin] = max(seq, self._grown.get(origin, 0))
        self._healed.update(change.healed)
        self._missing.update(change.missing)
        self._wake.set()

    def _on_roster(self) -> None:
        self._roster_changed = True
        self._wake.set()


async def run_session(channel: Channel, replica: Replica) -> Ended:
    """Run one session with a peer until it ends; returns why."""
    return await Exchange(channel, replica).run()


__all__ = ["Exchange", "LogChanged", "Replica", "run_session"]
