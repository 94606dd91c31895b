"""What is kept on disk of detached commands and recordings, and for how long."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from covey.errors import NotFoundError, StorageError
from covey.remote.exec.recording import SUFFIX

ID_PATTERN = "^[0-9a-f]{12}$"

_DAY = 86_400
_RECORD = "command.json"
_IS_ID = re.compile(ID_PATTERN)


class CommandRecord(msgspec.Struct, frozen=True):
    """A detached command as it was started; no value of its environment is in it."""

    id: str
    command: str
    caller: str
    user: str
    started: datetime
    tty: bool


class ExecFiles:
    """The directories of detached commands, and the recordings of all."""

    def __init__(self, commands: Path, recordings: Path, keep_days: int) -> None:
        self._commands = commands
        self._recordings = recordings
        self._keep_s = keep_days * _DAY

    def directory(self, identifier: str) -> Path:
        """Where a detached command keeps its output."""
        return self._commands / identifier

    def recording(self, identifier: str) -> Path:
        """Where a command's recording is, if it has one."""
        return self._recordings / f"{identifier}{SUFFIX}"

    def is_recorded(self, identifier: str) -> bool:
        """Whether there is a recording of the command."""
        return self.recording(identifier).exists()

    def prepare_recordings(self) -> None:
        """Make the directory of recordings; raises `StorageError`."""
        _make(self._recordings)

    def create(self, record: CommandRecord) -> Path:
        """Make the directory of a new command; raises `StorageError`."""
        _make(self._commands)
        directory = self.directory(record.id)
        try:
            directory.mkdir(mode=0o700)
            path = directory / _RECORD
            path.touch(mode=0o600)
            path.write_bytes(msgspec.json.encode(record))
        except OSError as error:
            raise _failed(directory, error) from error
        return directory

    def remove(self, identifier: str) -> None:
        """Forget a command."""
        shutil.rmtree(self.directory(identifier), ignore_errors=True)

    def records(self) -> Iterator[CommandRecord]:
        """Yield the commands that are on record, the oldest first."""
        found = []
        for directory in _entries(self._commands):
            if _IS_ID.fullmatch(directory.name):
                try:
                    data = (directory / _RECORD).read_bytes()
                    found.append(msgspec.json.decode(data, type=CommandRecord))
                except (OSError, msgspec.DecodeError):
                    continue
        yield from sorted(found, key=lambda record: record.started)

    def recordings(self) -> list[Path]:
        """Return the recordings, the newest first."""
        found = [path for path in _entries(self._recordings) if path.name.endswith(SUFFIX)]
        return sorted(found, key=_age, reverse=True)

    def require_recording(self, identifier: str) -> Path:
        """Return the path of a recording; raises `NotFoundError`."""
        path = self.recording(identifier)
        if not path.exists():
            raise NotFoundError(
                f"There is no recording {identifier}.", hint="See them: covey audit recordings"
            )
        return path

    def is_old(self, ended: float) -> bool:
        """Whether what ended then, in seconds since the epoch, is kept no longer."""
        return ended < time.time() - self._keep_s

    def remove_old_recordings(self) -> None:
        """Remove the recordings that are kept no longer."""
        for path in self.recordings():
            if self.is_old(_age(path)):
                path.unlink(missing_ok=True)


def iso(moment: datetime) -> str:
    """Write a moment as the operations show it."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds")


def _entries(directory: Path) -> list[Path]:
    try:
        return list(directory.iterdir())
    except OSError:
        return []


def _age(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _make(directory: Path) -> None:
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise _failed(directory, error) from error


def _failed(path: Path, error: OSError) -> StorageError:
    return StorageError(
        f"{path} cannot be made: {error.strerror}.",
        hint="Check the free space and the permissions of its directory.",
    )
