"""Reading recordings: the list of them, and one to be played."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, Literal

import msgspec

from covey.errors import DamagedError, StorageError
from covey.remote.exec.recording import SUFFIX
from covey.remote.exec.records import ExecFiles, iso

_MOST_LISTED = 1000
_LONGEST_LINE = 8 << 20


class RecordingHeader(msgspec.Struct, frozen=True, tag="header"):
    """How a recording begins; `timestamp` is in seconds since the epoch."""

    id: str
    title: str
    rows: int
    columns: int
    timestamp: int


class RecordingEvent(msgspec.Struct, frozen=True, tag="event"):
    """One event, `at` seconds after the start: output, a new size, or a remark."""

    at: float
    kind: Literal["o", "r", "m", "i"]
    data: str


class RecordingSummary(msgspec.Struct, frozen=True):
    """One recording; `size` is in bytes."""

    id: str
    title: str
    started: str
    size: int


class _Header(msgspec.Struct, frozen=True):
    version: int
    width: int
    height: int
    timestamp: int = 0
    title: str = ""


class Recordings:
    """The recordings of this node."""

    def __init__(self, files: ExecFiles) -> None:
        self._files = files

    def list(self) -> list[RecordingSummary]:
        """List the newest recordings, the newest first."""
        found = []
        for path in self._files.recordings()[:_MOST_LISTED]:
            try:
                with path.open("rb") as file:
                    header = _read_header(file, path)
                size = path.stat().st_size
            except (OSError, DamagedError):
                continue
            started = iso(datetime.fromtimestamp(header.timestamp, UTC))
            identifier = path.name.removesuffix(SUFFIX)
            found.append(RecordingSummary(identifier, header.title, started, size))
        return found

    async def play(self, identifier: str) -> AsyncGenerator[RecordingHeader | RecordingEvent, None]:
        """Yield a recording's header and events; raises `NotFoundError`, `DamagedError`."""
        path = self._files.require_recording(identifier)
        try:
            with path.open("rb") as file:
                header = _read_header(file, path)
                yield RecordingHeader(
                    identifier, header.title, header.height, header.width, header.timestamp
                )
                for event in _events(file):
                    yield event
        except OSError as error:
            raise StorageError(
                f"The recording {identifier} cannot be read: {error.strerror}."
            ) from error


def _read_header(file: BinaryIO, path: Path) -> _Header:
    try:
        return msgspec.json.decode(file.readline(_LONGEST_LINE), type=_Header)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise DamagedError(f"{path.name} is not a recording.") from error


def _events(file: BinaryIO) -> Iterator[RecordingEvent]:
    """Yield events up to the end, or to a line that was being written."""
    while line := file.readline(_LONGEST_LINE):
        try:
            at, kind, data = msgspec.json.decode(
                line, type=tuple[float, Literal["o", "r", "m", "i"], str]
            )
        except (msgspec.DecodeError, UnicodeDecodeError):
            return
        yield RecordingEvent(at, kind, data)
