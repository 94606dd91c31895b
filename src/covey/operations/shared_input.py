"""One stream of input for several readers, in bounded memory."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from typing import Any

from covey.errors import InvalidRequestError
from covey.operations.codec import to_msgpack

AHEAD_BYTES = 1 << 20
"""How far the fastest reader may be ahead of the slowest, and of those that have not begun."""


class SharedInput:
    """Gives each of `readers` every item; the slowest holds the others back.

    A reader that begins later needs all of the input from its first item. It may wait for the
    end of another, which waits for input in turn: so, while one has not begun, more than
    `AHEAD_BYTES` of input is refused.
    """

    def __init__(self, items: AsyncIterator[Any], readers: int) -> None:
        self._items = items
        self._waiting = readers
        self._held: deque[tuple[Any, int]] = deque()
        self._first = 0
        self._bytes = 0
        self._ended = False
        self._failure: Exception | None = None
        self._readers: set[InputReader] = set()
        self._changed = asyncio.Event()
        self._pump = asyncio.create_task(self._pull())

    def reader(self) -> InputReader:
        """Begin one reader, at the first item."""
        made = InputReader(self)
        self._waiting -= 1
        self._readers.add(made)
        return made

    def leave(self, reader: InputReader) -> None:
        """Forget a reader that wants no more."""
        self._readers.discard(reader)
        self._trim()

    async def close(self) -> None:
        """Read no more."""
        self._pump.cancel()
        await asyncio.gather(self._pump, return_exceptions=True)

    async def next_for(self, reader: InputReader) -> Any:
        """Return the reader's next item; raises `StopAsyncIteration` at the end."""
        while reader.at - self._first >= len(self._held):
            if self._failure is not None:
                raise self._failure
            if self._ended:
                raise StopAsyncIteration
            self._changed.clear()
            await self._changed.wait()
        item, _ = self._held[reader.at - self._first]
        reader.at += 1
        self._trim()
        return item

    async def _pull(self) -> None:
        try:
            async for item in self._items:
                size = len(to_msgpack(item))
                self._held.append((item, size))
                self._bytes += size
                self._changed.set()
                await self._room()
        except Exception as error:  # noqa: BLE001 - each reader raises it
            self._failure = error
        self._ended = True
        self._changed.set()

    async def _room(self) -> None:
        while self._bytes > AHEAD_BYTES:
            if self._waiting > 0:
                raise InvalidRequestError(
                    f"Hosts that take turns can be given {AHEAD_BYTES >> 20} MiB of input at most.",
                    hint="Let them all work at one time: a higher --parallel.",
                )
            self._changed.clear()
            await self._changed.wait()

    def _trim(self) -> None:
        """Let go of what every reader has had."""
        end = self._first + len(self._held)
        least = min((reader.at for reader in self._readers), default=end)
        if self._waiting > 0:
            least = 0
        while self._first < least:
            self._bytes -= self._held.popleft()[1]
            self._first += 1
        self._changed.set()


class InputReader(AsyncIterator[Any]):
    """One reader's way through the input; `at` is the number of its next item."""

    def __init__(self, shared: SharedInput) -> None:
        self._shared = shared
        self.at = 0

    async def __anext__(self) -> Any:
        return await self._shared.next_for(self)
