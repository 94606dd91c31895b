"""Brings a database to this Covey's form: forward only, after a backup of the file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import apsw

from covey.engines.sqlite.faults import NewerDatabaseError
from covey.engines.sqlite.schema import MIGRATIONS


def version_of(connection: apsw.Connection) -> int:
    """Return how many migrations the database has seen."""
    return int(connection.pragma("user_version"))


def migrate(
    connection: apsw.Connection,
    path: Path,
    *,
    before: Callable[[int], object],
    migrations: Sequence[str] = MIGRATIONS,
) -> int:
    """Apply the missing migrations, each in its own transaction; returns how many.

    `before` is called with the present version once, before the first, unless the database is
    new: it makes the backup. Raises `NewerDatabaseError` for a database of a newer Covey.
    """
    present = version_of(connection)
    if present > len(migrations):
        raise NewerDatabaseError(
            f"{path} was written by a newer Covey (form {present}; this one knows "
            f"{len(migrations)}). It was not touched.",
            hint="install the newer Covey again, or restore an older backup",
        )
    missing = migrations[present:]
    if missing and present:
        before(present)
    for number, script in enumerate(missing, present + 1):
        with connection:
            connection.execute(script)
            connection.pragma("user_version", number)
    return len(missing)
