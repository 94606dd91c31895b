"""Opens the database at start: checks it, sets a damaged one aside, and restores what it can.

Nothing is ever deleted: a damaged database keeps all its bytes under another name. In its place
comes the newest backup that passes the check, or else an empty database, and replication brings
what the peers hold. The replaced database starts behind the fence of `covey.store.fence`: the node
must learn the end of its own log before it writes again.
"""

from __future__ import annotations

import hmac
from hashlib import blake2b
from pathlib import Path

import apsw
import msgspec

from covey.engines.sqlite.backups import Backup, Backups
from covey.engines.sqlite.checking import find_damage
from covey.engines.sqlite.database import Database, configure, connect, give_memory_back
from covey.engines.sqlite.faults import (
    NewerDatabaseError,
    WrongKeyError,
    damaged,
    translated,
)
from covey.engines.sqlite.files import (
    COMPANIONS,
    copy_private,
    move_database,
    remove_database,
    stamp,
    write_private,
)
from covey.engines.sqlite.migrations import migrate, version_of
from covey.errors import DamagedError
from covey.store.fence import FENCE_KEY, FENCED, LOCAL_NAMESPACE

_BUDGET_S = 0.25
_BUDGET_AFTER_CRASH_S = 1.0


class Recovered(msgspec.Struct, frozen=True):
    """What was wrong with the database, and what stands in its place now."""

    reason: str
    set_aside: Path | None
    restored: Backup | None

    @property
    def message(self) -> str:
        """Say to the user what happened, what it means and what to do."""
        where = f" It was set aside as {self.set_aside}." if self.set_aside is not None else ""
        if self.restored is None:
            now = "There was no usable backup, so this node begins empty and"
        else:
            now = f"The backup of {self.restored.made_at:%Y-%m-%d %H:%M} UTC was restored; the node"
        return (
            f"{self.reason}{where} {now} fetches what the other members hold as soon as it is "
            "connected with them; until then it can read but not write. Watch it with: covey doctor"
        )


class DatabaseHome:
    """The files of one node's database, and how it is opened."""

    def __init__(self, path: Path, backups: Backups, key: bytes) -> None:
        self.path = path
        self.backups = backups
        self._key = key
        self._key_check = path.with_name(f"{path.name}.check")
        self._restoring = path.with_name(f"{path.name}.restoring")

    def open(self, *, budget_s: float | None = None) -> tuple[Database, Recovered | None]:
        """Open the database, ready for use, checking it for at most `budget_s`.

        Without a budget it is checked longer after a crash than after a clean end. Raises
        `WrongKeyError`, `NewerDatabaseError` or `StorageError`; nothing is touched then.
        """
        with translated(self.path):
            existed = self._check_key()
            if budget_s is None:
                clean = not self.path.with_name(f"{self.path.name}-wal").exists()
                budget_s = _BUDGET_S if clean else _BUDGET_AFTER_CRASH_S
            remove_database(self._restoring)
        recovered: Recovered | None = None
        try:
            if existed:
                self._check_present()
            database = self._open(budget_s, existed=existed)
        except DamagedError as error:
            if not existed:
                raise WrongKeyError(
                    f"The database {self.path} does not open: it was made with another key, or "
                    "it is damaged. It was not touched.",
                    hint="put the keyring back that belongs to it, or move the file away",
                ) from error
            with translated(self.path):
                recovered = self._recover(error.message)
            database = self._open(budget_s, existed=True)
        if not existed:
            with translated(self.path):
                write_private(self._key_check, _fingerprint(self._key))
        return database, recovered

    def _open(self, budget_s: float, *, existed: bool) -> Database:
        database = Database(self.path, self._key)
        try:
            database.prepare(lambda writer: self._check(writer, budget_s, existed=existed))
            database.prepare(
                lambda writer: migrate(
                    writer, self.path, before=lambda at: self.backups.make_before(writer, at)
                )
            )
            database.prepare(give_memory_back)
        except BaseException:
            database.close()
            raise
        return database

    def _check(self, writer: apsw.Connection, budget_s: float, *, existed: bool) -> None:
        if existed and version_of(writer) == 0:
            raise damaged(self.path, "it has no tables")
        reason = find_damage(writer, budget_s=budget_s)
        if reason is not None:
            raise damaged(self.path, reason)

    def _check_present(self) -> None:
        if not self.path.exists():
            raise DamagedError(f"The database {self.path} is missing.")

    def _check_key(self) -> bool:
        """Return whether a database was made here before; raises `WrongKeyError`."""
        try:
            found = self._key_check.read_bytes()
        except FileNotFoundError:
            return False
        if not hmac.compare_digest(found, _fingerprint(self._key)):
            raise WrongKeyError(
                f"The database {self.path} was made with another key than the keyring holds. It "
                "was not touched.",
                hint="put the keyring back that belongs to it; `covey doctor` names the files",
            )
        return True

    def _recover(self, reason: str) -> Recovered:
        aside: Path | None = None
        if any(self.path.with_name(self.path.name + each).exists() for each in COMPANIONS):
            aside = self.path.with_name(f"{self.path.name}.damaged-{stamp()}")
            move_database(self.path, aside)
        restored = next((each for each in self.backups.newest_first() if self._restore(each)), None)
        if restored is None:
            self._fence_off()
        move_database(self._restoring, self.path)
        return Recovered(reason, aside, restored)

    def _restore(self, backup: Backup) -> bool:
        """Make a backup ready beside the database's place; False if it is of no use."""
        remove_database(self._restoring)
        copy_private(backup.path, self._restoring)
        try:
            self._fence_off()
        except (apsw.NotADBError, apsw.CorruptError, DamagedError, NewerDatabaseError):
            remove_database(self._restoring)
            return False
        return True

    def _fence_off(self) -> None:
        connection = connect(self._restoring, self._key)
        try:
            if (reason := find_damage(connection)) is not None:
                raise damaged(self._restoring, reason)
            configure(connection)
            migrate(connection, self._restoring, before=int)
            connection.execute(
                "INSERT OR REPLACE INTO local (namespace, key, value) VALUES (?, ?, ?)",
                (LOCAL_NAMESPACE, FENCE_KEY, FENCED),
            )
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        finally:
            connection.close()


def _fingerprint(key: bytes) -> bytes:
    """Return what tells a wrong key from a damaged file; it tells nothing else about the key."""
    return blake2b(b"covey database key", key=key, digest_size=16).hexdigest().encode() + b"\n"
