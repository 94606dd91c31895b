"""What the job engine asks of its storage: a durable queue with claims, a journal, schedules."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Protocol

import msgspec

from covey.jobs.model import JobFailure, JobState, Priority, StepState

RANKS = {priority: rank for rank, priority in enumerate(Priority)}
"""The order in which waiting jobs begin, the first at 0."""
FAIR_EVERY = 8
"""Of so many jobs that begin, one is the oldest whatever its priority, if it has waited long."""
LONG_WAIT = timedelta(minutes=1)


class StoredJob(msgspec.Struct, frozen=True):
    """One job as it is kept; times are whole milliseconds in UTC.

    `begun` is true from the claim of an attempt to its end, also while nobody works on it after a
    crash: such a job holds its `key`, and cannot be superseded. `breaks` counts the crashes since
    a step was recorded. `due` is when a scheduled job may begin.
    """

    id: str
    kind: str
    payload: bytes
    title: str
    subject: str
    caller: str
    priority: Priority
    created: datetime
    state: JobState = JobState.QUEUED
    key: str | None = None
    unique: str | None = None
    unique_for_ms: int = 0
    not_before: datetime | None = None
    due: datetime | None = None
    started: datetime | None = None
    ended: datetime | None = None
    attempt: int = 0
    max_attempts: int = 1
    begun: bool = False
    breaks: int = 0
    worker: str | None = None
    cancelling: bool = False
    failure: JobFailure | None = None
    progress: float | None = None


class StoredStep(msgspec.Struct, frozen=True):
    """One step as it is kept; `result` is there once it has succeeded."""

    name: str
    state: StepState
    started: datetime
    ended: datetime | None = None
    attempts: int = 1
    result: bytes | None = None


class Enqueued(msgspec.Struct, frozen=True):
    """What came of enqueuing: the new job, or the one that is the same work (`is_new` false)."""

    job: StoredJob
    is_new: bool = True
    superseded: tuple[str, ...] = ()


class Claim(msgspec.Struct, frozen=True):
    """A job to be run now. `resumed`: an earlier run of this attempt was broken off."""

    job: StoredJob
    resumed: bool
    steps: tuple[StoredStep, ...] = ()


class Outcome(msgspec.Struct, frozen=True):
    """How an attempt ended: `state` is an ended one, or SCHEDULED for another attempt at `due`."""

    state: JobState
    at: datetime
    failure: JobFailure | None = None
    due: datetime | None = None
    progress: float | None = None
    steps: Sequence[StoredStep] = ()


class JobTemplate(msgspec.Struct, frozen=True):
    """What a schedule makes a job from."""

    kind: str
    payload: bytes
    title: str
    subject: str
    caller: str
    priority: Priority
    key: str | None = None
    supersede: bool = False
    unique: str | None = None
    unique_for_ms: int = 0


class StoredSchedule(msgspec.Struct, frozen=True):
    """One schedule as it is kept.

    `planned` is the next time that its cron line names, `due` that time with its jitter, `last`
    the id of the job that it made last.
    """

    name: str
    cron: str
    zone: str
    jitter_s: float
    job: JobTemplate
    planned: datetime
    due: datetime
    last: str | None = None


class JobStorage(Protocol):
    """A durable queue that several workers may share; each write is whole, and durable on return.

    A claim belongs to its worker until the worker settles it or hands it back. `lease_s` is how
    long it lasts without `extend`; None where a worker cannot vanish without the storage.
    Reads are fast and synchronous. Raises `StorageError` and `LockedError`.
    """

    @property
    def lease_s(self) -> float | None:
        """Seconds that a claim lasts unless it is extended, or None."""
        ...

    async def enqueue(self, job: StoredJob, *, supersede: bool = False) -> Enqueued:
        """Add a job, or find the one with the same `unique` that has not ended.

        One that succeeded or failed less than its `unique_for_ms` ago counts, too; but none that is
        being cancelled, or after which other work with its key was wanted. With
        `supersede`, those of the same key that have not begun end as superseded.
        """
        ...

    async def claim(
        self, worker: str, limit: int, room: Mapping[str, int], now: datetime
    ) -> list[Claim]:
        """Queue what is due, and take the first jobs by priority and age whose key is free.

        `room` says how many more may run of the kinds that have a limit of their own. Every eighth
        is the oldest of those whose first attempt could have begun a minute ago, so that even under
        load none waits for ever.
        """
        ...

    async def hasten(self, latest: Mapping[str, datetime]) -> None:
        """Bring attempts after the first, of these kinds, forward to their latest time."""
        ...

    async def extend(self, worker: str, now: datetime) -> frozenset[str]:
        """Extend the worker's claims; returns those that it still has."""
        ...

    async def record(self, worker: str, job: str, steps: Sequence[StoredStep]) -> bool:
        """Write steps of a claimed job into its journal; False if the claim is lost."""
        ...

    async def settle(self, worker: str, job: str, outcome: Outcome) -> bool:
        """End the attempt of a claimed job; False if the claim is lost.

        A job that is to be cancelled gets no other attempt: it ends as cancelled.
        """
        ...

    async def hand_back(self, worker: str) -> None:
        """Queue the worker's claimed jobs again: the worker stops."""
        ...

    async def recover(
        self, worker: str, now: datetime, *, most_breaks: int, failure: JobFailure
    ) -> list[StoredJob]:
        """Queue again what workers that are gone had claimed; returns what that changed.

        A job that was broken off `most_breaks` times without getting on fails with `failure`.
        """
        ...

    async def cancel(self, job: str, now: datetime) -> StoredJob | None:
        """End a job that has not begun, or note that its run is to be cancelled."""
        ...

    async def retry(self, job: str) -> StoredJob | None:
        """Queue a failed or cancelled job for one more attempt, and return it as it is now.

        It stays as it is while other work of the same `unique` has not ended. None: no such job.
        """
        ...

    async def prune(self, before: datetime, *, keep: int, limit: int) -> list[str]:
        """Remove up to `limit` jobs that ended before a time or are not among the last `keep`."""
        ...

    def get(self, prefix: str, limit: int = 2) -> list[StoredJob]:
        """Return jobs whose id begins so."""
        ...

    def find(
        self,
        *,
        states: Collection[JobState] = (),
        kind: str | None = None,
        subject: str | None = None,
        before: str | None = None,
        limit: int = 100,
    ) -> list[StoredJob]:
        """Return jobs, the newest first; those older than the job `before`, if it is there."""
        ...

    def steps(self, jobs: Sequence[str]) -> dict[str, tuple[StoredStep, ...]]:
        """Return the steps of jobs in the order in which they were recorded first."""
        ...

    def counts(self) -> dict[JobState, int]:
        """Return how many jobs are queued, running and scheduled."""
        ...

    def next_due(self) -> datetime | None:
        """Return when the first of the scheduled jobs may begin."""
        ...

    async def put_schedule(self, schedule: StoredSchedule) -> None:
        """Add or replace a schedule; one that is the same but for its times keeps them."""
        ...

    async def remove_schedule(self, name: str) -> None:
        """Remove a schedule if it is there."""
        ...

    def schedules(self, prefix: str = "") -> list[StoredSchedule]:
        """Return the schedules whose name begins so, by name."""
        ...

    async def fire(self, schedule: StoredSchedule, job: StoredJob | None) -> Enqueued | None:
        """Put a schedule's next times in place and enqueue `job` for the one that has come.

        None, and no job, while the schedule's last one has not ended or where `job` is None.
        """
        ...
