from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from covey.engines.sqlite.audit_storage import SqliteAudit
from covey.errors import LockedError
from covey.fleet.audit import AuditQuery, AuditTrail
from covey.operations.audit import AuditEntry
from tests.engines.sqlite_home import SqliteHome


def made(number: int, operation: str = "env.set", caller: str = "ada") -> AuditEntry:
    at = f"2026-01-{1 + number // 1000:02}T10:00:00.{number % 1000:03}+00:00"
    return AuditEntry(at, caller, "user", "admin", "local", operation, f"T{number}", "ok", "r")


def targets(trail: AuditTrail, **wanted: Any) -> list[str]:
    return [each.target for each in trail.find(AuditQuery(**wanted))]


@pytest.fixture
def home(tmp_path: Path):
    home = SqliteHome(tmp_path / "covey.db")
    yield home
    home.close()


async def until_written(home: SqliteHome, count: int) -> None:
    async with asyncio.timeout(10):
        while home.database.query("SELECT count(*) FROM audit") != [(count,)]:
            await asyncio.sleep(0.01)


def test_entries_are_seen_at_once_and_written_soon(home: SqliteHome):
    async def main() -> None:
        audit = SqliteAudit()
        audit.attach(home.database)
        for number in range(3):
            audit.record(made(number))
        assert targets(audit) == ["T2", "T1", "T0"]
        await until_written(home, 3)
        audit.record(made(3))
        assert targets(audit) == ["T3", "T2", "T1", "T0"]
        await audit.detach()

    asyncio.run(main())
    assert home.database.query("SELECT target FROM audit ORDER BY no") == [
        ("T0",), ("T1",), ("T2",), ("T3",),
    ]  # fmt: skip


def test_pages_go_back_through_memory_and_disk_without_gap(home: SqliteHome):
    async def main() -> None:
        audit = SqliteAudit()
        audit.attach(home.database)
        for number in range(7):
            audit.record(made(number))
        await until_written(home, 7)
        for number in range(7, 12):
            audit.record(made(number))
        found: list[str] = []
        before: int | None = None
        while page := audit.find(AuditQuery(before=before, limit=4)):
            found += [each.target for each in page]
            # What comes in between belongs to no later page.
            audit.record(made(100))
            before = page[-1].number
        assert found == [f"T{number}" for number in range(11, -1, -1)]
        await audit.detach()

    asyncio.run(main())


@pytest.mark.parametrize("flushed", [True, False])
def test_filters(home: SqliteHome, flushed: bool):
    async def main() -> None:
        audit = SqliteAudit()
        audit.attach(home.database)
        audit.record(made(0, "env.set", "ada"))
        audit.record(made(1, "env.unset", "bob"))
        audit.record(made(1000, "environment.set", "ada"))
        audit.record(made(2000, "env.set", "bob"))
        if flushed:
            await until_written(home, 4)
        assert targets(audit, operation="env.set") == ["T2000", "T0"]
        assert targets(audit, operation="env.*") == ["T2000", "T1", "T0"]
        assert targets(audit, operation="env.%") == []
        assert targets(audit, caller="ada") == ["T1000", "T0"]
        assert targets(audit, outcome="refused") == []
        assert targets(audit, since="2026-01-02T10:00:00.000+00:00") == ["T2000", "T1000"]
        assert targets(audit, since="2026-01-02T10:00:01.000+00:00", caller="bob") == ["T2000"]
        await audit.detach()

    asyncio.run(main())


def test_a_locked_node_keeps_entries_for_later(home: SqliteHome):
    async def main() -> None:
        audit = SqliteAudit(waiting=5)
        for number in range(8):
            audit.record(made(number))
        with pytest.raises(LockedError):
            audit.find(AuditQuery())
        audit.attach(home.database)
        assert targets(audit) == ["T7", "T6", "T5", "T4", "T3"]
        await audit.detach()
        audit.record(made(9))
        audit.attach(home.database)
        assert targets(audit) == ["T9", "T7", "T6", "T5", "T4", "T3"]
        await audit.detach()

    asyncio.run(main())


def test_only_the_newest_rows_stay(home: SqliteHome):
    async def main() -> None:
        audit = SqliteAudit(rows=10)
        audit.attach(home.database)
        for start in range(0, 50, 5):
            for number in range(start, start + 5):
                audit.record(made(number))
            await audit.detach()
            audit.attach(home.database)
        assert targets(audit) == [f"T{number}" for number in range(49, 39, -1)]
        await audit.detach()

    asyncio.run(main())


def test_entries_wait_while_the_disk_is_full(home: SqliteHome):
    async def main() -> None:
        audit = SqliteAudit()
        audit.attach(home.database)
        home.database.prepare(lambda writer: writer.pragma("max_page_count", 1))
        for number in range(500):
            audit.record(made(number))
        await audit.detach()
        assert home.database.query("SELECT count(*) FROM audit") == [(0,)]
        home.database.prepare(lambda writer: writer.pragma("max_page_count", 1 << 30))
        audit.attach(home.database)
        await audit.detach()
        assert home.database.query("SELECT count(*) FROM audit") == [(500,)]

    asyncio.run(main())
