"""A database file for tests, opened with its logs and its local state."""

from __future__ import annotations

from pathlib import Path

from covey.engines.sqlite.database import Database
from covey.engines.sqlite.local_storage import SqliteLocalState
from covey.engines.sqlite.log_storage import SqliteLogStorage

KEY = bytes(range(32))


class SqliteHome:
    """Opens at once; `close` and `open` make a restart."""

    def __init__(self, path: Path, key: bytes = KEY) -> None:
        self.path = path
        self.key = key
        self.open()

    def open(self) -> None:
        self.database = Database(self.path, self.key)
        self.database.migrate(before=int)
        self.log = SqliteLogStorage(self.database)
        self.local = SqliteLocalState(self.database)

    def close(self) -> None:
        self.database.close()
