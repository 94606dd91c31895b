"""What a job is: its state, its steps and what it says while it runs."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated

import msgspec

JobId = Annotated[
    str, msgspec.Meta(pattern=r"^[a-z2-7]{4,32}$", description="The job's id, or its beginning.")
]


class Priority(StrEnum):
    """Which of the waiting jobs begins first; within one priority, the oldest.

    Every eighth job is the one that has waited longest, if that is more than a minute.
    """

    CRITICAL = "critical"
    HIGH = "high"
    DEFAULT = "default"
    LOW = "low"


class JobState(StrEnum):
    """Where a job is in its life."""

    SCHEDULED = "scheduled"
    """Waits for its time: a first run that was put off, or a retry."""
    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    SUPERSEDED = "superseded"
    """A newer job with the same key took its place before it began."""

    @property
    def ended(self) -> bool:
        """Whether it will not change by itself any more."""
        return self in {
            JobState.SUCCEEDED,
            JobState.FAILED,
            JobState.CANCELLED,
            JobState.SUPERSEDED,
        }


class StepState(StrEnum):
    """Where a step of a job is."""

    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Step(msgspec.Struct, frozen=True):
    """One named step of a job, with its present or last attempt."""

    name: str
    state: StepState
    started: datetime
    ended: datetime | None = None
    attempts: int = 1


class JobFailure(msgspec.Struct, frozen=True):
    """Why a job failed: the fields of a `CoveyError`."""

    code: str
    message: str
    hint: str | None = None


class Job(msgspec.Struct, frozen=True):
    """One job as users see it. `subject` is what it is about, such as `app/shop`."""

    id: str
    kind: str
    title: str
    subject: str
    state: JobState
    priority: Priority
    caller: str
    created: datetime
    not_before: datetime | None = None
    started: datetime | None = None
    ended: datetime | None = None
    attempt: int = 0
    max_attempts: int = 1
    progress: float | None = None
    doing: str = ""
    cancelling: bool = False
    failure: JobFailure | None = None
    steps: tuple[Step, ...] = ()


class LogLine(msgspec.Struct, frozen=True):
    """One line of a job's log; `number` counts from 1 and never repeats within a job."""

    number: int
    at: datetime
    step: str
    text: str
