"""Small numbers in place of what many rows repeat: node ids, collections, generations."""

from __future__ import annotations

from typing import Generic, TypeVar

import apsw

from covey.engines.sqlite.database import Database, fetch_one

T = TypeVar("T", str, bytes)


class Labels(Generic[T]):
    """One table of `(no, label)`, held in memory; numbered on first use, in the writer thread."""

    def __init__(self, table: str, column: str) -> None:
        self._select = f"SELECT no, {column} FROM {table}"  # noqa: S608 - names of this package
        self._insert = f"INSERT INTO {table} ({column}) VALUES (?) RETURNING no"  # noqa: S608 - as above
        self._numbers: dict[T, int] = {}
        self._labels: dict[int, T] = {}

    def load(self, database: Database) -> None:
        """Read the table, forgetting what a rolled back transaction had numbered."""
        rows: list[tuple[int, T]] = database.query(self._select)
        self._numbers = {label: no for no, label in rows}
        self._labels = dict(rows)

    def number(self, connection: apsw.Connection, label: T) -> int:
        """Return the number of a label, giving it one in the open transaction if it has none."""
        found = self._numbers.get(label)
        if found is None:
            found = int(fetch_one(connection, self._insert, (label,)))
            self._numbers[label] = found
            self._labels[found] = label
        return found

    def find(self, label: T) -> int | None:
        """Return the number of a label, or None if no row bears it."""
        return self._numbers.get(label)

    def numbers(self) -> list[int]:
        """Return all numbers given."""
        return list(self._labels)

    def label(self, number: int) -> T:
        """Return the label of a number."""
        return self._labels[number]
