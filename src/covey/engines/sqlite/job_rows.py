"""Rows of the job tables, and back: times are milliseconds, structures JSON or MessagePack."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from covey.jobs.model import JobFailure, JobState, StepState
from covey.jobs.ports import RANKS, JobTemplate, StoredJob, StoredSchedule, StoredStep

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MS = timedelta(milliseconds=1)
_PRIORITIES = tuple(RANKS)

JOB_COLUMNS = (
    "id, kind, payload, title, subject, caller, priority, created, state, key, unique_name,"
    " unique_for_ms, not_before, due, started, ended, attempt, max_attempts, begun, breaks,"
    " worker, cancelling, failure, progress"
)
JOB_PLACES = ", ".join("?" * (JOB_COLUMNS.count(",") + 1))
STEP_COLUMNS = "name, state, started, ended, attempts, result"
SCHEDULE_COLUMNS = "name, definition, planned, due, last"


class Definition(msgspec.Struct, frozen=True):
    """What a schedule is, without its times."""

    cron: str
    zone: str
    jitter_s: float
    job: JobTemplate


def to_ms(at: datetime) -> int:
    """Return whole milliseconds since the epoch."""
    return (at - _EPOCH) // _MS


def from_ms(at: int) -> datetime:
    """Return the time of milliseconds since the epoch."""
    return _EPOCH + timedelta(milliseconds=at)


def job_values(job: StoredJob) -> tuple[object, ...]:
    """Return the values of a job in the order of `JOB_COLUMNS`."""
    return (
        job.id,
        job.kind,
        job.payload,
        job.title,
        job.subject,
        job.caller,
        RANKS[job.priority],
        to_ms(job.created),
        job.state.value,
        job.key,
        job.unique,
        job.unique_for_ms,
        _ms_or_none(job.not_before),
        _ms_or_none(job.due),
        _ms_or_none(job.started),
        _ms_or_none(job.ended),
        job.attempt,
        job.max_attempts,
        job.begun,
        job.breaks,
        job.worker,
        job.cancelling,
        failure_value(job.failure),
        job.progress,
    )


def job_of(row: Sequence[Any]) -> StoredJob:
    """Return the job of a row of `JOB_COLUMNS`."""
    return StoredJob(
        id=row[0],
        kind=row[1],
        payload=row[2],
        title=row[3],
        subject=row[4],
        caller=row[5],
        priority=_PRIORITIES[row[6]],
        created=from_ms(row[7]),
        state=JobState(row[8]),
        key=row[9],
        unique=row[10],
        unique_for_ms=row[11],
        not_before=_time_or_none(row[12]),
        due=_time_or_none(row[13]),
        started=_time_or_none(row[14]),
        ended=_time_or_none(row[15]),
        attempt=row[16],
        max_attempts=row[17],
        begun=bool(row[18]),
        breaks=row[19],
        worker=row[20],
        cancelling=bool(row[21]),
        failure=None if row[22] is None else msgspec.json.decode(row[22], type=JobFailure),
        progress=row[23],
    )


def step_values(step: StoredStep) -> tuple[object, ...]:
    """Return the values of a step in the order of `STEP_COLUMNS`."""
    started, ended = to_ms(step.started), _ms_or_none(step.ended)
    return (step.name, step.state.value, started, ended, step.attempts, step.result)


def step_of(row: Sequence[Any]) -> StoredStep:
    """Return the step of a row of `STEP_COLUMNS`."""
    name, state, started, ended, attempts, result = row
    return StoredStep(
        name, StepState(state), from_ms(started), _time_or_none(ended), attempts, result
    )


def schedule_values(schedule: StoredSchedule) -> tuple[object, ...]:
    """Return the values of a schedule in the order of `SCHEDULE_COLUMNS`."""
    definition = Definition(schedule.cron, schedule.zone, schedule.jitter_s, schedule.job)
    return (
        schedule.name,
        msgspec.msgpack.encode(definition),
        to_ms(schedule.planned),
        to_ms(schedule.due),
        schedule.last,
    )


def schedule_of(row: Sequence[Any]) -> StoredSchedule:
    """Return the schedule of a row of `SCHEDULE_COLUMNS`."""
    name, definition, planned, due, last = row
    found = msgspec.msgpack.decode(definition, type=Definition)
    return StoredSchedule(
        name,
        found.cron,
        found.zone,
        found.jitter_s,
        found.job,
        from_ms(planned),
        from_ms(due),
        last,
    )


def failure_value(failure: JobFailure | None) -> bytes | None:
    """Return a failure as it is kept."""
    return None if failure is None else msgspec.json.encode(failure)


def _ms_or_none(at: datetime | None) -> int | None:
    return None if at is None else to_ms(at)


def _time_or_none(at: int | None) -> datetime | None:
    return None if at is None else from_ms(at)
