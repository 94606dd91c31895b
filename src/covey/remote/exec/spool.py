"""Output kept on disk in segments, bounded in size, and read again from any offset.

The keeper of a detached command loads this file: it imports next to nothing. An offset counts
the bytes of both channels in the order in which they came.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

STDOUT = 1
STDERR = 2

_SEGMENTS = 8
_LARGEST_SEGMENT = 1 << 20
_SUFFIX = ".output"
_HEAD = 5
LARGEST_PIECE = 65_536
"""Most bytes that are appended at once."""

_DIGITS = 20
_NEVER = 1 << 63


class Piece:
    """Output from an offset on: bytes of one channel, or `missing` bytes that are not kept."""

    __slots__ = ("channel", "data", "missing", "offset")

    def __init__(self, offset: int, channel: int, data: bytes, missing: int = 0) -> None:
        self.offset = offset
        self.channel = channel
        self.data = data
        self.missing = missing

    @property
    def end(self) -> int:
        """The offset behind it."""
        return self.offset + len(self.data) + self.missing


class SpoolWriter:
    """Appends output in a directory, and keeps the last `limit` bytes, and a segment more.

    A disk that is full costs output, never the command: what cannot be written is missing later.
    """

    def __init__(self, directory: str, limit: int) -> None:
        self.end = 0
        self._directory = directory
        self._limit = limit
        self._segment_bytes = max(1, min(_LARGEST_SEGMENT, limit // _SEGMENTS))
        self._file: int | None = None
        self._starts: list[int] = []
        self._damaged = False

    def append(self, channel: int, data: bytes) -> None:
        """Keep some output."""
        if not data:
            return
        try:
            self._append(channel, data)
        except OSError:
            self._damaged = True
        self.end += len(data)
        self._drop()

    def would_lose(self, offset: int) -> bool:
        """Whether more output would cost what lies at `offset` or behind it."""
        return self.end + LARGEST_PIECE - offset > self._limit

    def close(self) -> None:
        """Close the last segment."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _append(self, channel: int, data: bytes) -> None:
        full = bool(self._starts) and self.end - self._starts[-1] >= self._segment_bytes
        if self._file is None or full or self._damaged:
            self.close()
            path = os.path.join(self._directory, _name_of(self.end))
            self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_TRUNC, 0o600)
            self._starts.append(self.end)
            self._damaged = False
        frame = memoryview(bytes([channel]) + len(data).to_bytes(4, "big") + data)
        while frame:
            frame = frame[os.write(self._file, frame) :]

    def _drop(self) -> None:
        while len(self._starts) > 1 and self.end - self._starts[1] >= self._limit:
            oldest = self._starts.pop(0)
            try:
                os.unlink(os.path.join(self._directory, _name_of(oldest)))
            except OSError:
                continue


class SpoolReader:
    """Reads a spool from an offset on, while it grows."""

    def __init__(self, directory: str, offset: int = 0) -> None:
        self.offset = offset
        self._directory = directory
        self._file: int | None = None
        self._start = -1
        self._at = 0
        self._place = 0

    def read(self, most: int = LARGEST_PIECE) -> Piece | None:
        """Return the next output, at most so many bytes; None where the spool ends for now."""
        if self._file is None and not self._open(self.offset):
            return None
        while True:
            piece = self._frame(most)
            if piece is not None:
                self.offset = piece.end
                return piece
            following = next((at for at in _starts(self._directory) if at > self._start), None)
            if following is None:
                return None
            # The segment may have grown between the two looks: only now is it at its end.
            piece = self._frame(most)
            if piece is not None:
                self.offset = piece.end
                return piece
            self._enter(following)
            if following > self.offset:
                missing = Piece(self.offset, STDOUT, b"", following - self.offset)
                self.offset = following
                return missing

    def end(self) -> int:
        """Return the offset where the segment of this reader's offset ends for now."""
        if self._file is not None or self._open(self.offset):
            self.offset = _NEVER
            self._frame(0)
        return self._at

    def close(self) -> None:
        """Close the segment that is read."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _open(self, offset: int) -> bool:
        starts = _starts(self._directory)
        if not starts:
            return False
        before = [at for at in starts if at <= offset]
        self._enter(before[-1] if before else starts[0])
        if not before:
            # A segment that is all behind us begins with a gap, told by `read`.
            self._start, self._at = -1, offset
            self.close()
            self._file = os.open(os.devnull, os.O_RDONLY)
        return True

    def _enter(self, start: int) -> None:
        self.close()
        path = os.path.join(self._directory, _name_of(start))
        try:
            self._file = os.open(path, os.O_RDONLY)
        except OSError:
            # Dropped between the listing and now: it reads as empty, and the next one follows.
            self._file = os.open(os.devnull, os.O_RDONLY)
        self._start = self._at = start
        self._place = 0

    def _frame(self, most: int) -> Piece | None:
        """Return the part of the frame at `offset`; None if it is not all there."""
        assert self._file is not None  # noqa: S101 - `read` has opened it
        size = os.fstat(self._file).st_size
        # Whoever follows needs one head at a time; whoever comes back passes many frames over.
        block, base, wanted = b"", self._place, _HEAD
        while True:
            at = self._place - base
            if at + _HEAD > len(block):
                block, base, at = os.pread(self._file, wanted, self._place), self._place, 0
                wanted = LARGEST_PIECE
            head = block[at : at + _HEAD]
            if len(head) < _HEAD:
                return None
            length = int.from_bytes(head[1:], "big")
            if self._place + _HEAD + length > size:
                return None
            if self._at + length > self.offset:
                skipped = self.offset - self._at
                count = min(most, length - skipped)
                data = os.pread(self._file, count, self._place + _HEAD + skipped)
                return Piece(self.offset, head[0], data)
            self._at += length
            self._place += _HEAD + length


def spooled_bytes(directory: str) -> int:
    """Return the offset at which a spool ends."""
    starts = _starts(directory)
    if not starts:
        return 0
    reader = SpoolReader(directory, starts[-1])
    try:
        return reader.end()
    finally:
        reader.close()


def _starts(directory: str) -> list[int]:
    return sorted(_numbers(directory))


def _numbers(directory: str) -> Iterator[int]:
    try:
        names = os.listdir(directory)
    except OSError:
        return
    for name in names:
        stem = name.removesuffix(_SUFFIX)
        if len(stem) == _DIGITS and stem.isdecimal() and name.endswith(_SUFFIX):
            yield int(stem)


def _name_of(start: int) -> str:
    return f"{start:0{_DIGITS}d}{_SUFFIX}"
