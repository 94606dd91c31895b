"""Backups of the database file: made while it is in use, checked, and only the newest kept."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import apsw
import msgspec

from covey.engines.sqlite.checking import find_damage
from covey.engines.sqlite.database import Database, connect
from covey.engines.sqlite.faults import damaged, translated
from covey.engines.sqlite.files import remove_database, stamp, sync_directory
from covey.errors import CoveyError, LockedError

_STEP_PAGES = 256
_NAME = re.compile(r"covey-(\d{8}T\d{6}\.\d{6}Z)(-before-\d+)?\.db")
_TIME = "%Y%m%dT%H%M%S.%fZ"
_EVERY_S = 86_400.0
_FIRST_S = 60.0

_log = logging.getLogger("covey.backup")


class Backup(msgspec.Struct, frozen=True):
    """One backup file, under the same key as the database."""

    path: Path
    made_at: datetime


class Backups:
    """The backups in one directory, of which the newest `keep` stay."""

    def __init__(self, directory: Path, key: bytes, *, keep: int = 3) -> None:
        self.directory = directory
        self._key = key
        self._keep = max(keep, 1)

    def newest_first(self) -> list[Backup]:
        """Return the finished backups."""
        found = []
        for path in self.directory.glob("covey-*.db"):
            if match := _NAME.fullmatch(path.name):
                at = datetime.strptime(match[1], _TIME).replace(tzinfo=UTC)
                found.append(Backup(path, at))
        return sorted(found, key=lambda each: each.made_at, reverse=True)

    async def make(self, database: Database) -> Path:
        """Back up a database in use, a few pages at a time between its writes.

        A copy that fails its check raises `DamagedError` and replaces no earlier backup. Raises
        `StorageError` (full disk); nothing is left behind then.
        """
        target, part = self._names()
        copy = _begin(part, self._key)
        sealing: asyncio.Future[None] | None = None
        try:
            running = await database.run(lambda source: copy.backup("main", source, "main"))
            done = False
            while not done:
                done = await database.run(lambda _: _step(running, _STEP_PAGES))
            await database.run(lambda _: running.finish())
            sealing = asyncio.ensure_future(asyncio.to_thread(_seal, copy, part))
            await asyncio.shield(sealing)
            return self._keep_it(part, target)
        except BaseException:
            if sealing is not None and not sealing.done():
                copy.interrupt()
                await asyncio.wait([sealing])
            with suppress(LockedError):
                # Behind the step that may still be running in the writer thread.
                await database.run(lambda _: copy.close(True))  # noqa: FBT003 - no keyword in apsw
            remove_database(part)
            raise

    def make_before(self, source: apsw.Connection, migrated: int) -> Path:
        """Back up, at once and in the writer thread, a database about to be migrated."""
        target, part = self._names(f"-before-{migrated + 1}")
        with translated(part):
            copy = _begin(part, self._key)
            try:
                with copy.backup("main", source, "main") as running:
                    _step(running, -1)
                _seal(copy, part)
            except BaseException:
                copy.close(True)  # noqa: FBT003 - no keyword in apsw
                remove_database(part)
                raise
        return self._keep_it(part, target)

    async def run(self, database: Database) -> None:
        """Back up now and then for as long as the node runs: once a day."""
        wait = _FIRST_S
        if newest := self.newest_first():
            wait = max(wait, _EVERY_S - (time.time() - newest[0].made_at.timestamp()))
        while True:
            await asyncio.sleep(wait)
            try:
                await self.make(database)
            except CoveyError as error:
                _log.error("no backup could be made: %s", error)
            wait = _EVERY_S

    def _names(self, suffix: str = "") -> tuple[Path, Path]:
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        for left in self.directory.glob(".covey-*.part*"):
            left.unlink(missing_ok=True)
        name = f"covey-{stamp()}{suffix}"
        return self.directory / f"{name}.db", self.directory / f".{name}.part"

    def _keep_it(self, part: Path, target: Path) -> Path:
        with translated(target):
            part.replace(target)
            sync_directory(self.directory)
            for old in self.newest_first()[self._keep :]:
                old.path.unlink(missing_ok=True)
        return target


def _begin(part: Path, key: bytes) -> apsw.Connection:
    with translated(part):
        return connect(part, key)


def _step(running: apsw.Backup, pages: int) -> bool:
    running.step(pages)
    return running.done


def _seal(copy: apsw.Connection, part: Path) -> None:
    """Check a finished copy and make it one file."""
    with translated(part):
        reason = find_damage(copy)
        copy.pragma("journal_mode", "delete")
        copy.close()
        if reason is not None:
            raise damaged(part, reason)
