"""SQLite's errors as the store's: what happened, what it means, what to do next."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import apsw

from covey.errors import DamagedError, StorageError


class WrongKeyError(StorageError):
    """The database was made with another key than the keyring holds."""

    code = "wrong_database_key"


class NewerDatabaseError(StorageError):
    """The database was written by a newer Covey."""

    code = "newer_database"


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Raise `StorageError` or `DamagedError` in place of what SQLite raises on `path`."""
    try:
        yield
    except apsw.Error as error:
        raise storage_error(error, path) from error
    except OSError as error:
        raise file_error(error, path) from error


def storage_error(error: apsw.Error, path: Path) -> StorageError:
    """Return the error for the user in place of SQLite's."""
    match error:
        case apsw.NotADBError() | apsw.CorruptError():
            return damaged(path, str(error))
        case apsw.FullError():
            return _no_space(path)
        case apsw.ReadOnlyError() | apsw.PermissionsError() | apsw.AuthError():
            return StorageError(
                f"The database {path} cannot be written to: it is read-only.",
                hint=f"make {path.parent} writable for the user that runs Covey, then try again",
            )
        case apsw.CantOpenError():
            return StorageError(
                f"The database {path} cannot be opened.",
                hint=f"check that {path.parent} exists and belongs to the user that runs Covey",
            )
        case apsw.BusyError() | apsw.LockedError():
            return StorageError(
                f"The database {path} is in use by another program.",
                hint="end the program that has it open, then try again",
            )
        case apsw.IOError():
            return StorageError(
                f"Reading or writing {path} failed: {error}. Nothing of this change was kept.",
                hint="check the disk (free space, dmesg); earlier changes are safe",
            )
        case _:
            return StorageError(
                f"The database {path} refused: {error}. Nothing of this change was kept.",
                hint="run: covey doctor",
            )


def file_error(error: OSError, path: Path) -> StorageError:
    """Return the error for the user in place of the operating system's."""
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return _no_space(path)
    reason = error.strerror or type(error).__name__
    return StorageError(
        f"{error.filename or path}: {reason}.",
        hint=f"check the permissions and the disk of {path.parent}",
    )


def damaged(path: Path, reason: str) -> DamagedError:
    """Return the error for a database that fails its integrity check."""
    return DamagedError(
        f"The database {path} is damaged: {reason}.",
        hint="restart the node: it sets the file aside and restores it from a backup and the peers",
    )


def _no_space(path: Path) -> StorageError:
    return StorageError(
        f"The disk that holds {path} is full. This change was not kept; earlier ones are safe.",
        hint="free some space, then try again",
    )
