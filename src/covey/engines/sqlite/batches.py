"""Many small writes in one commit: those that come while another one is under way."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

import apsw

from covey.engines.sqlite.database import Database

T = TypeVar("T")
Write = Callable[[apsw.Connection], Any]


class Batches:
    """Writes to a database in the order of the calls; for one event loop.

    A write that raises takes none of its batch with it, so it may be run twice: the first time is
    rolled back.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiting: list[tuple[Write, asyncio.Future[Any]]] = []
        self._task: asyncio.Task[None] | None = None

    async def write(self, work: Callable[[apsw.Connection], T]) -> T:
        """Run `work` in a transaction in the writer thread; returns after the durable commit."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[T] = loop.create_future()
        self._waiting.append((work, done))
        if self._task is None:
            self._task = loop.create_task(self._run())
        return await done

    async def _run(self) -> None:
        try:
            while self._waiting:
                batch, self._waiting = self._waiting, []
                await self._write(batch)
        finally:
            self._task = None

    async def _write(self, batch: list[tuple[Write, asyncio.Future[Any]]]) -> None:
        try:
            results = await self._database.write(lambda at: [work(at) for work, _ in batch])
        except Exception as error:  # noqa: BLE001 - whoever asked for the write gets it
            if len(batch) == 1:
                _, done = batch[0]
                if not done.done():
                    done.set_exception(error)
                return
            for item in batch:
                await self._write([item])
            return
        for (_, done), result in zip(batch, results, strict=True):
            if not done.done():
                done.set_result(result)
