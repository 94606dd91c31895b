"""The output of containers and commands: two streams in one, in frames (Docker's Engine API)."""

from __future__ import annotations

import struct
from collections.abc import AsyncIterator
from datetime import datetime

from covey.apps.containers import OutputChunk
from covey.engines.containers.container_documents import moment

_HEADER = struct.Struct(">BxxxL")
_NAMES = {1: "stdout", 2: "stderr"}
_MOST_FRAME = 16 << 20


class Frames:
    """Takes bytes apart into frames as they come."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[tuple[str, bytes]]:
        """Take bytes and return the frames that are whole now."""
        self._buffer += data
        found = []
        while len(self._buffer) >= _HEADER.size:
            number, size = _HEADER.unpack_from(self._buffer)
            end = _HEADER.size + size
            if size > _MOST_FRAME:
                raise ValueError("a frame of output is too long")
            if len(self._buffer) < end:
                break
            if size and number in _NAMES:
                found.append((_NAMES[number], bytes(self._buffer[_HEADER.size : end])))
            del self._buffer[:end]
        return found


async def frames(pieces: AsyncIterator[bytes]) -> AsyncIterator[tuple[str, bytes]]:
    """Yield the stream and content of each frame."""
    taken = Frames()
    async for piece in pieces:
        for frame in taken.feed(piece):
            yield frame


def stamped(stream: str, data: bytes) -> OutputChunk:
    """Take the time off a line of a log."""
    first, space, rest = data.partition(b" ")
    at = _time(first) if space else None
    return OutputChunk(stream, data) if at is None else OutputChunk(stream, rest, at)


def _time(text: bytes) -> datetime | None:
    try:
        return moment(text.decode("ascii"))
    except ValueError:
        return None
