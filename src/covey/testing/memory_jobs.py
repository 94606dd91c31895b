"""A job storage in memory, verified by the same suite as the real one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from msgspec.structs import replace

from covey.jobs.model import JobFailure, JobState
from covey.jobs.ports import (
    FAIR_EVERY,
    LONG_WAIT,
    RANKS,
    Claim,
    Enqueued,
    Outcome,
    StoredJob,
    StoredSchedule,
    StoredStep,
)

_REPEATABLE = frozenset({JobState.FAILED, JobState.CANCELLED})
_DONE = frozenset({JobState.SUCCEEDED, JobState.FAILED})


@dataclass(slots=True)
class MemoryJobStorage:
    """Implements `JobStorage` for one event loop.

    With `lease_s`, a claim that is not extended for so long is lost at the next claim of anyone.
    """

    lease_s: float | None = None
    _jobs: dict[str, StoredJob] = field(default_factory=dict)
    _steps: dict[str, dict[str, StoredStep]] = field(default_factory=dict)
    _schedules: dict[str, StoredSchedule] = field(default_factory=dict)
    _leases: dict[str, datetime] = field(default_factory=dict)
    _claimed: int = 0

    async def enqueue(self, job: StoredJob, *, supersede: bool = False) -> Enqueued:
        """Add a job, or find the same work."""
        if job.unique is not None:
            for other in reversed(self._jobs.values()):
                if other.unique == job.unique and self._counts(other, job.created):
                    return Enqueued(other, is_new=False)
        superseded = []
        if supersede and job.key is not None:
            for other in list(self._jobs.values()):
                if other.key == job.key and not other.state.ended and not other.begun:
                    self._put(other, state=JobState.SUPERSEDED, ended=job.created, due=None)
                    superseded.append(other.id)
        self._jobs[job.id] = job
        return Enqueued(job, superseded=tuple(sorted(superseded)))

    async def claim(
        self, worker: str, limit: int, room: Mapping[str, int], now: datetime
    ) -> list[Claim]:
        """Take the first jobs that may begin."""
        self._expire(now)
        for job in list(self._jobs.values()):
            if job.state is JobState.SCHEDULED and job.due is not None and job.due <= now:
                self._put(job, state=JobState.QUEUED, due=None)
        left, found = dict(room), list[Claim]()
        while len(found) < limit:
            waiting = [
                job
                for job in self._jobs.values()
                if job.state is JobState.QUEUED and left.get(job.kind, 1) > 0 and self._free(job)
            ]
            if not waiting:
                break
            self._claimed += 1
            old = [job for job in waiting if job.created + LONG_WAIT <= now]
            if old and self._claimed % FAIR_EVERY == 0:
                first = old[0]
            else:
                first = min(waiting, key=lambda job: RANKS[job.priority])
            left[first.kind] = left.get(first.kind, limit) - 1
            job = self._put(
                first,
                state=JobState.RUNNING,
                worker=worker,
                begun=True,
                attempt=first.attempt + (not first.begun),
                started=first.started or now,
            )
            if self.lease_s is not None:
                self._leases[job.id] = now + timedelta(seconds=self.lease_s)
            found.append(Claim(job, first.begun, tuple(self._steps.get(job.id, {}).values())))
        return found

    async def hasten(self, latest: Mapping[str, datetime]) -> None:
        """Bring attempts after the first forward."""
        for job in list(self._jobs.values()):
            due = latest.get(job.kind)
            if (
                job.state is JobState.SCHEDULED
                and job.attempt
                and due
                and job.due
                and job.due > due
            ):
                self._put(job, due=due)

    async def extend(self, worker: str, now: datetime) -> frozenset[str]:
        """Extend the worker's claims."""
        held = frozenset(job.id for job in self._jobs.values() if _held_by(job, worker))
        if self.lease_s is not None:
            self._leases.update(dict.fromkeys(held, now + timedelta(seconds=self.lease_s)))
        return held

    async def record(self, worker: str, job: str, steps: Sequence[StoredStep]) -> bool:
        """Write steps into the journal."""
        found = self._jobs.get(job)
        if found is None or not _held_by(found, worker):
            return False
        self._steps.setdefault(job, {}).update({step.name: step for step in steps})
        self._put(found, breaks=0)
        return True

    async def settle(self, worker: str, job: str, outcome: Outcome) -> bool:
        """End an attempt."""
        found = self._jobs.get(job)
        if found is None or not _held_by(found, worker):
            return False
        if outcome.steps:
            self._steps.setdefault(job, {}).update({step.name: step for step in outcome.steps})
        cancelled = found.cancelling and not outcome.state.ended
        state = JobState.CANCELLED if cancelled else outcome.state
        self._put(
            found,
            state=state,
            ended=outcome.at if state.ended else None,
            due=None if cancelled else outcome.due,
            failure=outcome.failure,
            progress=outcome.progress,
            begun=False,
            breaks=0,
            worker=None,
            cancelling=False,
        )
        return True

    async def hand_back(self, worker: str) -> None:
        """Queue the worker's jobs again."""
        for job in list(self._jobs.values()):
            if _held_by(job, worker):
                self._put(job, state=JobState.QUEUED, worker=None)

    async def recover(
        self, worker: str, now: datetime, *, most_breaks: int, failure: JobFailure
    ) -> list[StoredJob]:
        """Queue again what other workers left; with leases, when those have run out."""
        gone = [
            job
            for job in self._jobs.values()
            if job.state is JobState.RUNNING
            and job.worker != worker
            and (self.lease_s is None or self._leases[job.id] <= now)
        ]
        broken = [job for job in gone if job.breaks + 1 >= most_breaks]
        changed = [
            self._put(
                job,
                state=JobState.FAILED,
                ended=now,
                failure=failure,
                begun=False,
                worker=None,
                cancelling=False,
            )
            for job in broken
        ]
        for job in gone:
            if job not in broken:
                again = self._put(job, state=JobState.QUEUED, worker=None, breaks=job.breaks + 1)
                changed.append(again)
        return changed

    async def cancel(self, job: str, now: datetime) -> StoredJob | None:
        """End a job that has not begun, or mark one that has."""
        found = self._jobs.get(job)
        if found is None or found.state.ended:
            return found
        if found.begun:
            return self._put(found, cancelling=True)
        return self._put(found, state=JobState.CANCELLED, ended=now, due=None)

    async def retry(self, job: str) -> StoredJob | None:
        """Queue a failed or cancelled job again."""
        found = self._jobs.get(job)
        if found is None or found.state not in _REPEATABLE:
            return found
        if found.unique is not None and any(
            other.unique == found.unique and not other.state.ended for other in self._jobs.values()
        ):
            return found
        return self._put(
            found,
            state=JobState.QUEUED,
            ended=None,
            failure=None,
            breaks=0,
            progress=None,
            max_attempts=max(found.max_attempts, found.attempt + 1),
        )

    async def prune(self, before: datetime, *, keep: int, limit: int) -> list[str]:
        """Remove old jobs with their steps."""
        numbered = enumerate(self._jobs.values())
        ended = sorted((job.ended, number, job.id) for number, job in numbered if job.ended)
        surplus = max(0, len(ended) - keep)
        chosen = [row for at, row in enumerate(ended) if at < surplus or row[0] < before][:limit]
        for _, _, name in chosen:
            del self._jobs[name]
            self._steps.pop(name, None)
        return [name for _, _, name in chosen]

    def get(self, prefix: str, limit: int = 2) -> list[StoredJob]:
        """Return jobs whose id begins so."""
        found = sorted(name for name in self._jobs if name.startswith(prefix))
        return [self._jobs[name] for name in found[:limit]]

    def find(
        self,
        *,
        states: Collection[JobState] = (),
        kind: str | None = None,
        subject: str | None = None,
        before: str | None = None,
        limit: int = 100,
    ) -> list[StoredJob]:
        """Return jobs, the newest first."""
        names = list(self._jobs)
        last = len(names) if before is None else names.index(before) if before in names else 0
        found = [
            job
            for job in reversed(list(self._jobs.values())[:last])
            if (not states or job.state in states)
            and kind in {None, job.kind}
            and subject in {None, job.subject}
        ]
        return found[:limit]

    def steps(self, jobs: Sequence[str]) -> dict[str, tuple[StoredStep, ...]]:
        """Return the steps of jobs."""
        return {name: tuple(self._steps[name].values()) for name in jobs if name in self._steps}

    def counts(self) -> dict[JobState, int]:
        """Return how many jobs have not ended."""
        found = Counter(job.state for job in self._jobs.values())
        return {state: found[state] for state in JobState if not state.ended}

    def next_due(self) -> datetime | None:
        """Return when the first of the scheduled jobs may begin."""
        waiting = (job.due for job in self._jobs.values() if job.state is JobState.SCHEDULED)
        return min((due for due in waiting if due is not None), default=None)

    async def put_schedule(self, schedule: StoredSchedule) -> None:
        """Add or replace a schedule."""
        before = self._schedules.get(schedule.name)
        if before is not None:
            kept = {"planned": before.planned, "due": before.due, "last": before.last}
            if replace(schedule, **kept) == before:
                return
            schedule = replace(schedule, last=before.last)
        self._schedules[schedule.name] = schedule

    async def remove_schedule(self, name: str) -> None:
        """Remove a schedule."""
        self._schedules.pop(name, None)

    def schedules(self, prefix: str = "") -> list[StoredSchedule]:
        """Return the schedules whose name begins so."""
        names = sorted(name for name in self._schedules if name.startswith(prefix))
        return [self._schedules[name] for name in names]

    async def fire(self, schedule: StoredSchedule, job: StoredJob | None) -> Enqueued | None:
        """Advance a schedule and enqueue its job."""
        found = self._schedules.get(schedule.name)
        if found is None:
            return None
        found = replace(found, planned=schedule.planned, due=schedule.due)
        self._schedules[found.name] = found
        last = None if found.last is None else self._jobs.get(found.last)
        if job is None or (last is not None and not last.state.ended):
            return None
        enqueued = await self.enqueue(job, supersede=schedule.job.supersede)
        self._schedules[found.name] = replace(found, last=enqueued.job.id)
        return enqueued

    def _put(self, job: StoredJob, **changes: object) -> StoredJob:
        changed = replace(job, **changes)
        self._jobs[job.id] = changed
        return changed

    def _counts(self, job: StoredJob, now: datetime) -> bool:
        """Whether a job stands for new work of the same `unique`."""
        jobs = list(self._jobs.values())
        later = [
            other
            for other in jobs[jobs.index(job) + 1 :]
            if other.key == job.key is not None and (not other.state.ended or other.state in _DONE)
        ]
        if job.ended is None:
            return not job.cancelling and all(other.state.ended for other in later)
        fresh = job.ended + timedelta(milliseconds=job.unique_for_ms) > now
        return job.state in _DONE and fresh and not later

    def _free(self, job: StoredJob) -> bool:
        return job.key is None or not any(
            other.key == job.key and other.begun and other.id != job.id
            for other in self._jobs.values()
        )

    def _expire(self, now: datetime) -> None:
        if self.lease_s is None:
            return
        for job in list(self._jobs.values()):
            if job.state is JobState.RUNNING and self._leases[job.id] <= now:
                self._put(job, state=JobState.QUEUED, worker=None, breaks=job.breaks + 1)


def _held_by(job: StoredJob, worker: str) -> bool:
    return job.state is JobState.RUNNING and job.worker == worker
