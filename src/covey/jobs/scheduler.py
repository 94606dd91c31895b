"""Schedules: which job is enqueued when. Times missed while nobody was there are made up once."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable
from datetime import datetime, timedelta

from msgspec.structs import replace

from covey.errors import InvalidRequestError
from covey.jobs.api import Schedule
from covey.jobs.cron import next_time
from covey.jobs.ports import Enqueued, JobStorage, JobTemplate, StoredJob, StoredSchedule
from covey.jobs.rows import template_of

_log = logging.getLogger("covey.jobs")


class Scheduler:
    """The schedules of one node; `load` reads them, and `fire` enqueues what has come due."""

    def __init__(
        self,
        storage: JobStorage,
        make: Callable[[JobTemplate], StoredJob],
        now: Callable[[], datetime],
    ) -> None:
        self._storage = storage
        self._make = make
        self._now = now
        self._known: dict[str, StoredSchedule] = {}
        self._unreadable: set[str] = set()

    def load(self) -> None:
        """Read the schedules; those that a wrong clock has put off are brought forward."""
        self._known = {item.name: self._in_reach(item) for item in self._storage.schedules()}

    def find(self, prefix: str = "") -> list[StoredSchedule]:
        """Return the schedules whose name begins so, by name."""
        return self._storage.schedules(prefix)

    async def put(self, schedule: Schedule) -> None:
        """Add or replace a schedule; raises `InvalidRequestError`."""
        planned = next_time(schedule.cron, schedule.zone, self._now())
        stored = StoredSchedule(
            name=schedule.name,
            cron=schedule.cron,
            zone=schedule.zone,
            jitter_s=schedule.jitter_s,
            job=template_of(schedule.job),
            planned=planned,
            due=_with_jitter(planned, schedule.jitter_s),
        )
        await self._storage.put_schedule(stored)
        self._unreadable.discard(schedule.name)
        for item in self._storage.schedules(schedule.name):
            if item.name == schedule.name:
                self._known[item.name] = self._in_reach(item)

    async def remove(self, name: str) -> None:
        """Remove a schedule if it is there."""
        await self._storage.remove_schedule(name)
        self._known.pop(name, None)

    def next_due(self) -> datetime | None:
        """Return when the next job is to be enqueued."""
        return min((item.due for item in self._waiting()), default=None)

    async def fire(self) -> list[Enqueued]:
        """Enqueue a job for each schedule whose time has come, unless its last one goes on."""
        now, enqueued = self._now(), list[Enqueued]()
        for schedule in self._waiting():
            if schedule.due > now:
                continue
            following = self._after(schedule, max(now, schedule.planned))
            if following is None:
                continue
            found = await self._storage.fire(following, self._make(schedule.job))
            # It may have been replaced or removed meanwhile.
            if self._known.get(schedule.name) is schedule:
                self._known[schedule.name] = following
            if found is None:
                _log.info("the schedule %s: passed over, its last job goes on", schedule.name)
            else:
                enqueued.append(found)
        return enqueued

    def _after(self, schedule: StoredSchedule, time: datetime) -> StoredSchedule | None:
        """Return a schedule with its next times after `time`; None if they cannot be told."""
        try:
            planned = next_time(schedule.cron, schedule.zone, time)
        except Exception as error:  # noqa: BLE001 - one schedule must not hold up the others
            self._unreadable.add(schedule.name)
            told = error if isinstance(error, InvalidRequestError) else repr(error)
            _log.error("the schedule %s stands still: %s", schedule.name, told)
            return None
        return replace(schedule, planned=planned, due=_with_jitter(planned, schedule.jitter_s))

    def _in_reach(self, schedule: StoredSchedule) -> StoredSchedule:
        """Return a schedule that waits for no later time than the one after the next."""
        first = self._after(schedule, self._now())
        second = first and self._after(schedule, first.planned)
        late = first is not None and second is not None and schedule.planned > second.planned
        return first if late and first is not None else schedule

    def _waiting(self) -> list[StoredSchedule]:
        return [item for item in self._known.values() if item.name not in self._unreadable]


def _with_jitter(planned: datetime, jitter_s: float) -> datetime:
    late_ms = random.randint(0, round(jitter_s * 1000))  # noqa: S311 - spreads load
    return planned + timedelta(milliseconds=late_ms)
