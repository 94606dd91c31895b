"""The audit trail in SQLite: gathered for a moment, written in one commit, bounded in rows."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Iterable
from datetime import UTC, datetime

import apsw
import msgspec

from covey.engines.sqlite.database import Database
from covey.errors import CoveyError, InvalidRequestError, LockedError
from covey.operations.audit import AuditEntry
from covey.operations.page import Page

_FLUSH_S = 0.1
_RETRY_S = 5.0
_COLUMNS = ", ".join(AuditEntry.__struct_fields__)
_PLACES = ", ".join("?" * (1 + len(AuditEntry.__struct_fields__)))
_INSERT = f"INSERT INTO audit (no, {_COLUMNS}) VALUES ({_PLACES})"  # noqa: S608 - own columns
_TRIM = "DELETE FROM audit WHERE no <= (SELECT max(no) FROM audit) - ?"
_SELECT = f"SELECT no, {_COLUMNS} FROM audit WHERE no < ?"  # noqa: S608 - own columns

_log = logging.getLogger("covey.audit")


class AuditFilter(msgspec.Struct, frozen=True):
    """Which entries are asked for."""

    operation: str | None = None
    caller: str | None = None
    since: str | None = None

    def admits(self, entry: AuditEntry) -> bool:
        """Whether an entry is asked for."""
        return (
            (self.operation is None or _is_of(entry.operation, self.operation))
            and (self.caller is None or entry.caller == self.caller)
            and (self.since is None or entry.at >= self.since)
        )


class SqliteAudit:
    """Implements `AuditSink` and `AuditTrail`, over locking and unlocking.

    While no database is attached entries wait in memory, at most `waiting`; the oldest go first.
    The trail keeps the newest `rows` entries. For use in one event loop.
    """

    def __init__(self, *, rows: int = 100_000, waiting: int = 10_000) -> None:
        self._rows = rows
        self._waiting: deque[tuple[int, AuditEntry]] = deque()
        self._most_waiting = waiting
        self._lost = 0
        self._next = 1
        self._database: Database | None = None
        self._flush: asyncio.Task[None] | None = None

    def record(self, entry: AuditEntry) -> None:
        """Append one entry: durable within about a tenth of a second."""
        if len(self._waiting) >= self._most_waiting:
            self._waiting.popleft()
            self._lost += 1
        self._waiting.append((self._next, entry))
        self._next += 1
        self._schedule()

    def attach(self, database: Database) -> None:
        """Write to this database from now on, first what waits; raises `StorageError`."""
        newest = database.query("SELECT seq FROM sqlite_sequence WHERE name = 'audit'")
        start = int(newest[0][0]) + 1 if newest else 1
        entries = [entry for _, entry in self._waiting]
        self._waiting = deque(enumerate(entries, start))
        self._next = start + len(entries)
        self._database = database
        self._schedule()

    async def detach(self) -> None:
        """Write what waits and let the database go, before it is closed."""
        if self._flush is not None:
            self._flush.cancel()
            await asyncio.gather(self._flush, return_exceptions=True)
            self._flush = None
        try:
            await self._write()
        except CoveyError as error:
            _log.warning("%d audit entries could not be written: %s", len(self._waiting), error)
        self._database = None

    def query(
        self,
        *,
        operation: str | None = None,
        caller: str | None = None,
        since: str | None = None,
        cursor: str | None = None,
        limit: int = 100,
    ) -> Page[AuditEntry]:
        """Return one page, newest first; raises `LockedError` while no database is attached."""
        if self._database is None:
            raise LockedError(
                "The audit trail is closed: this node is locked.", hint="Run: covey unlock"
            )
        wanted = AuditFilter(operation, caller, _utc(since) if since is not None else None)
        before = _number(cursor) if cursor is not None else self._next
        waiting = [
            (number, entry)
            for number, entry in reversed(self._waiting)
            if number < before and wanted.admits(entry)
        ][: limit + 1]
        first_waiting = self._waiting[0][0] if self._waiting else self._next
        stored = _stored(self._database, wanted, min(before, first_waiting), limit + 1)
        found = [*waiting, *stored][: limit + 1]
        more = len(found) > limit
        items = [entry for _, entry in found[:limit]]
        return Page(items, str(found[limit - 1][0]) if more else None)

    def _schedule(self) -> None:
        if self._database is not None and self._flush is None and self._waiting:
            self._flush = asyncio.get_running_loop().create_task(self._flush_soon())

    async def _flush_soon(self) -> None:
        delay = _FLUSH_S
        try:
            while self._waiting:
                await asyncio.sleep(delay)
                try:
                    await self._write()
                    delay = _FLUSH_S
                except CoveyError as error:
                    _log.warning("the audit trail cannot be written now: %s", error)
                    delay = _RETRY_S
        finally:
            self._flush = None

    async def _write(self) -> None:
        database, rows = self._database, list(self._waiting)
        if database is None or not rows:
            return
        # The commit goes through even when this task is cancelled.
        writing = asyncio.ensure_future(database.write(lambda at: self._insert(at, rows)))
        try:
            await asyncio.shield(writing)
        finally:
            if not writing.done():
                await asyncio.wait([writing])
            if writing.done() and not writing.cancelled() and writing.exception() is None:
                self._written(rows[-1][0])

    def _written(self, last: int) -> None:
        while self._waiting and self._waiting[0][0] <= last:
            self._waiting.popleft()
        if self._lost:
            _log.warning("%d audit entries were lost while the node was locked", self._lost)
            self._lost = 0

    def _insert(self, connection: apsw.Connection, rows: list[tuple[int, AuditEntry]]) -> None:
        values = ((number, *msgspec.structs.astuple(entry)) for number, entry in rows)
        connection.executemany(_INSERT, values)
        connection.execute(_TRIM, (self._rows,))


def _stored(
    database: Database, wanted: AuditFilter, before: int, limit: int
) -> Iterable[tuple[int, AuditEntry]]:
    sql = _SELECT
    bound: list[object] = [before]
    if wanted.operation is not None:
        if wanted.operation.endswith("."):
            sql += " AND substr(operation, 1, ?) = ?"
            bound += [len(wanted.operation), wanted.operation]
        else:
            sql += " AND operation = ?"
            bound.append(wanted.operation)
    if wanted.caller is not None:
        sql += " AND caller = ?"
        bound.append(wanted.caller)
    if wanted.since is not None:
        sql += " AND at >= ?"
        bound.append(wanted.since)
    rows = database.query(f"{sql} ORDER BY no DESC LIMIT ?", (*bound, limit))
    return [(number, AuditEntry(*values)) for number, *values in rows]


def _is_of(operation: str, wanted: str) -> bool:
    return operation.startswith(wanted) if wanted.endswith(".") else operation == wanted


def _utc(since: str) -> str:
    """Return a time in the form that the trail is written in."""
    try:
        at = datetime.fromisoformat(since)
    except ValueError:
        raise InvalidRequestError(
            f"{since!r} is not a time.", hint="write it like 2026-01-31T12:00:00Z or 2026-01-31"
        ) from None
    at = at.astimezone(UTC) if at.tzinfo is not None else at.replace(tzinfo=UTC)
    return at.isoformat(timespec="milliseconds")


def _number(cursor: str) -> int:
    if not cursor.isdecimal() or len(cursor) > len(str(1 << 62)):
        raise InvalidRequestError(
            "The cursor is not one of this list.", hint="use next_cursor of the page before"
        )
    return int(cursor)
