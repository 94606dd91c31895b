"""A database for tests, opened as a node does, with its logs and its local state."""

from __future__ import annotations

from pathlib import Path

from covey.engines.sqlite.backups import Backups
from covey.engines.sqlite.local_storage import SqliteLocalState
from covey.engines.sqlite.log_storage import SqliteLogStorage
from covey.engines.sqlite.recovery import DatabaseHome

KEY = bytes(range(32))


class SqliteHome:
    """Opens at once; `close` and `open` make a restart."""

    def __init__(self, path: Path, key: bytes = KEY) -> None:
        self.path = path
        self.key = key
        self.open()

    def open(self) -> None:
        self.backups = Backups(self.path.parent / "backups", self.key)
        home = DatabaseHome(self.path, self.backups, self.key)
        self.database, self.recovered = home.open()
        self.log = SqliteLogStorage(self.database)
        self.local = SqliteLocalState(self.database)

    def close(self) -> None:
        self.database.close()
