"""The worker: claims jobs as there is room, runs them, and settles how they ended."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from covey.errors import CoveyError, LockedError
from covey.jobs.api import JobKind
from covey.jobs.backoff import wait_before_next
from covey.jobs.failures import (
    crash_loop,
    failure_of,
    timed_out,
    unknown_kind,
    would_not_end,
)
from covey.jobs.log_files import LogFiles
from covey.jobs.model import JobFailure, JobState
from covey.jobs.ports import Claim, JobStorage, Outcome
from covey.jobs.run import Ending, LiveRun
from covey.jobs.signals import Signals

_FIRST_RETRY_S = 1.0
_LONGEST_RETRY_S = 30.0
_SETTLING_S = 1.0
_log = logging.getLogger("covey.jobs")


@dataclass(frozen=True, slots=True)
class Patience:
    """How long the worker waits, and how often it tries.

    A run that was told to end is given up after `clean_up_s`, and after `stop_s` when the daemon
    stops. `most_breaks` is how often the daemon may die in one step.
    """

    clean_up_s: float = 120.0
    stop_s: float = 8.0
    most_breaks: int = 10


class Runner:
    """Runs jobs of the kinds given, at most `at_once`; `ended` is called when there is room."""

    def __init__(
        self,
        storage: JobStorage,
        kinds: Mapping[str, JobKind],
        logs: LogFiles,
        signals: Signals,
        *,
        at_once: int,
        patience: Patience,
        now: Callable[[], datetime],
        ended: Callable[[], None],
    ) -> None:
        self.live: dict[str, LiveRun] = {}
        self.ends: Counter[JobState] = Counter()
        """How attempts have ended since this worker began."""
        self._storage = storage
        self._kinds = kinds
        self._logs = logs
        self._signals = signals
        self._at_once = at_once
        self._patience = patience
        self._now = now
        self._ended = ended
        self._worker = secrets.token_hex(8)
        self._early_cancels: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._extending: asyncio.Task[None] | None = None
        self._stopping = False

    async def recover(self) -> None:
        """Queue again what an earlier daemon left, before the first claim."""
        most = self._patience.most_breaks
        changed = await self._storage.recover(
            self._worker, self._now(), most_breaks=most, failure=crash_loop(most)
        )
        for job in changed:
            then = "is resumed" if not job.state.ended else "was given up"
            _log.warning("the job %s (%s) was broken off, and %s", job.id, job.kind, then)
            tell(self._signals, job.id)

    async def hasten(self) -> None:
        """Bring forward attempts that a clock which was wrong has put off beyond any wait."""
        now = self._now()
        latest = {
            kind.name: now + timedelta(seconds=kind.retry.longest_wait_s * (1 + kind.retry.jitter))
            for kind in self._kinds.values()
            if kind.retry.attempts > 1
        }
        if latest:
            await self._storage.hasten(latest)

    async def fill(self) -> None:
        """Queue what is due, and begin as many jobs as there is room for."""
        busy = Counter(run.job.kind for run in self.live.values())
        room = {
            kind.name: kind.at_once - busy[kind.name]
            for kind in self._kinds.values()
            if kind.at_once is not None
        }
        free = self._at_once - len(self.live)
        for claim in await self._storage.claim(self._worker, free, room, self._now()):
            try:
                self._begin(claim)
            except Exception as error:  # noqa: BLE001 - what is claimed is settled, or it is stuck
                failure = failure_of(error, claim.job.kind)
                outcome = Outcome(JobState.FAILED, self._now(), failure)
                self._spawn(self._refuse(claim, outcome))

    def cancel(self, job: str) -> None:
        """Tell the run of a job to end, now or as soon as it begins."""
        run = self.live.get(job)
        if run is None:
            self._early_cancels.add(job)
        else:
            self._end(run, Ending.CANCEL)

    def forget(self, job: str) -> None:
        """Take note that a job has ended."""
        self._early_cancels.discard(job)

    async def stop(self) -> None:
        """Break off what runs; it is resumed by the next start."""
        self._stopping = True
        if self._extending is not None:
            self._extending.cancel()
        runs = list(self.live.values())
        for run in runs:
            run.end(Ending.STOP)
        tasks = list(self._tasks)
        if tasks:
            await asyncio.wait(tasks, timeout=self._patience.stop_s)
            for run in runs:
                run.give_up()
            # A storage that refuses is not waited for: what it did not take is run again.
            await asyncio.wait(tasks, timeout=_SETTLING_S)
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
        with contextlib.suppress(LockedError):
            await self._storage.hand_back(self._worker)

    def _begin(self, claim: Claim) -> None:
        if self._stopping:
            return
        job = claim.job
        run = LiveRun(
            claim,
            self._kinds.get(job.kind) or JobKind(job.kind, _never),
            lambda steps: self._storage.record(self._worker, job.id, steps),
            self._logs.writer(job.id),
            now=self._now,
            logged=lambda: self._signals.fire(log_signal(job.id)),
            changed=lambda: self._signals.fire(run_signal(job.id)),
        )
        self.live[job.id] = run
        cancelling = job.cancelling or job.id in self._early_cancels
        self._early_cancels.discard(job.id)
        self._spawn(self._carry(run, cancelling=cancelling))
        if self._storage.lease_s is not None and self._extending is None:
            self._extending = asyncio.create_task(self._extend(self._storage.lease_s))

    async def _refuse(self, claim: Claim, outcome: Outcome) -> None:
        """Settle a job that could not even begin."""
        await self._settle(claim.job.id, claim.job.kind, outcome)
        tell(self._signals, claim.job.id)
        self._ended()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _carry(self, run: LiveRun, *, cancelling: bool) -> None:
        """Run a claimed job to its end, and settle it."""
        try:
            try:
                outcome = await self._run(run, cancelling=cancelling)
            except Exception as error:  # noqa: BLE001 - a mistake here must not hold up the queue
                failure = failure_of(error, run.job.kind)
                outcome = self._outcome(run, JobState.FAILED, failure)
            if outcome is not None:
                run.flush()
                await self._settle(run.id, run.job.kind, outcome)
        finally:
            del self.live[run.id]
            self.forget(run.id)
            run.close()
            tell(self._signals, run.id)
            self._ended()

    async def _run(self, run: LiveRun, *, cancelling: bool) -> Outcome | None:
        kind = self._kinds.get(run.job.kind)
        if kind is None:
            if cancelling:
                return self._outcome(run, JobState.CANCELLED)
            return self._outcome(run, JobState.FAILED, unknown_kind(run.job.kind))
        if cancelling and not run.resumed:
            return self._outcome(run, JobState.CANCELLED)
        work = run.start(lambda: self._end(run, Ending.TIMEOUT))
        if cancelling:
            run.cancel_where_it_was()
            run.give_up_after(self._patience.clean_up_s)
        await run.over.wait()
        return self._judge(run, work, kind)

    def _judge(self, run: LiveRun, work: asyncio.Task[None], kind: JobKind) -> Outcome | None:
        """Say how an attempt ended; None for one that is broken off or not ours any more."""
        if not work.done():
            return self._judge_unended(run, work)
        error = None if work.cancelled() else work.exception()
        if not work.cancelled() and error is None:
            return self._outcome(run, JobState.SUCCEEDED)
        match run.ending:
            case Ending.STOP | Ending.LOST:
                return None
            case Ending.CANCEL:
                failure = None if error is None else failure_of(error, kind.name)
                return self._outcome(run, JobState.CANCELLED, failure)
            case Ending.TIMEOUT:
                return self._failed(run, kind, timed_out(kind.timeout_s or 0.0))
            case None:
                if error is None:
                    error = asyncio.CancelledError("a step was cancelled by something else")
                permanent = kind.is_permanent(error)
                return self._failed(run, kind, failure_of(error, kind.name), permanent=permanent)

    def _judge_unended(self, run: LiveRun, work: asyncio.Task[None]) -> Outcome | None:
        _log.error("the job %s (%s) was told to end and goes on", run.id, run.job.kind)
        work.add_done_callback(_look_at)
        failure = would_not_end(self._patience.clean_up_s)
        match run.ending:
            case Ending.CANCEL:
                return self._outcome(run, JobState.CANCELLED, failure)
            case Ending.TIMEOUT:
                # Another attempt could meet the run that goes on.
                return self._outcome(run, JobState.FAILED, failure)
            case Ending.STOP | Ending.LOST | None:
                return None

    def _failed(
        self, run: LiveRun, kind: JobKind, failure: JobFailure, *, permanent: bool = False
    ) -> Outcome:
        run.log(failure.message if failure.hint is None else f"{failure.message}\n{failure.hint}")
        if permanent or run.attempt >= run.job.max_attempts:
            return self._outcome(run, JobState.FAILED, failure)
        wait = wait_before_next(kind.retry, run.attempt)
        run.log(f"Attempt {run.attempt} of {run.job.max_attempts}; the next one in {wait:.0f} s.")
        due = self._now() + timedelta(milliseconds=round(wait * 1000))
        return self._outcome(run, JobState.SCHEDULED, failure, due)

    def _outcome(
        self,
        run: LiveRun,
        state: JobState,
        failure: JobFailure | None = None,
        due: datetime | None = None,
    ) -> Outcome:
        progress = 1.0 if state is JobState.SUCCEEDED else run.fraction
        return Outcome(state, self._now(), failure, due, progress, run.unrecorded)

    async def _settle(self, job: str, kind: str, outcome: Outcome) -> None:
        """Write how it ended; while the disk refuses, try again."""
        wait = _FIRST_RETRY_S
        while True:
            try:
                held = await self._storage.settle(self._worker, job, outcome)
            except LockedError:
                return
            except CoveyError as error:
                _log.error("the end of the job %s cannot be written now: %s", job, error)
            except Exception as error:  # noqa: BLE001 - an end that cannot be written is another one
                outcome = Outcome(JobState.FAILED, self._now(), failure_of(error, kind))
            else:
                self.ends[outcome.state] += held
                state = outcome.state.value if held else "lost to another worker"
                _log.info("the job %s (%s) is %s", job, kind, state)
                return
            if self._stopping:
                return
            await asyncio.sleep(wait)
            wait = min(wait * 2, _LONGEST_RETRY_S)

    def _end(self, run: LiveRun, ending: Ending) -> None:
        if run.end(ending):
            run.give_up_after(self._patience.clean_up_s)

    async def _extend(self, lease_s: float) -> None:
        """Extend the claims while there are any; break off those that are lost."""
        try:
            while self.live:
                await asyncio.sleep(lease_s / 3)
                claimed = list(self.live.values())
                try:
                    held = await self._storage.extend(self._worker, self._now())
                except CoveyError as error:
                    _log.warning("claims on jobs cannot be extended now: %s", error)
                    continue
                for run in claimed:
                    if run.id in self.live and run.id not in held:
                        self._end(run, Ending.LOST)
        finally:
            self._extending = None


def log_signal(job: str) -> str:
    """Return the name of the signal that a job's log has grown."""
    return f"{job} log"


def run_signal(job: str) -> str:
    """Return the name of the signal that a job got on: its steps, its progress, its state."""
    return f"{job} run"


def tell(signals: Signals, job: str) -> None:
    """Wake all who wait for a job: its state is another one now."""
    for name in (job, log_signal(job), run_signal(job)):
        signals.fire(name)


async def _never(_: object) -> None:
    raise AssertionError


def _look_at(work: asyncio.Task[None]) -> None:
    if not work.cancelled() and work.exception() is not None:
        _log.warning("a job that was given up ended", exc_info=work.exception())
