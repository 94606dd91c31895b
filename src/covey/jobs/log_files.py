"""Logs of jobs on disk: JSON lines in segments, of which the first and the last ones are kept."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections.abc import Iterable
from pathlib import Path

import msgspec

from covey.jobs.model import LogLine

_SEGMENTS = 8
_FIRST_KEPT = 2
_DIGITS = 12
_SUFFIX = ".jsonl"
_READ_BYTES = 65_536
_LONGEST_LINE = 4096
_BREAKS = re.compile(r"\r\n|\r|\n")
_JOB = re.compile(r"[a-z2-7]{4,32}")

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(LogLine)


def lines_of(text: str) -> list[str]:
    """Split what was said into lines, and lines that are too long into parts."""
    found: list[str] = []
    # What a program wrote may hold bytes that are no text.
    readable = text.encode(errors="replace").decode()
    for line in _BREAKS.split(readable.removesuffix("\n")):
        found.append(line[:_LONGEST_LINE])
        found.extend(
            line[at : at + _LONGEST_LINE] for at in range(_LONGEST_LINE, len(line), _LONGEST_LINE)
        )
    return found


class LogFiles:
    """The logs of one node's jobs, each in a directory of its own, of at most `limit` bytes."""

    def __init__(self, directory: Path, limit: int) -> None:
        self.limit = limit
        self.directory = directory

    def writer(self, job: str) -> LogWriter:
        """Return what adds to a job's log, behind what is there."""
        return LogWriter(self.directory / job, self.limit)

    def reader(self, job: str, after: int = 0) -> LogReader:
        """Return what reads a job's log from the line behind `after` on."""
        return LogReader(self.directory / job, after)

    def remove(self, job: str) -> None:
        """Remove a job's log."""
        shutil.rmtree(self.directory / job, ignore_errors=True)

    def jobs(self) -> list[str]:
        """Return the jobs that have a log, the one first that was written to first."""
        try:
            found = [
                (path.stat().st_mtime, path.name)
                for path in self.directory.iterdir()
                if _JOB.fullmatch(path.name)
            ]
        except OSError:
            return []
        return [name for _, name in sorted(found)]

    def size(self, job: str) -> int:
        """Return the bytes that a job's log takes."""
        total = 0
        for start in _starts(self.directory / job):
            with contextlib.suppress(OSError):
                total += _path(self.directory / job, start).stat().st_size
        return total


class LogWriter:
    """Adds lines. A disk that is full costs lines, which readers are told of, never the job."""

    def __init__(self, directory: Path, limit: int) -> None:
        self._directory = directory
        self._segment_bytes = max(1, limit // _SEGMENTS)
        self._file: int | None = None
        self._written = 0
        self._number = _last_number(directory)

    @property
    def number(self) -> int:
        """The number of the last line."""
        return self._number

    def next_number(self) -> int:
        """Return the number of a new line."""
        self._number += 1
        return self._number

    def write(self, lines: Iterable[LogLine]) -> None:
        """Append lines in the order of their numbers."""
        block = bytearray()
        for line in lines:
            raw = _encoder.encode(line) + b"\n"
            if self._file is None or self._written + len(block) + len(raw) > self._segment_bytes:
                self._append(block)
                block = bytearray()
                self._begin(line.number)
            block += raw
        self._append(block)

    def close(self) -> None:
        """Close the last segment."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _append(self, block: bytearray) -> None:
        if self._file is None or not block:
            return
        self._written += len(block)
        try:
            left = memoryview(block)
            while left:
                left = left[os.write(self._file, left) :]
        except OSError:
            # What was cut off must not run into the next line.
            self.close()

    def _begin(self, number: int) -> None:
        self.close()
        try:
            for directory in (self._directory.parent, self._directory):
                directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            path = _path(self._directory, number)
            self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            self._written = 0
            for start in _starts(self._directory)[_FIRST_KEPT : -(_SEGMENTS - _FIRST_KEPT)]:
                _path(self._directory, start).unlink(missing_ok=True)
        except OSError:
            return


class LogReader:
    """Reads a log while it grows; where lines are missing, one line says how many."""

    def __init__(self, directory: Path, after: int = 0) -> None:
        self.after = after
        self._directory = directory
        self._file: int | None = None
        self._start = -1
        self._rest = b""

    def read(self) -> list[LogLine]:
        """Return the next lines; none where the log ends for now."""
        while True:
            if self._file is None and not self._enter(self._first()):
                return []
            found = self._lines()
            if found is None:
                following = next((at for at in _starts(self._directory) if at > self._start), None)
                if following is None:
                    return []
                # The segment may have grown between the two looks: only now is it at its end.
                found = self._lines()
                if found is None:
                    self._enter(following)
                    continue
            if found:
                return found

    def close(self) -> None:
        """Close the segment that is read."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _first(self) -> int | None:
        starts = _starts(self._directory)
        before = [at for at in starts if at <= self.after + 1]
        return before[-1] if before else next(iter(starts), None)

    def _enter(self, start: int | None) -> bool:
        if start is None:
            return False
        self.close()
        try:
            self._file = os.open(_path(self._directory, start), os.O_RDONLY)
        except OSError:
            # Left out between the listing and now: it reads as empty, and the next one follows.
            self._file = os.open(os.devnull, os.O_RDONLY)
        self._start = start
        self._rest = b""
        return True

    def _lines(self) -> list[LogLine] | None:
        """Return lines of the next block, perhaps none; None at the end of the segment."""
        assert self._file is not None  # noqa: S101 - `read` has opened it
        data = os.read(self._file, _READ_BYTES)
        if not data:
            return None
        *complete, self._rest = (self._rest + data).split(b"\n")
        found: list[LogLine] = []
        for raw in complete:
            try:
                line = _decoder.decode(raw)
            except (msgspec.DecodeError, UnicodeDecodeError):
                # The end of a line that a crash cut off.
                continue
            if line.number <= self.after:
                continue
            missing = line.number - self.after - 1
            if missing:
                found.append(LogLine(line.number - 1, line.at, "", _left_out(missing)))
            found.append(line)
            self.after = line.number
        return found


def _left_out(count: int) -> str:
    return "… one line is missing …" if count == 1 else f"… {count:,} lines are left out …"


def _last_number(directory: Path) -> int:
    """Return the number of the last line on disk."""
    starts = _starts(directory)
    if not starts:
        return 0
    reader = LogReader(directory, starts[-1] - 1)
    try:
        while reader.read():
            continue
        return max(reader.after, starts[-1])
    except OSError:
        return starts[-1]
    finally:
        reader.close()


def _starts(directory: Path) -> list[int]:
    """Return the number of the first line of each segment."""
    try:
        names = [path.name for path in directory.iterdir()]
    except OSError:
        return []
    stems = (name.removesuffix(_SUFFIX) for name in names if name.endswith(_SUFFIX))
    return sorted(int(stem) for stem in stems if len(stem) == _DIGITS and stem.isdecimal())


def _path(directory: Path, start: int) -> Path:
    return directory / f"{start:0{_DIGITS}d}{_SUFFIX}"
