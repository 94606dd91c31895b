"""Removes what is kept no longer: ended jobs and their logs, once a day and after many jobs."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection
from datetime import datetime, timedelta

from covey.errors import CoveyError
from covey.jobs.log_files import LogFiles
from covey.jobs.ports import JobStorage

_FIRST = timedelta(minutes=1)
_EVERY = timedelta(days=1)
_AFTER_JOBS = 500
_MOST_JOBS = 10_000
_BATCH = 500
_LOGS = 128
_log = logging.getLogger("covey.jobs")


class Pruning:
    """Keeps jobs for `keep`, at most 10,000 of them, and of logs 128 times one job's most."""

    def __init__(
        self,
        storage: JobStorage,
        logs: LogFiles,
        keep: timedelta,
        now: Callable[[], datetime],
        live: Callable[[], Collection[str]],
    ) -> None:
        self.next_due = now() + _FIRST
        self._storage = storage
        self._logs = logs
        self._keep = keep
        self._now = now
        self._live = live
        self._ended = 0
        self._task: asyncio.Task[None] | None = None

    def one_more(self) -> None:
        """Take note that a job has ended."""
        self._ended += 1
        if self._ended >= _AFTER_JOBS:
            self.next_due = self._now()

    def begin_if_due(self) -> None:
        """Begin to prune, beside all else, if it is time."""
        if self._now() < self.next_due:
            return
        self._ended = 0
        if self._task is not None:
            self.next_due = self._now() + _FIRST
            return
        self.next_due = self._now() + _EVERY
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """End a pruning that is under way."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def prune(self, before: datetime) -> int:
        """Remove the jobs that ended before a time, with their logs; returns how many."""
        removed = 0
        while True:
            jobs = await self._storage.prune(before, keep=_MOST_JOBS, limit=_BATCH)
            await asyncio.to_thread(self._remove, jobs)
            removed += len(jobs)
            if len(jobs) < _BATCH:
                return removed

    async def _run(self) -> None:
        try:
            removed = await self.prune(self._now() - self._keep)
            removed += await self._bound_logs()
            if removed:
                _log.info("removed %d old jobs or logs of jobs", removed)
        except CoveyError as error:
            _log.warning("old jobs cannot be removed now: %s", error)
        finally:
            self._task = None

    async def _bound_logs(self) -> int:
        """Remove logs without a job, and the oldest ones over the limit of them all."""
        sizes = await asyncio.to_thread(self._sizes)
        left = sum(size for _, size in sizes)
        surplus = []
        for job, size in sizes:
            if job in self._live():
                continue
            if left > _LOGS * self._logs.limit or not self._storage.get(job):
                surplus.append(job)
                left -= size
        await asyncio.to_thread(self._remove, surplus)
        return len(surplus)

    def _sizes(self) -> list[tuple[str, int]]:
        """Return the logs and their sizes, the one first that was begun first."""
        return [(job, self._logs.size(job)) for job in self._logs.jobs()]

    def _remove(self, jobs: list[str]) -> None:
        for job in jobs:
            self._logs.remove(job)
