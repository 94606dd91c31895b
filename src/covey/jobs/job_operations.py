"""The operations on jobs: list, show, follow, cancel, run again, remove; and their schedules.

A job's title, subject and log tell of builds and commands, so reading needs the role of those who
deploy. A job belongs to whatever started it, an app or the node itself, so ending it, repeating it
and forgetting it are the operator's; the domains let their own users end their own work.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import datetime, timedelta
from typing import Annotated

import msgspec
from msgspec import Meta

from covey.jobs.engine import JobEngine
from covey.jobs.model import Job, JobId, JobState, LogLine
from covey.jobs.rows import wall_clock
from covey.operations.access import Role
from covey.operations.context import Context
from covey.operations.page import Limit, Page
from covey.operations.registry import Effect, operation
from covey.settings import parse_duration

_Cursor = Annotated[
    str,
    Meta(
        pattern=r"^[a-z2-7]{4,32}$", description="Go on from here: next_cursor of the page before."
    ),
]


class ScheduledJob(msgspec.Struct, frozen=True):
    """A schedule: what it starts, and when the next time is. `jitter_seconds` is the most delay."""

    name: str
    cron: str
    zone: str
    next: datetime
    title: str
    kind: str
    subject: str
    jitter_seconds: float
    last_job: str | None


class Pruned(msgspec.Struct, frozen=True):
    """How many jobs were removed."""

    removed: int


@operation(
    "jobs.list",
    access=Role.DEVELOPER,
    effect=Effect.READ,
    http="GET /api/v1/jobs",
    examples=("jobs list", "jobs list --state running", "jobs list --subject app/shop"),
)
async def list_jobs(
    ctx: Context,
    *,
    state: Annotated[
        list[JobState], Meta(description="Only in this state; may be given again.")
    ] = [],  # noqa: B006 - msgspec copies an empty default
    kind: Annotated[str | None, Meta(description="Only of this kind.")] = None,
    subject: Annotated[str | None, Meta(description="Only about this: app/shop.")] = None,
    cursor: _Cursor | None = None,
    limit: Limit = 100,
) -> Page[Job]:
    """List what takes long, the newest first: deployments, builds, scheduled commands."""
    found = ctx.service(JobEngine).find(
        states=frozenset(state), kind=kind, subject=subject, before=cursor, limit=limit + 1
    )
    items = found[:limit]
    return Page(items, items[-1].id if len(found) > limit else None)


@operation(
    "jobs.show",
    access=Role.DEVELOPER,
    effect=Effect.READ,
    http="GET /api/v1/jobs/{job}",
    examples=("jobs show 52ohg4x2mt", "jobs show 52oh"),
)
async def show(ctx: Context, job: JobId) -> Job:
    """Show one job with its steps."""
    return ctx.service(JobEngine).get(job)


@operation(
    "jobs.logs",
    access=Role.DEVELOPER,
    effect=Effect.READ,
    http="GET /api/v1/jobs/{job}/logs",
    examples=("jobs logs 52oh", "jobs logs 52oh --follow"),
)
async def logs(
    ctx: Context,
    job: JobId,
    *,
    after: Annotated[int, Meta(ge=0, description="Leave out the lines up to this number.")] = 0,
    follow: Annotated[bool, Meta(description="Go on until the job has ended.")] = False,
) -> AsyncIterator[LogLine]:
    """Show what a job says, step by step.

    Of a very long log the middle is left out. After a lost connection, go on after the number of
    the last line: nothing is lost or doubled.
    """
    async with aclosing(ctx.service(JobEngine).logs(job, after=after, follow=follow)) as lines:
        async for line in lines:
            yield line


@operation(
    "jobs.watch",
    access=Role.DEVELOPER,
    effect=Effect.READ,
    http="GET /api/v1/jobs/{job}/watch",
    examples=("jobs watch 52oh",),
)
async def watch(ctx: Context, job: JobId) -> AsyncIterator[Job]:
    """Show a job now and whenever it gets on, until it has ended."""
    async with aclosing(ctx.service(JobEngine).watch(job)) as states:
        async for state in states:
            yield state


@operation(
    "jobs.cancel",
    access=Role.OPERATOR,
    effect=Effect.CHANGE,
    http="POST /api/v1/jobs/{job}/cancel",
    examples=("jobs cancel 52oh",),
)
async def cancel(ctx: Context, job: JobId) -> Job:
    """End a job: one that runs cleans up first, for which this waits a while."""
    return await ctx.service(JobEngine).cancel(job)


@operation(
    "jobs.retry",
    access=Role.OPERATOR,
    effect=Effect.CHANGE,
    http="POST /api/v1/jobs/{job}/retry",
    examples=("jobs retry 52oh",),
)
async def retry(ctx: Context, job: JobId) -> Job:
    """Run a job that failed or was cancelled once more, from the step that it had reached."""
    return await ctx.service(JobEngine).retry(job)


@operation(
    "jobs.prune",
    access=Role.OPERATOR,
    effect=Effect.DESTROY,
    http="POST /api/v1/jobs:prune",
    examples=("jobs prune", "jobs prune --older-than 1h"),
)
async def prune(
    ctx: Context,
    *,
    older_than: Annotated[
        str,
        Meta(pattern=r"^[0-9]{1,5}[smhdw]$", description="Only what ended longer ago than this."),
    ] = "1d",
) -> Pruned:
    """Remove jobs that have ended, with their logs; jobs.keep_days does it by itself."""
    before = wall_clock() - timedelta(seconds=parse_duration(older_than))
    return Pruned(await ctx.service(JobEngine).prune(before))


@operation(
    "jobs.schedules",
    access=Role.DEVELOPER,
    effect=Effect.READ,
    http="GET /api/v1/jobs:schedules",
    examples=("jobs schedules",),
)
async def schedules(
    ctx: Context,
    *,
    prefix: Annotated[str, Meta(description="Only those whose name begins so.")] = "",
) -> list[ScheduledJob]:
    """List what is started again and again, and when next."""
    return [
        ScheduledJob(
            name=item.name,
            cron=item.cron,
            zone=item.zone,
            next=item.due,
            title=item.job.title,
            kind=item.job.kind,
            subject=item.job.subject,
            jitter_seconds=item.jitter_s,
            last_job=item.last,
        )
        for item in ctx.service(JobEngine).stored_schedules(prefix)
    ]
