"""The audit trail in SQLite: gathered for a moment, written in one commit, bounded in rows."""

from __future__ import annotations

import asyncio
import logging
from collections import deque

import apsw
import msgspec

from covey.engines.sqlite.database import Database
from covey.errors import CoveyError, LockedError
from covey.fleet.audit import AuditQuery, AuditRecord, matches
from covey.operations.audit import AuditEntry

_FLUSH_S = 0.1
_RETRY_S = 5.0
_COLUMNS = ", ".join(AuditEntry.__struct_fields__)
_PLACES = ", ".join("?" * (1 + len(AuditEntry.__struct_fields__)))
_INSERT = f"INSERT INTO audit (no, {_COLUMNS}) VALUES ({_PLACES})"  # noqa: S608 - own columns
_TRIM = "DELETE FROM audit WHERE no <= (SELECT max(no) FROM audit) - ?"
_SELECT = f"SELECT no, {_COLUMNS} FROM audit WHERE no < ?"  # noqa: S608 - own columns

_log = logging.getLogger("covey.audit")


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

    def find(self, query: AuditQuery) -> list[AuditRecord]:
        """Return what matches, newest first; raises `LockedError` while nothing is attached."""
        if self._database is None:
            raise LockedError(
                "The audit trail is closed: this node is locked.", hint="Run: covey unlock"
            )
        fresh = (AuditRecord.of(number, entry) for number, entry in reversed(self._waiting))
        waiting = [record for record in fresh if matches(record, query)][: query.limit]
        first_waiting = self._waiting[0][0] if self._waiting else self._next
        before = first_waiting if query.before is None else min(query.before, first_waiting)
        return [*waiting, *_stored(self._database, query, before)][: query.limit]

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


def _stored(database: Database, query: AuditQuery, before: int) -> list[AuditRecord]:
    sql = _SELECT
    bound: list[object] = [before]
    for condition, value in (
        ("operation GLOB ?", query.operation),
        ("caller = ?", query.caller),
        ("outcome = ?", query.outcome),
        ("at >= ?", query.since),
    ):
        if value is not None:
            sql += f" AND {condition}"
            bound.append(value)
    rows = database.query(f"{sql} ORDER BY no DESC LIMIT ?", (*bound, query.limit))
    return [AuditRecord(*values) for values in rows]
