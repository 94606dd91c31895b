"""The operations on the audit trail."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated

import msgspec

from covey.errors import InvalidRequestError
from covey.fleet.audit import AuditQuery, AuditRecord, AuditTrail
from covey.operations.access import Role
from covey.operations.context import Context
from covey.operations.page import Limit, Page
from covey.operations.registry import Effect, operation
from covey.settings import parse_duration

_Number = Annotated[
    str,
    msgspec.Meta(
        pattern="^[0-9]{1,18}$", description="Go on from here: next_cursor of the page before."
    ),
]


class Trail:
    """The service that holds this node's audit trail."""

    def __init__(self, trail: AuditTrail) -> None:
        self.find = trail.find


@operation(
    "audit.list",
    access=Role.ADMIN,
    effect=Effect.READ,
    http="GET /api/v1/audit",
    examples=("audit", "audit --since 24h --outcome refused", "audit --operation 'env.*' --json"),
)
async def list_audit(
    ctx: Context,
    *,
    operation: Annotated[
        str,
        msgspec.Meta(
            pattern="^[a-z0-9_.*-]{1,64}$",
            description="Only this operation, or a pattern such as env.*",
        ),
    ]
    | None = None,
    caller: Annotated[str | None, msgspec.Meta(description="Only this caller.")] = None,
    outcome: Annotated[
        str | None, msgspec.Meta(description="Only this outcome: ok, or an error's code.")
    ] = None,
    since: Annotated[
        str,
        msgspec.Meta(
            pattern="^([0-9]{1,5}[smhdw]|[0-9]{4}-[0-9]{2}-[0-9]{2}([T ].{1,40})?)$",
            description="Only after this: a duration such as 24h, or a date and time.",
        ),
    ]
    | None = None,
    cursor: _Number | None = None,
    limit: Limit = 100,
) -> Page[AuditRecord]:
    """Show who did what on this node, newest first.

    Every change, every revealed secret and every refusal is kept, never a secret's value.
    """
    query = AuditQuery(
        operation=operation,
        caller=caller,
        outcome=outcome,
        since=None if since is None else moment(since, datetime.now(UTC)),
        before=None if cursor is None else int(cursor),
        limit=limit + 1,
    )
    found = ctx.service(Trail).find(query)
    items = found[:limit]
    return Page(items, str(items[-1].number) if len(found) > limit else None)


def moment(text: str, now: datetime) -> str:
    """Read a duration before `now`, or a date and time (UTC unless it says otherwise).

    Returns it as audit entries write it; raises `InvalidRequestError`.
    """
    try:
        found = now - timedelta(seconds=parse_duration(text))
    except (ValueError, OverflowError):
        try:
            found = datetime.fromisoformat(text)
        except ValueError as error:
            raise InvalidRequestError(
                f"{text!r} is neither a duration nor a date.",
                hint="For example: --since 24h, or --since 2026-01-31",
            ) from error
    if found.tzinfo is None:
        found = found.replace(tzinfo=UTC)
    try:
        return found.astimezone(UTC).isoformat(timespec="milliseconds")
    except OverflowError as error:
        raise InvalidRequestError(f"{text!r} is too long ago to be a date.") from error
