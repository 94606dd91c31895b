"""A node's open database with its backups, checked and restored at the opening where needed."""

from __future__ import annotations

import contextlib
import logging
from pathlib import Path

from covey.engines.sqlite.backups import Backups
from covey.engines.sqlite.database import Database
from covey.engines.sqlite.recovery import DatabaseHome, Recovered
from covey.errors import DamagedError
from covey.paths import Paths

_log = logging.getLogger("covey.database")


class OpenedDatabase:
    """The database of an unlocked node; `recovered` tells of damage that was found and mended."""

    def __init__(self, paths: Paths, key: bytes, *, keep_backups: int) -> None:
        path = Path(paths.database)
        self.backups = Backups(Path(paths.backups_dir), key, keep=keep_backups)
        self.database: Database
        self.recovered: Recovered | None
        self.database, self.recovered = DatabaseHome(path, self.backups, key).open()
        self._path = path
        if self.recovered is not None:
            _log.error("%s", self.recovered.message)

    def size(self) -> int:
        """Return the bytes on disk, with what waits in the write-ahead log."""
        total = 0
        for name in (self._path.name, f"{self._path.name}-wal"):
            with contextlib.suppress(OSError):
                total += self._path.with_name(name).stat().st_size
        return total

    async def check(self) -> str | None:
        """Check the integrity; returns what is wrong, if anything."""
        try:
            await self.database.verify()
        except DamagedError as error:
            return error.message
        return None

    def close(self) -> None:
        """Close the database."""
        self.database.close()
