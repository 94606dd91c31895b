"""The logs and the fold over them in SQLite."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

import apsw

from covey.engines.sqlite.database import Database
from covey.engines.sqlite.log_writer import SqliteLogWriter, leaf_of, read_leaves
from covey.engines.sqlite.rows import ENTRY_COLUMNS, LogLabels, entry_id
from covey.engines.sqlite.schema import SEQ_BITS
from covey.errors import StorageError
from covey.store.api import NodeId
from covey.store.clock import MAX_HLC
from covey.store.entry import Entry
from covey.store.ports import ChainHead, Leaf, LogWriter, Quarantined

T = TypeVar("T")

_SCAN_ROWS = 256
_ENTRY = f"SELECT {ENTRY_COLUMNS} FROM entry"  # noqa: S608 - the columns are this package's
_E_COLUMNS = ", ".join(f"e.{name.strip()}" for name in ENTRY_COLUMNS.split(","))
_READ = f"{_ENTRY} WHERE id > ? AND id <= ? ORDER BY id LIMIT ?"
_BY_GENERATION = f"""
{_ENTRY} WHERE generation = ? AND payload IS NOT NULL AND id > ? ORDER BY id LIMIT ?
"""
_COUNT_PAYLOADS = "SELECT count(*) FROM entry WHERE generation = ? AND payload IS NOT NULL"
_VERSIONS = f"""
SELECT {_E_COLUMNS} FROM entry e JOIN (
  SELECT l.entry FROM key k JOIN leaf l ON l.key = k.id WHERE k.collection = ?1 AND k.name = ?2
  UNION ALL
  SELECT p.entry FROM key k JOIN past p ON p.key = k.id WHERE k.collection = ?1 AND k.name = ?2
) v ON v.entry = e.id
"""  # noqa: S608 - the columns are this package's
_SUPERSEDED = f"""
SELECT {_E_COLUMNS} FROM past p JOIN entry e ON e.id = p.entry
WHERE p.compacted = 0 AND p.entry > ? ORDER BY p.entry LIMIT ?
"""  # noqa: S608 - the columns are this package's
_HELD = f"""
SELECT {_E_COLUMNS} FROM held h CROSS JOIN entry e ON e.id = h.entry
WHERE h.hlc <= ? ORDER BY h.entry
"""  # noqa: S608 - the columns are this package's
_SCAN = f"""
SELECT k.name, l.entry, l.hlc, l.context, l.value
FROM (SELECT id, name FROM key WHERE collection = ? AND name >= ? AND name < ?
      ORDER BY name LIMIT {_SCAN_ROWS}) k
LEFT JOIN leaf l ON l.key = k.id ORDER BY k.name
"""  # noqa: S608 - a number
_CONTESTED = """
SELECT DISTINCT k.name FROM leaf l CROSS JOIN key k ON k.id = l.key
WHERE l.contested = 1 AND k.collection = ? ORDER BY k.name
"""


class SqliteLogStorage:
    """Implements `LogStorage` on an open database."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._labels = LogLabels()
        self._open: SqliteLogWriter | None = None
        self._load_labels()

    async def commit(self, work: Callable[[LogWriter], T]) -> T:
        """Run `work` in a transaction in the writer thread; returns after the durable commit."""

        def in_transaction(_: apsw.Connection) -> T:
            with self.transaction() as writer:
                return work(writer)

        return await self._database.run(in_transaction)

    @contextmanager
    def transaction(self) -> Iterator[LogWriter]:
        """Begin a transaction, in the writer thread only."""
        try:
            with self._database.transaction() as connection:
                writer = self._open = SqliteLogWriter(connection, self._labels)
                yield writer
                writer.flush()
        except BaseException:
            with suppress(StorageError):
                self._load_labels()
            raise
        finally:
            self._open = None

    def heads(self) -> dict[NodeId, ChainHead]:
        """Return how far each origin's log is held."""
        rows: list[tuple[str, int, bytes]] = self._query(
            "SELECT origin, seq, chain FROM log WHERE chain IS NOT NULL"
        )
        return {NodeId(origin): ChainHead(seq, chain) for origin, seq, chain in rows}

    def read(self, origin: NodeId, after: int, limit: int) -> list[Entry]:
        """Return entries of one origin in order, from `after` + 1."""
        log = self._labels.logs.find(origin)
        if log is None:
            return []
        bounds = (entry_id(log, after), ((log + 1) << SEQ_BITS) - 1, limit)
        return [self._labels.entry(row) for row in self._query(_READ, bounds)]

    def versions(self, collection: str, key: str) -> list[Entry]:
        """Return all entries that are known to be versions of a key."""
        number = self._labels.collections.find(collection)
        if number is None:
            return []
        rows = self._query(_VERSIONS, (number, key))
        return [self._labels.entry(row) for row in rows]

    def read_by_generation(
        self, generation: bytes, after: tuple[NodeId, int] | None, limit: int
    ) -> list[Entry]:
        """Return entries with a payload sealed under a generation, log by log."""
        number = self._labels.generations.find(generation)
        if number is None:
            return []
        start = 0
        if after is not None and (log := self._labels.logs.find(after[0])) is not None:
            start = entry_id(log, after[1])
        rows = self._query(_BY_GENERATION, (number, start, limit))
        return [self._labels.entry(row) for row in rows]

    def payloads_outside(self, generations: Collection[bytes]) -> int:
        """Return how many entries have a payload sealed under a generation other than these."""
        held = {self._labels.generations.find(each) for each in generations}
        others = [number for number in self._labels.generations.numbers() if number not in held]
        return sum(int(self._query(_COUNT_PAYLOADS, (number,))[0][0]) for number in others)

    def superseded(self, before_hlc: int, cursor: int, rows: int) -> tuple[list[Entry], int | None]:
        """Look through `rows` versions that are not current and whose payload is held."""
        found = self._query(_SUPERSEDED, (cursor, rows))
        entries = [self._labels.entry(row) for row in found]
        old = [each for each in entries if each.hlc < before_hlc and each.payload is not None]
        return old, int(found[-1][0]) if len(found) == rows else None

    def held(self, up_to_hlc: int | None = None) -> list[Entry]:
        """Return the entries kept out of the fold by `hold`."""
        rows = self._query(_HELD, (MAX_HLC if up_to_hlc is None else up_to_hlc,))
        return [self._labels.entry(row) for row in rows]

    def leaves(self, collection: str, key: str) -> list[Leaf]:
        """Return the current versions of one key."""
        if self._open is not None and self._database.in_writer_thread:
            return self._open.leaves(collection, key)
        return read_leaves(self._database, self._labels, collection, key)

    def leaves_of(self, collection: str, keys: Sequence[str]) -> dict[str, list[Leaf]]:
        """Return the current versions of many keys."""
        if self._open is not None and self._database.in_writer_thread:
            return self._open.leaves_of(collection, keys)
        return {key: self.leaves(collection, key) for key in keys}

    def scan_leaves(self, collection: str, prefix: str) -> Iterator[Leaf]:
        """Yield current versions whose key starts with `prefix`, in key order.

        Reads a few hundred keys at a time: no statement stays open between two of them.
        """
        number = self._labels.collections.find(collection)
        if number is None:
            return
        start, end = prefix, _after_prefix(prefix)
        while True:
            rows = self._query(_SCAN, (number, start, end))
            for name, entry, hlc, context, value in rows:
                if entry is not None:
                    yield leaf_of(self._labels, collection, name, (entry, hlc, context, value))
            if len(rows) < _SCAN_ROWS:
                return
            start = rows[-1][0] + "\0"

    def contested(self, collection: str) -> list[str]:
        """Return the keys with more than one current version, in order."""
        number = self._labels.collections.find(collection)
        if number is None:
            return []
        return [name for (name,) in self._query(_CONTESTED, (number,))]

    def quarantined(self) -> list[Quarantined]:
        """Return all entries set aside."""
        rows: list[tuple[int, str, bytes]] = self._query(
            "SELECT entry, reason, frame FROM quarantine ORDER BY entry"
        )
        places = [self._labels.place(number) for number, _, _ in rows]
        return [
            Quarantined(*place, reason, frame)
            for place, (_, reason, frame) in zip(places, rows, strict=True)
        ]

    def _query(self, sql: str, values: tuple[object, ...] = ()) -> list[Any]:
        if self._open is not None and self._database.in_writer_thread:
            self._open.flush()
        return self._database.query(sql, values)

    def _load_labels(self) -> None:
        for labels in (self._labels.logs, self._labels.collections, self._labels.generations):
            labels.load(self._database)


def _after_prefix(prefix: str) -> str | bytes:
    """Return what sorts just after all names with a prefix (by code point, as SQLite does)."""
    stem = prefix.rstrip("\U0010ffff")
    if not stem:
        return b""  # any blob sorts after all text
    last = ord(stem[-1]) + 1
    surrogates = range(0xD800, 0xE000)
    return stem[:-1] + chr(surrogates.stop if last in surrogates else last)
