"""What the domains use of the job engine: kinds of jobs, a run and its steps, and the queue."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, TypeVar

import msgspec

from covey.jobs.model import Job, JobState, LogLine, Priority

T = TypeVar("T")
P = TypeVar("P")


@dataclass(frozen=True, slots=True)
class Retry:
    """How often a job or step is tried in all, and how long it waits in between.

    The wait before attempt n + 1 is `first_wait_s * factor ** (n - 1)`, at most `longest_wait_s`,
    give or take `jitter` of itself.
    """

    attempts: int = 1
    first_wait_s: float = 1.0
    factor: float = 2.0
    longest_wait_s: float = 600.0
    jitter: float = 0.1


ONCE = Retry()


class JobRun(Protocol):
    """One run of a job, handed to its kind's function.

    After a crash of the daemon the function is called again from its start (`resumed` is then
    true), and each step whose result was recorded returns that result without being run.
    """

    @property
    def id(self) -> str:
        """The job's id."""
        ...

    @property
    def caller(self) -> str:
        """Who asked for it, as the audit log names them."""
        ...

    @property
    def attempt(self) -> int:
        """Counts from 1."""
        ...

    @property
    def resumed(self) -> bool:
        """Whether an earlier run of this attempt was broken off by the end of the daemon."""
        ...

    @property
    def stopping(self) -> bool:
        """Whether the daemon stops: then `CancelledError` only breaks the run off.

        The run is resumed later, so its clean-up must leave alone what its steps have made. No
        step begins any more.
        """
        ...

    def payload(self, kind: type[P]) -> P:
        """Decode what the job was enqueued with."""
        ...

    async def step(
        self,
        name: str,
        work: Callable[[], Awaitable[T]],
        result: type[T],
        *,
        retry: Retry = ONCE,
        timeout_s: float | None = None,
    ) -> T:
        """Run a named step once and record its result; names are unique within a job.

        A step that was under way when the daemon died is run again: it must first find what its
        earlier run left. Raises what `work` raises, and `DeadlineExceededError` on a timeout.
        """
        ...

    def log(self, text: str) -> None:
        """Add lines to the job's log, under the present step's name. Never a secret."""
        ...

    def progress(self, fraction: float | None, doing: str = "") -> None:
        """Say how far it is (0 to 1, None for unknown) and what it does now."""
        ...


@dataclass(frozen=True, slots=True)
class JobKind:
    """One kind of job. A `CoveyError` of `run` fails the attempt with its message and hint.

    Cancelling raises `asyncio.CancelledError` in `run`, which cleans up and lets it pass.
    `at_once` limits how many jobs of this kind run at one time; None means no limit of its own.
    `is_permanent` says which errors are not worth another attempt.
    """

    name: str
    run: Callable[[JobRun], Awaitable[None]]
    retry: Retry = ONCE
    timeout_s: float | None = None
    at_once: int | None = None
    is_permanent: Callable[[BaseException], bool] = lambda _error: False


class RecordedPayload(msgspec.Struct, frozen=True):
    """The payload of a schedule that was read back; `data` is its JSON."""

    data: bytes

    def decode(self, kind: type[P]) -> P:
        """Return it as what it was given as; raises `msgspec.ValidationError`."""
        return msgspec.json.decode(self.data, type=kind)


@dataclass(frozen=True, slots=True)
class NewJob:
    """A job to be enqueued.

    Of jobs with the same `key` one runs at a time. With `supersede`, those with the same key that
    have not begun end as superseded. `unique`, if given, names the work itself: while a job with
    the same `unique` value has not ended (or ended within `unique_for_s`), that job is returned.
    """

    kind: str
    payload: msgspec.Struct
    title: str
    subject: str = ""
    priority: Priority = Priority.DEFAULT
    key: str | None = None
    supersede: bool = False
    unique: str | None = None
    unique_for_s: float = 0.0
    not_before: datetime | None = None
    caller: str = "system"


@dataclass(frozen=True, slots=True)
class Schedule:
    """A job that is enqueued again and again; `name` is unique on this node.

    `cron` has five fields, read in the time zone `zone`; a run starts up to `jitter_s` later. While
    the job of an earlier time has not ended, a time is passed over.
    """

    name: str
    cron: str
    job: NewJob
    zone: str = "UTC"
    jitter_s: float = 0.0


class Jobs(Protocol):
    """The durable queue of this node. Writes are durable on return."""

    def register(self, kind: JobKind) -> None:
        """Offer a kind of job; before `start`, so that resumed jobs find it."""
        ...

    async def enqueue(self, job: NewJob) -> Job:
        """Add a job; it starts at once if there is room. Raises `NotFoundError` for its kind."""
        ...

    def get(self, job: str) -> Job:
        """Return a job by its id or an unambiguous beginning; raises `NotFoundError`."""
        ...

    def find(
        self,
        *,
        states: frozenset[JobState] = frozenset(),
        kind: str | None = None,
        subject: str | None = None,
        limit: int = 100,
    ) -> list[Job]:
        """Return jobs, the newest first."""
        ...

    async def wait(self, job: str) -> Job:
        """Wait until a job has ended, and return it."""
        ...

    async def cancel(self, job: str) -> Job:
        """Ask a job to end, and wait until it has ended or asks for more time."""
        ...

    async def retry(self, job: str) -> Job:
        """Run a failed or cancelled job once more; steps that succeeded are not run again."""
        ...

    def logs(self, job: str, *, after: int = 0, follow: bool = False) -> AsyncIterator[LogLine]:
        """Yield a job's log lines after a number; with `follow`, until the job has ended."""
        ...

    async def put_schedule(self, schedule: Schedule) -> None:
        """Add or replace a schedule; raises `InvalidRequestError` for a bad cron line or zone."""
        ...

    async def remove_schedule(self, name: str) -> None:
        """Remove a schedule if there is one."""
        ...

    def schedules(self, prefix: str = "") -> list[Schedule]:
        """Return the schedules whose name starts with `prefix`."""
        ...
