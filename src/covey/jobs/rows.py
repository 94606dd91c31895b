"""From a new job to what is kept of it, and from that to what users see."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import msgspec

from covey.jobs.api import JobKind, NewJob, RecordedPayload, Schedule
from covey.jobs.model import Job, JobState
from covey.jobs.ports import JobTemplate, StoredJob, StoredSchedule, StoredStep
from covey.jobs.run import Ending, LiveRun, shown

_ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"
_ID_LENGTH = 10


def wall_clock() -> datetime:
    """Return the present time in whole milliseconds, as it is kept."""
    now = datetime.now(UTC)
    return now - timedelta(microseconds=now.microsecond % 1000)


def template_of(job: NewJob) -> JobTemplate:
    """Return what is kept of a job to be made from a schedule."""
    return JobTemplate(
        kind=job.kind,
        payload=_payload(job.payload),
        title=job.title,
        subject=job.subject,
        caller=job.caller,
        priority=job.priority,
        key=job.key,
        supersede=job.supersede,
        unique=job.unique,
        unique_for_ms=round(job.unique_for_s * 1000),
    )


def stored_job(
    template: JobTemplate, kind: JobKind | None, now: datetime, not_before: datetime | None = None
) -> StoredJob:
    """Return a new job with an id of its own; a kind that is unknown now fails when it runs."""
    if not_before is not None:
        not_before = not_before.astimezone(UTC)
    waits = not_before is not None and not_before > now
    return StoredJob(
        id="".join(secrets.choice(_ALPHABET) for _ in range(_ID_LENGTH)),
        kind=template.kind,
        payload=template.payload,
        title=template.title,
        subject=template.subject,
        caller=template.caller,
        priority=template.priority,
        created=now,
        state=JobState.SCHEDULED if waits else JobState.QUEUED,
        key=template.key,
        unique=template.unique,
        unique_for_ms=template.unique_for_ms,
        not_before=not_before,
        due=not_before if waits else None,
        max_attempts=1 if kind is None else kind.retry.attempts,
    )


def view(job: StoredJob, steps: Sequence[StoredStep], live: LiveRun | None) -> Job:
    """Return a job as users see it; `live` knows what is not written down yet."""
    return Job(
        id=job.id,
        kind=job.kind,
        title=job.title,
        subject=job.subject,
        state=job.state,
        priority=job.priority,
        caller=job.caller,
        created=job.created,
        not_before=job.due or job.not_before,
        started=job.started,
        ended=job.ended,
        attempt=job.attempt,
        max_attempts=job.max_attempts,
        progress=job.progress if live is None else live.fraction,
        doing="" if live is None else live.doing,
        cancelling=job.cancelling or (live is not None and live.ending is Ending.CANCEL),
        failure=job.failure,
        steps=live.steps if live is not None else tuple(shown(step) for step in steps),
    )


def schedule_view(stored: StoredSchedule) -> Schedule:
    """Return a schedule as its owner gave it."""
    template = stored.job
    job = NewJob(
        kind=template.kind,
        payload=RecordedPayload(template.payload),
        title=template.title,
        subject=template.subject,
        priority=template.priority,
        key=template.key,
        supersede=template.supersede,
        unique=template.unique,
        unique_for_s=template.unique_for_ms / 1000,
        caller=template.caller,
    )
    return Schedule(stored.name, stored.cron, job, stored.zone, stored.jitter_s)


def _payload(payload: msgspec.Struct) -> bytes:
    return payload.data if isinstance(payload, RecordedPayload) else msgspec.json.encode(payload)
