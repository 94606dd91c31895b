"""The durable queue of jobs in SQLite: claimed by `UPDATE … RETURNING` in the writer thread."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

import apsw

from covey.engines.sqlite.batches import Batches
from covey.engines.sqlite.database import Database, fetch, fetch_one
from covey.engines.sqlite.job_rows import (
    JOB_COLUMNS,
    JOB_PLACES,
    SCHEDULE_COLUMNS,
    STEP_COLUMNS,
    failure_value,
    job_of,
    job_values,
    schedule_of,
    schedule_values,
    step_of,
    step_values,
    to_ms,
)
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

# ruff: noqa: S608 - the columns are this package's own

_INSERT = f"INSERT INTO job ({JOB_COLUMNS}) VALUES ({JOB_PLACES})"
_BY_ID = f"SELECT {JOB_COLUMNS} FROM job WHERE id = ?"
_SAME_WORK = f"""
SELECT {JOB_COLUMNS} FROM job WHERE unique_name = ?1 AND (ended IS NULL AND cancelling = 0
  OR state IN ('succeeded', 'failed') AND ended + unique_for_ms > ?2) AND (key IS NULL
    OR NOT EXISTS (SELECT 1 FROM job AS later WHERE later.key = job.key AND later.ended IS NULL
      AND later.no > job.no) AND (ended IS NULL OR NOT EXISTS (SELECT 1 FROM job AS later
      WHERE later.no > job.no AND later.key = job.key AND later.state IN ('succeeded', 'failed'))))
ORDER BY no DESC LIMIT 1
"""
_SUPERSEDE = """
UPDATE job SET state = 'superseded', ended = ?2, due = NULL
WHERE key = ?1 AND ended IS NULL AND begun = 0 RETURNING id
"""
_PROMOTE = "UPDATE job SET state = 'queued', due = NULL WHERE state = 'scheduled' AND due <= ?"
_MAY_BEGIN = """
SELECT no, begun FROM job AS waiting WHERE state = 'queued'
  AND kind NOT IN (SELECT value FROM json_each(?1)) AND (key IS NULL OR NOT EXISTS (
    SELECT 1 FROM job AS other WHERE other.key = waiting.key AND other.ended IS NULL
      AND other.begun = 1 AND other.no <> waiting.no))
"""
_FIRST = f"{_MAY_BEGIN} ORDER BY priority, no LIMIT 1"
_OLDEST = f"{_MAY_BEGIN} AND priority = ?2 AND created <= ?3 ORDER BY no LIMIT 1"
_HASTEN = """
UPDATE job SET due = ?2 WHERE state = 'scheduled' AND due > ?2 AND kind = ?1 AND attempt > 0
"""
_CLAIM = f"""
UPDATE job SET state = 'running', worker = ?2, attempt = attempt + (begun = 0), begun = 1,
  started = coalesce(started, ?3) WHERE no = ?1 RETURNING {JOB_COLUMNS}
"""
_RECORD = f"""
INSERT INTO job_step (job, {STEP_COLUMNS}) SELECT no, ?, ?, ?, ?, ?, ? FROM job WHERE id = ?
ON CONFLICT (job, name) DO UPDATE SET state = excluded.state, started = excluded.started,
  ended = excluded.ended, attempts = excluded.attempts, result = excluded.result
"""
_GOT_ON = "UPDATE job SET breaks = 0 WHERE id = ? AND worker = ? AND breaks > 0"
_SETTLE = """
UPDATE job SET state = ?2, ended = ?3, due = ?4, failure = ?5, progress = ?6,
  begun = 0, breaks = 0, worker = NULL, cancelling = 0 WHERE id = ?1
"""
_HAND_BACK = "UPDATE job SET state = 'queued', worker = NULL WHERE state = 'running' AND worker = ?"
_FAIL_BROKEN = f"""
UPDATE job SET state = 'failed', ended = ?3, failure = ?4, begun = 0, worker = NULL,
  cancelling = 0 WHERE state = 'running' AND worker <> ?1 AND breaks + 1 >= ?2
RETURNING {JOB_COLUMNS}
"""
_RECOVER = f"""
UPDATE job SET state = 'queued', worker = NULL, breaks = breaks + 1
WHERE state = 'running' AND worker <> ?1 RETURNING {JOB_COLUMNS}
"""
_CANCEL = """
UPDATE job SET cancelling = begun, state = iif(begun, state, 'cancelled'),
  ended = iif(begun, NULL, ?2), due = NULL WHERE id = ?1 AND ended IS NULL
"""
_RETRY = """
UPDATE job SET state = 'queued', ended = NULL, failure = NULL, breaks = 0, progress = NULL,
  max_attempts = max(max_attempts, attempt + 1)
WHERE id = ?1 AND state IN ('failed', 'cancelled') AND NOT EXISTS (SELECT 1 FROM job AS other
  WHERE other.unique_name = job.unique_name AND other.ended IS NULL AND other.no <> job.no)
"""
_PRUNE = """
SELECT no, id FROM job WHERE ended IS NOT NULL AND (ended < ?1 OR no NOT IN (
  SELECT no FROM job WHERE ended IS NOT NULL ORDER BY ended DESC, no DESC LIMIT ?2))
ORDER BY ended, no LIMIT ?3
"""
_BY_PREFIX = f"SELECT {JOB_COLUMNS} FROM job WHERE id >= ?1 AND id < ?2 ORDER BY id LIMIT ?3"
_NEXT_DUE = f"SELECT {JOB_COLUMNS} FROM job WHERE state = 'scheduled' ORDER BY due LIMIT 1"
_STEPS = f"""
SELECT job.id, job_step.{STEP_COLUMNS.replace(", ", ", job_step.")} FROM job
JOIN job_step ON job_step.job = job.no WHERE job.id IN (SELECT value FROM json_each(?))
ORDER BY job_step.no
"""
_SCHEDULES = f"SELECT {SCHEDULE_COLUMNS} FROM job_schedule WHERE substr(name, 1, ?) = ?"
_PUT_SCHEDULE = """
INSERT INTO job_schedule VALUES (?, ?, ?, ?, ?) ON CONFLICT (name) DO UPDATE SET
  definition = excluded.definition, planned = excluded.planned, due = excluded.due
WHERE definition <> excluded.definition
"""
_ADVANCE = "UPDATE job_schedule SET planned = ?2, due = ?3 WHERE name = ?1 RETURNING last"
_LAST = "UPDATE job_schedule SET last = ?2 WHERE name = ?1"


class SqliteJobStorage:
    """Implements `JobStorage` on an open database, which no other process has open."""

    lease_s: float | None = None

    def __init__(self, database: Database) -> None:
        self._database = database
        self._batches = Batches(database)
        self._claimed = 0

    async def enqueue(self, job: StoredJob, *, supersede: bool = False) -> Enqueued:
        """Add a job, or find the same work."""
        return await self._batches.write(lambda at: _enqueue(at, job, supersede=supersede))

    async def claim(
        self, worker: str, limit: int, room: Mapping[str, int], now: datetime
    ) -> list[Claim]:
        """Take the first jobs that may begin."""
        at, old = to_ms(now), to_ms(now - LONG_WAIT)

        def work(connection: apsw.Connection) -> list[Claim]:
            connection.execute(_PROMOTE, (at,))
            left, found = dict(room), list[Claim]()
            while len(found) < limit:
                full = json.dumps([kind for kind, count in left.items() if count <= 0])
                self._claimed += 1
                first = _oldest(connection, full, old) if self._claimed % FAIR_EVERY == 0 else None
                first = first or fetch_one(connection, _FIRST, (full,))
                if first is None:
                    break
                number, begun = first
                job = job_of(fetch(connection, _CLAIM, (number, worker, at))[0])
                left[job.kind] = left.get(job.kind, limit) - 1
                steps = _steps(fetch(connection, _STEPS, (json.dumps([job.id]),)))
                found.append(Claim(job, bool(begun), steps.get(job.id, ())))
            return found

        return await self._batches.write(work)

    async def hasten(self, latest: Mapping[str, datetime]) -> None:
        """Bring attempts after the first forward."""

        def work(connection: apsw.Connection) -> None:
            for kind, due in latest.items():
                connection.execute(_HASTEN, (kind, to_ms(due)))

        await self._batches.write(work)

    async def extend(self, worker: str, now: datetime) -> frozenset[str]:
        """Return the worker's claims, which last as long as its process."""
        rows = self._database.query(
            "SELECT id FROM job WHERE state = 'running' AND worker = ?", (worker,)
        )
        return frozenset(row[0] for row in rows)

    async def record(self, worker: str, job: str, steps: Sequence[StoredStep]) -> bool:
        """Write steps into the journal."""

        def work(connection: apsw.Connection) -> bool:
            if not _holds(connection, worker, job):
                return False
            _record(connection, job, steps)
            connection.execute(_GOT_ON, (job, worker))
            return True

        return await self._batches.write(work)

    async def settle(self, worker: str, job: str, outcome: Outcome) -> bool:
        """End an attempt."""

        def work(connection: apsw.Connection) -> bool:
            if not _holds(connection, worker, job):
                return False
            _record(connection, job, outcome.steps)
            state, due = outcome.state, outcome.due
            if not state.ended and fetch_one(
                connection, "SELECT cancelling FROM job WHERE id = ?", (job,)
            ):
                state, due = JobState.CANCELLED, None
            values = (
                job,
                state.value,
                to_ms(outcome.at) if state.ended else None,
                None if due is None else to_ms(due),
                failure_value(outcome.failure),
                outcome.progress,
            )
            connection.execute(_SETTLE, values)
            return True

        return await self._batches.write(work)

    async def hand_back(self, worker: str) -> None:
        """Queue the worker's jobs again."""
        await self._batches.write(lambda at: at.execute(_HAND_BACK, (worker,)))

    async def recover(
        self, worker: str, now: datetime, *, most_breaks: int, failure: JobFailure
    ) -> list[StoredJob]:
        """Queue again what an earlier process left."""

        def work(connection: apsw.Connection) -> list[StoredJob]:
            values = (worker, most_breaks, to_ms(now), failure_value(failure))
            failed = fetch(connection, _FAIL_BROKEN, values)
            return [job_of(row) for row in failed + fetch(connection, _RECOVER, (worker,))]

        return await self._batches.write(work)

    async def cancel(self, job: str, now: datetime) -> StoredJob | None:
        """End a job that has not begun, or mark one that has."""
        return await self._change(job, _CANCEL, (job, to_ms(now)))

    async def retry(self, job: str) -> StoredJob | None:
        """Queue a failed or cancelled job again."""
        return await self._change(job, _RETRY, (job,))

    async def prune(self, before: datetime, *, keep: int, limit: int) -> list[str]:
        """Remove old jobs with their steps."""

        def work(connection: apsw.Connection) -> list[str]:
            rows = fetch(connection, _PRUNE, (to_ms(before), keep, limit))
            for number, _ in rows:
                connection.execute("DELETE FROM job_step WHERE job = ?", (number,))
                connection.execute("DELETE FROM job WHERE no = ?", (number,))
            return [name for _, name in rows]

        return await self._batches.write(work)

    def get(self, prefix: str, limit: int = 2) -> list[StoredJob]:
        """Return jobs whose id begins so."""
        rows = self._database.query(_BY_PREFIX, (prefix, f"{prefix}\x7f", limit))
        return [job_of(row) for row in rows]

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
        conditions, values = ["TRUE"], list[object]()
        older = "no < (SELECT no FROM job WHERE id = ?)"
        for condition, value in (("kind = ?", kind), ("subject = ?", subject), (older, before)):
            if value is not None:
                conditions.append(condition)
                values.append(value)
        if states:
            conditions.append("state IN (SELECT value FROM json_each(?))")
            values.append(json.dumps(sorted(states)))
        sql = f"SELECT {JOB_COLUMNS} FROM job WHERE {' AND '.join(conditions)}"
        rows = self._database.query(f"{sql} ORDER BY no DESC LIMIT ?", (*values, limit))
        return [job_of(row) for row in rows]

    def steps(self, jobs: Sequence[str]) -> dict[str, tuple[StoredStep, ...]]:
        """Return the steps of jobs."""
        return _steps(self._database.query(_STEPS, (json.dumps(list(jobs)),)))

    def counts(self) -> dict[JobState, int]:
        """Return how many jobs have not ended, from an index for each state."""
        states = [state for state in JobState if not state.ended]
        counts = ", ".join(
            f"(SELECT count(*) FROM job WHERE state = '{state.value}')" for state in states
        )
        return dict(zip(states, self._database.query(f"SELECT {counts}")[0], strict=True))

    def next_due(self) -> datetime | None:
        """Return when the first of the scheduled jobs may begin."""
        rows = self._database.query(_NEXT_DUE)
        return job_of(rows[0]).due if rows else None

    async def put_schedule(self, schedule: StoredSchedule) -> None:
        """Add or replace a schedule."""
        values = schedule_values(schedule)
        await self._batches.write(lambda at: at.execute(_PUT_SCHEDULE, values))

    async def remove_schedule(self, name: str) -> None:
        """Remove a schedule."""
        sql = "DELETE FROM job_schedule WHERE name = ?"
        await self._batches.write(lambda at: at.execute(sql, (name,)))

    def schedules(self, prefix: str = "") -> list[StoredSchedule]:
        """Return the schedules whose name begins so."""
        rows = self._database.query(f"{_SCHEDULES} ORDER BY name", (len(prefix), prefix))
        return [schedule_of(row) for row in rows]

    async def fire(self, schedule: StoredSchedule, job: StoredJob | None) -> Enqueued | None:
        """Advance a schedule and enqueue its job."""
        name = schedule.name

        def work(connection: apsw.Connection) -> Enqueued | None:
            times = (name, to_ms(schedule.planned), to_ms(schedule.due))
            rows = fetch(connection, _ADVANCE, times)
            if not rows or job is None:
                return None
            last = fetch(connection, _BY_ID, (rows[0][0],))
            if last and not job_of(last[0]).state.ended:
                return None
            enqueued = _enqueue(connection, job, supersede=schedule.job.supersede)
            connection.execute(_LAST, (name, enqueued.job.id))
            return enqueued

        return await self._batches.write(work)

    async def _change(self, job: str, sql: str, values: tuple[object, ...]) -> StoredJob | None:
        def work(connection: apsw.Connection) -> StoredJob | None:
            connection.execute(sql, values)
            rows = fetch(connection, _BY_ID, (job,))
            return job_of(rows[0]) if rows else None

        return await self._batches.write(work)


def _oldest(connection: apsw.Connection, full: str, created: int) -> Sequence[Any] | None:
    """Return which job that may begin has waited longest, of those made before a time."""
    found = [
        row for rank in RANKS.values() for row in fetch(connection, _OLDEST, (full, rank, created))
    ]
    return min(found, default=None)


def _enqueue(connection: apsw.Connection, job: StoredJob, *, supersede: bool) -> Enqueued:
    now = to_ms(job.created)
    if job.unique is not None and (rows := fetch(connection, _SAME_WORK, (job.unique, now))):
        return Enqueued(job_of(rows[0]), is_new=False)
    superseded: list[Any] = []
    if supersede and job.key is not None:
        superseded = fetch(connection, _SUPERSEDE, (job.key, now))
    connection.execute(_INSERT, job_values(job))
    return Enqueued(job, superseded=tuple(sorted(row[0] for row in superseded)))


def _record(connection: apsw.Connection, job: str, steps: Sequence[StoredStep]) -> None:
    for step in steps:
        connection.execute(_RECORD, (*step_values(step), job))


def _holds(connection: apsw.Connection, worker: str, job: str) -> bool:
    sql = "SELECT 1 FROM job WHERE id = ? AND state = 'running' AND worker = ?"
    return fetch_one(connection, sql, (job, worker)) is not None


def _steps(rows: Sequence[Sequence[Any]]) -> dict[str, tuple[StoredStep, ...]]:
    found: dict[str, tuple[StoredStep, ...]] = {}
    for job, *row in rows:
        found[job] = (*found.get(job, ()), step_of(row))
    return found
