"""The job engine of one node: the queue that the domains use, and the loop that serves it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from datetime import datetime, timedelta

from covey.errors import ConflictError, CoveyError, LockedError, NotFoundError
from covey.jobs.api import JobKind, NewJob, Schedule
from covey.jobs.log_files import LogFiles
from covey.jobs.model import Job, JobState, LogLine
from covey.jobs.ports import Enqueued, JobStorage, JobTemplate, StoredJob, StoredSchedule
from covey.jobs.pruning import Pruning
from covey.jobs.rows import schedule_view, stored_job, template_of, view, wall_clock
from covey.jobs.runner import Patience, Runner, log_signal, run_signal, tell
from covey.jobs.scheduler import Scheduler
from covey.jobs.signals import Signals

_CANCEL_WAIT_S = 10.0
_LONGEST_SLEEP_S = 60.0
_AFTER_FAILURE = timedelta(seconds=5)
_SET_BACK = timedelta(minutes=1)
_log = logging.getLogger("covey.jobs")


class JobEngine:
    """Implements `Jobs`. Register the kinds, `start` it, and `stop` it; it is not used again.

    For one event loop. An idle engine does nothing: it sleeps until the next thing is due.
    """

    def __init__(
        self,
        storage: JobStorage,
        logs: LogFiles,
        *,
        at_once: int = 8,
        keep: timedelta = timedelta(days=30),
        patience: Patience | None = None,
        now: Callable[[], datetime] = wall_clock,
    ) -> None:
        self._storage = storage
        self._logs = logs
        self._now = now
        self._kinds: dict[str, JobKind] = {}
        self._signals = Signals()
        self._wake = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._serving: asyncio.Task[None] | None = None
        self._stopped = False
        self._latest = now()
        self._runner = Runner(
            storage,
            self._kinds,
            logs,
            self._signals,
            at_once=at_once,
            patience=patience or Patience(),
            now=now,
            ended=self._run_ended,
        )
        self._scheduler = Scheduler(storage, self._make, now)
        self._pruning = Pruning(storage, logs, keep, now, lambda: self._runner.live)

    def register(self, kind: JobKind) -> None:
        """Offer a kind of job; before `start`, so that resumed jobs find it."""
        if kind.name in self._kinds:
            raise ValueError(f"The kind {kind.name} is registered twice.")
        self._kinds[kind.name] = kind

    async def start(self) -> None:
        """Resume what was broken off, and begin to serve. Raises `StorageError`."""
        await self._runner.recover()
        await self._runner.hasten()
        self._scheduler.load()
        self._serving = asyncio.create_task(self._serve())

    async def stop(self) -> None:
        """Break off what runs, so that the next start resumes it, and end all who wait."""
        self._stopped = True
        if self._serving is not None:
            self._serving.cancel()
            await asyncio.gather(self._serving, return_exceptions=True)
        if self._timer is not None:
            self._timer.cancel()
        await self._pruning.stop()
        await self._runner.stop()
        self._signals.fire_all()

    async def enqueue(self, job: NewJob) -> Job:
        """Add a job; it starts at once if there is room. Raises `NotFoundError` for its kind."""
        kind = self._kind(job.kind)
        new = stored_job(template_of(job), kind, self._now(), job.not_before)
        return self._enqueued(await self._storage.enqueue(new, supersede=job.supersede))

    def get(self, job: str) -> Job:
        """Return a job by its id or an unambiguous beginning; raises `NotFoundError`."""
        found = self._stored(job)
        return self._views([found])[0]

    def find(
        self,
        *,
        states: frozenset[JobState] = frozenset(),
        kind: str | None = None,
        subject: str | None = None,
        before: str | None = None,
        limit: int = 100,
    ) -> list[Job]:
        """Return jobs, the newest first; with `before`, those older than that job."""
        found = self._storage.find(
            states=states, kind=kind, subject=subject, before=before, limit=limit
        )
        return self._views(found)

    async def wait(self, job: str) -> Job:
        """Wait until a job has ended, and return it."""
        name = self._stored(job).id
        while True:
            found = self._stored(name)
            if found.state.ended:
                return self._views([found])[0]
            if self._stopped:
                raise _stopping()
            await self._signals.event(name).wait()

    async def cancel(self, job: str) -> Job:
        """Ask a job to end, and wait until it has ended or asks for more time."""
        name = self._stored(job).id
        found = await self._storage.cancel(name, self._now())
        if found is None:
            raise _not_found(job)
        if found.state.ended:
            tell(self._signals, name)
        else:
            self._runner.cancel(name)
            # One that waits to be resumed begins first, and cleans up.
            self._wake.set()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_CANCEL_WAIT_S):
                    await self.wait(name)
        return self.get(name)

    async def retry(self, job: str) -> Job:
        """Run a failed or cancelled job once more; steps that succeeded are not run again."""
        before = self._stored(job)
        self._kind(before.kind)
        if before.state not in {JobState.FAILED, JobState.CANCELLED}:
            raise ConflictError(
                f"The job {before.id} is {before.state.value}.",
                hint="Only a job that failed or was cancelled can be run again.",
            )
        found = await self._storage.retry(before.id)
        if found is None:
            raise _not_found(job)
        if found.state.ended:
            raise ConflictError(
                f"The work of the job {found.id} is being done by another job.",
                hint="See it: covey jobs list",
            )
        self._wake.set()
        return self._views([found])[0]

    async def logs(
        self, job: str, *, after: int = 0, follow: bool = False
    ) -> AsyncGenerator[LogLine, None]:
        """Yield a job's log lines after a number; with `follow`, until the job has ended."""
        name = self._stored(job).id
        reader = self._logs.reader(name, after)
        try:
            while True:
                run = self._runner.live.get(name)
                if run is not None:
                    run.flush()
                goes_on = follow and not self._stopped and not self._has_ended(name)
                event = self._signals.event(log_signal(name)) if goes_on else None
                lines = reader.read()
                for line in lines:
                    yield line
                if not lines:
                    if event is None:
                        break
                    await event.wait()
        finally:
            reader.close()
        if follow and self._stopped and not self._has_ended(name):
            raise _stopping()

    async def watch(self, job: str) -> AsyncGenerator[Job, None]:
        """Yield a job now and after each change of its steps, progress and state, to its end."""
        name = self._stored(job).id
        while True:
            event = None if self._has_ended(name) else self._signals.event(run_signal(name))
            yield self.get(name)
            if event is None:
                return
            if self._stopped:
                raise _stopping()
            await event.wait()

    async def prune(self, before: datetime) -> int:
        """Remove the jobs that ended before a time, with their logs; returns how many."""
        return await self._pruning.prune(before)

    def counts(self) -> dict[JobState, int]:
        """Return how many jobs have not ended, by state."""
        return self._storage.counts()

    def ends(self) -> dict[JobState, int]:
        """Return how attempts have ended since the start; SCHEDULED: to be tried again."""
        return dict(self._runner.ends)

    async def put_schedule(self, schedule: Schedule) -> None:
        """Add or replace a schedule; raises `InvalidRequestError` for a bad cron line or zone."""
        self._kind(schedule.job.kind)
        await self._scheduler.put(schedule)
        self._wake.set()

    async def remove_schedule(self, name: str) -> None:
        """Remove a schedule if there is one."""
        await self._scheduler.remove(name)

    def schedules(self, prefix: str = "") -> list[Schedule]:
        """Return the schedules whose name starts with `prefix`."""
        return [schedule_view(stored) for stored in self._scheduler.find(prefix)]

    def stored_schedules(self, prefix: str = "") -> list[StoredSchedule]:
        """Return the schedules with their next times."""
        return self._scheduler.find(prefix)

    async def _serve(self) -> None:
        """Enqueue and begin what is due; then sleep until something happens."""
        while True:
            self._wake.clear()
            done = [await self._survive(work) for work in (self._mind_clock, self._fire)]
            done.append(await self._survive(self._runner.fill))
            self._pruning.begin_if_due()
            self._arm(self._next_due() if all(done) else self._now() + _AFTER_FAILURE)
            await self._wake.wait()

    async def _survive(self, work: Callable[[], Awaitable[None]]) -> bool:
        """Do a part of what there is to do; a mistake in it ends neither the rest nor the queue."""
        try:
            await work()
        except CoveyError as error:
            _log.error("jobs cannot begin now: %s", error)
            return False
        except Exception:  # noqa: BLE001 - logged whole
            _log.exception("jobs cannot begin now")
            return False
        return True

    async def _mind_clock(self) -> None:
        """Plan anew if the clock was set back, lest what was planned by it waits for years."""
        now = self._now()
        was_set_back = now < self._latest - _SET_BACK
        self._latest = now if was_set_back else max(now, self._latest)
        if was_set_back:
            _log.warning("the clock was set back; what is due is planned anew")
            self._scheduler.load()
            await self._runner.hasten()

    async def _fire(self) -> None:
        for enqueued in await self._scheduler.fire():
            self._enqueued(enqueued)

    def _next_due(self) -> datetime:
        try:
            times = (self._storage.next_due(), self._scheduler.next_due(), self._pruning.next_due)
        except CoveyError as error:
            _log.error("jobs cannot begin now: %s", error)
            return self._now() + _AFTER_FAILURE
        return min(time for time in times if time is not None)

    def _arm(self, due: datetime) -> None:
        """Wake up when it is due; a long sleep is cut short, as the clock may be set meanwhile."""
        if self._timer is not None:
            self._timer.cancel()
        now = self._now()
        left = (due - now).total_seconds()
        if left <= 0 or now < self._latest - _SET_BACK:
            self._wake.set()
            return
        sleep = min(left, _LONGEST_SLEEP_S)
        self._timer = asyncio.get_running_loop().call_later(sleep, self._arm, due)

    def _run_ended(self) -> None:
        self._pruning.one_more()
        self._wake.set()

    def _make(self, template: JobTemplate) -> StoredJob:
        return stored_job(template, self._kinds.get(template.kind), self._now())

    def _enqueued(self, enqueued: Enqueued) -> Job:
        for name in enqueued.superseded:
            tell(self._signals, name)
        if enqueued.is_new:
            self._wake.set()
        return self._views([enqueued.job])[0]

    def _has_ended(self, job: str) -> bool:
        return job not in self._runner.live and self._stored(job).state.ended

    def _views(self, jobs: list[StoredJob]) -> list[Job]:
        live = self._runner.live
        steps = self._storage.steps([job.id for job in jobs if job.attempt and job.id not in live])
        return [view(job, steps.get(job.id, ()), live.get(job.id)) for job in jobs]

    def _stored(self, job: str) -> StoredJob:
        found = self._storage.get(job) if job else []
        if len(found) > 1 and found[0].id != job:
            raise NotFoundError(
                f"Several jobs begin with {job!r}.", hint="Give more of the job's id."
            )
        if not found:
            raise _not_found(job)
        return found[0]

    def _kind(self, name: str) -> JobKind:
        try:
            return self._kinds[name]
        except KeyError:
            raise NotFoundError(f"There are no jobs of the kind {name}.") from None


def _not_found(job: str) -> NotFoundError:
    return NotFoundError(f"There is no job {job}.", hint="See all: covey jobs list")


def _stopping() -> LockedError:
    return LockedError(
        "The node is locked or stopping; the job goes on when it is back.",
        hint="Run: covey unlock",
    )
