from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest

from covey.errors import InvalidRequestError
from covey.fleet.audit import AuditQuery, AuditRecord, matches
from covey.fleet.audit_operations import Trail, list_audit, moment
from covey.operations.access import Caller, CallerKind, Role
from covey.operations.context import Context, Services
from covey.operations.page import Page

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)


class MemoryTrail:
    """Finds by the rule that every trail obeys."""

    def __init__(self, count: int) -> None:
        self.records = [
            AuditRecord(
                number=number,
                at=f"2026-01-{number:02}T00:00:00.000+00:00",
                caller="ann" if number % 2 else "bob",
                kind="token",
                role="admin",
                address="192.0.2.1",
                operation="env.set" if number % 3 else "fleet.remove",
                target="NAME",
                outcome="ok" if number % 5 else "refused",
                request_id=f"{number:016x}",
            )
            for number in range(1, count + 1)
        ]

    def find(self, query: AuditQuery) -> list[AuditRecord]:
        found = [item for item in reversed(self.records) if matches(item, query)]
        return found[: query.limit]


def ask(**given: Any) -> Page[AuditRecord]:
    services = Services()
    services.provide(Trail, Trail(MemoryTrail(30)))
    caller = Caller(CallerKind.LOCAL, "owner", Role.ADMIN, "local")
    return asyncio.run(list_audit(Context(caller, services, "0"), **given))


def test_pages_hold_everything_once_newest_first():
    numbers, cursor = [], None
    while True:
        page = ask(cursor=cursor, limit=7)
        numbers += [item.number for item in page.items]
        if page.next_cursor is None:
            break
        cursor = page.next_cursor
    assert numbers == list(range(30, 0, -1))


@pytest.mark.parametrize(
    "given,numbers",
    [
        ({"operation": "fleet.remove"}, {3, 6, 9, 12, 15, 18, 21, 24, 27, 30}),
        ({"operation": "fleet.*", "caller": "bob"}, {6, 12, 18, 24, 30}),
        ({"outcome": "refused"}, {5, 10, 15, 20, 25, 30}),
        ({"since": "2026-01-29"}, {29, 30}),
        ({"since": "2026-01-29T01:00:00+02:00"}, {29, 30}),
        ({"since": "2026-01-29T00:00:01Z"}, {30}),
        ({"operation": "env"}, set()),
    ],
)
def test_filters_narrow_the_list(given: dict[str, str], numbers: set[int]):
    assert {item.number for item in ask(**given).items} == numbers


def test_since_may_be_a_duration():
    assert moment("36h", NOW) == "2026-01-30T00:00:00.000+00:00"
    assert moment("2026-01-30", NOW) == "2026-01-30T00:00:00.000+00:00"


@pytest.mark.parametrize(
    "text", ["", "yesterday", "2026-13-01", "99999999999d", "0001-01-01T00:00+12:00"]
)
def test_a_since_that_is_no_time_is_refused(text: str):
    with pytest.raises(InvalidRequestError):
        moment(text, NOW)
