"""One run of a job: its steps and their journal, its log, and how it is told to end."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Sequence
from contextvars import ContextVar
from datetime import datetime
from enum import Enum, auto
from typing import TypeVar

import msgspec

from covey.errors import ConflictError, CoveyError, DeadlineExceededError
from covey.jobs.api import ONCE, JobKind, Retry
from covey.jobs.backoff import wait_before_next
from covey.jobs.log_files import LogWriter, lines_of
from covey.jobs.model import LogLine, Step, StepState
from covey.jobs.ports import Claim, StoredStep

T = TypeVar("T")
P = TypeVar("P")

_FLUSH_LINES = 500
_TELL_S = 0.1
_step: ContextVar[str] = ContextVar("covey_job_step", default="")


class Ending(Enum):
    """Why a run was told to end."""

    CANCEL = auto()
    TIMEOUT = auto()
    STOP = auto()
    LOST = auto()
    """Another worker has the job: its claim ran out."""


class LiveRun:
    """Implements `JobRun` for a claimed job. `over` is set when nobody waits for it any more.

    `record` writes steps into the journal and says whether the claim still holds; `logged` is
    called after lines were written, `changed` soon after a step or the progress changed. For one
    event loop; `log` and `progress` from any thread.
    """

    def __init__(
        self,
        claim: Claim,
        kind: JobKind,
        record: Callable[[Sequence[StoredStep]], Awaitable[bool]],
        writer: LogWriter,
        *,
        now: Callable[[], datetime],
        logged: Callable[[], None],
        changed: Callable[[], None],
    ) -> None:
        self.job = claim.job
        self.ending: Ending | None = None
        self.fraction = claim.job.progress
        self.doing = ""
        self.over = asyncio.Event()
        self._resumed = claim.resumed
        self._kind = kind
        self._record = record
        self._writer = writer
        self._now = now
        self._logged = logged
        self._changed = changed
        self._telling: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self._steps = {step.name: step for step in claim.steps}
        self._unrecorded: dict[str, StoredStep] = {}
        self._entered: set[str] = set()
        self._lines: list[LogLine] = []
        self._work: asyncio.Task[None] | None = None
        self._cancel_next = False
        self._closed = False
        self._giving_up: asyncio.TimerHandle | None = None

    @property
    def id(self) -> str:
        """The job's id."""
        return self.job.id

    @property
    def caller(self) -> str:
        """Who asked for it."""
        return self.job.caller

    @property
    def attempt(self) -> int:
        """Counts from 1."""
        return self.job.attempt

    @property
    def resumed(self) -> bool:
        """Whether an earlier run of this attempt was broken off."""
        return self._resumed

    @property
    def stopping(self) -> bool:
        """Whether the daemon stops, and the run is resumed later."""
        return self.ending is Ending.STOP

    @property
    def steps(self) -> tuple[Step, ...]:
        """The steps so far."""
        return tuple(shown(step) for step in self._steps.values())

    @property
    def unrecorded(self) -> list[StoredStep]:
        """The ended steps that are not in the journal yet, such as those that failed."""
        return [step for step in self._unrecorded.values() if step.ended is not None]

    def payload(self, kind: type[P]) -> P:
        """Decode what the job was enqueued with."""
        try:
            return msgspec.json.decode(self.job.payload, type=kind)
        except msgspec.DecodeError as error:
            raise _of_other_version("What the job was started with") from error

    async def step(
        self,
        name: str,
        work: Callable[[], Awaitable[T]],
        result: type[T],
        *,
        retry: Retry = ONCE,
        timeout_s: float | None = None,
    ) -> T:
        """Run a named step once and record its result."""
        if name in self._entered:
            raise RuntimeError(f"The job has two steps with the name {name}.")
        self._entered.add(name)
        before = self._steps.get(name)
        if before is not None and before.state is StepState.SUCCEEDED:
            return _recorded(before, result)
        self._admit()
        token = _step.set(name)
        self._put(StoredStep(name, StepState.RUNNING, self._now()))
        try:
            value = await self._attempts(name, work, retry, timeout_s)
            encoded = msgspec.msgpack.encode(value)
            # What a resumed run will see is what this one sees.
            value = msgspec.msgpack.decode(encoded, type=result)
        except asyncio.CancelledError:
            self._end(name, StepState.CANCELLED)
            raise
        except BaseException:
            self._end(name, StepState.FAILED)
            raise
        finally:
            _step.reset(token)
        self._end(name, StepState.SUCCEEDED, encoded)
        await self._write()
        return value

    def log(self, text: str) -> None:
        """Add lines to the job's log."""
        step = _step.get()
        if threading.get_ident() == self._thread:
            self._add(step, text)
        else:
            self._loop.call_soon_threadsafe(self._add, step, text)

    def progress(self, fraction: float | None, doing: str = "") -> None:
        """Say how far it is."""
        self.fraction = None if fraction is None else min(1.0, max(0.0, fraction))
        self.doing = doing
        if threading.get_ident() == self._thread:
            self._tell_soon()
        else:
            self._loop.call_soon_threadsafe(self._tell_soon)

    def start(self, timed_out: Callable[[], None]) -> asyncio.Task[None]:
        """Begin the run; `timed_out` is called when it takes too long."""

        async def run() -> None:
            await self._kind.run(self)

        work = self._work = self._loop.create_task(run(), name=f"job {self.id}")
        timer = None
        if self._kind.timeout_s is not None:
            timer = self._loop.call_later(self._kind.timeout_s, timed_out)

        def done(_: object) -> None:
            if timer is not None:
                timer.cancel()
            self.over.set()

        work.add_done_callback(done)
        return work

    def cancel_where_it_was(self) -> None:
        """Tell a resumed run to end at the place that it had reached before, to clean up there."""
        self.ending = Ending.CANCEL
        self._cancel_next = True

        def unless_a_step_did() -> None:
            if self._cancel_next and self._work is not None:
                self._cancel_next = False
                self._work.cancel()

        # The run gets through the steps that are recorded before the loop comes to this.
        self._loop.call_soon(unless_a_step_did)

    def end(self, ending: Ending) -> bool:
        """Tell the run to end; False if it was told before."""
        first = self.ending is None
        if first or ending in {Ending.STOP, Ending.LOST}:
            self.ending = ending
            if self._work is not None:
                self._work.cancel()
        return first

    def give_up(self) -> None:
        """Wait for it no longer: it was told to end and goes on."""
        self.over.set()

    def give_up_after(self, seconds: float) -> None:
        """Wait for its end for so long at most."""
        self._giving_up = self._loop.call_later(seconds, self.give_up)

    def flush(self) -> None:
        """Write the lines that wait."""
        lines, self._lines = self._lines, []
        if lines:
            self._writer.write(lines)
            self._logged()

    def close(self) -> None:
        """Write what waits and close the log."""
        self.flush()
        self._closed = True
        self._writer.close()
        for timer in (self._giving_up, self._telling):
            if timer is not None:
                timer.cancel()

    async def _attempts(
        self, name: str, work: Callable[[], Awaitable[T]], retry: Retry, timeout_s: float | None
    ) -> T:
        attempt = 1
        while True:
            try:
                return await _in_time(name, work, timeout_s)
            except Exception as error:
                final = attempt >= retry.attempts or self._kind.is_permanent(error)
                if final or self.ending is not None:
                    raise
                wait = wait_before_next(retry, attempt)
                said = error.message if isinstance(error, CoveyError) else type(error).__name__
                self.log(f"Attempt {attempt} of {retry.attempts} failed: {said}")
                self.log(f"Trying again in {wait:.0f} s.")
            await asyncio.sleep(wait)
            attempt += 1
            self._put(msgspec.structs.replace(self._steps[name], attempts=attempt))

    def _admit(self) -> None:
        """Refuse to begin a step in a run that must not go on."""
        if self._cancel_next or self.over.is_set() or self.ending in {Ending.STOP, Ending.LOST}:
            self._cancel_next = False
            raise asyncio.CancelledError

    async def _write(self) -> None:
        """Write the ended steps durably, whatever happens meanwhile: they have been done."""
        steps = self.unrecorded
        writing = asyncio.ensure_future(self._record(steps))
        try:
            held = await asyncio.shield(writing)
        except asyncio.CancelledError:
            await asyncio.wait([writing])
            raise
        for step in steps:
            if self._unrecorded.get(step.name) is step:
                del self._unrecorded[step.name]
        if not held:
            self.end(Ending.LOST)
            raise asyncio.CancelledError

    def _put(self, step: StoredStep) -> None:
        self._steps[step.name] = self._unrecorded[step.name] = step
        self._tell_soon()

    def _end(self, name: str, state: StepState, result: bytes | None = None) -> None:
        ended = {"state": state, "ended": self._now(), "result": result}
        self._put(msgspec.structs.replace(self._steps[name], **ended))

    def _tell_soon(self) -> None:
        """Say that something changed, at most ten times a second."""
        if self._telling is None and not self._closed:
            self._telling = self._loop.call_later(_TELL_S, self._tell)

    def _tell(self) -> None:
        self._telling = None
        self._changed()

    def _add(self, step: str, text: str) -> None:
        if self._closed:
            return
        if not self._lines:
            self._loop.call_soon(self.flush)
        now = self._now()
        for line in lines_of(text):
            self._lines.append(LogLine(self._writer.next_number(), now, step, line))
        if len(self._lines) >= _FLUSH_LINES:
            self.flush()


def shown(step: StoredStep) -> Step:
    """Return a step as users see it."""
    return Step(step.name, step.state, step.started, step.ended, step.attempts)


async def _in_time(name: str, work: Callable[[], Awaitable[T]], timeout_s: float | None) -> T:
    if timeout_s is None:
        return await work()
    limit = asyncio.timeout(timeout_s)
    try:
        async with limit:
            return await work()
    except TimeoutError as error:
        if not limit.expired():
            raise
        raise DeadlineExceededError(
            f"The step {name} did not end within {timeout_s:g} seconds, which is its limit."
        ) from error


def _recorded(step: StoredStep, result: type[T]) -> T:
    try:
        return msgspec.msgpack.decode(step.result or b"", type=result)
    except msgspec.DecodeError as error:
        raise _of_other_version(f"The recorded result of the step {step.name}") from error


def _of_other_version(what: str) -> CoveyError:
    return ConflictError(
        f"{what} was written by another version of Covey, and this one cannot read it.",
        hint="Start the work again.",
    )
