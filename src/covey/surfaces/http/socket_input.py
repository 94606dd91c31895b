"""The items that a client sends to a duplex operation, in bounded memory."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from typing import Any

from starlette.types import Message
from starlette.websockets import WebSocket

from covey.surfaces.http.messages import Messages, size_of

AHEAD_BYTES = 1 << 20
"""Input that is read before the operation wants it; then the client is held back."""


class SocketInput(AsyncIterator[Any]):
    """Reads items of type `kind` ahead; `lost` is set when the connection breaks."""

    def __init__(
        self, socket: WebSocket, messages: Messages, kind: Any, lost: asyncio.Event
    ) -> None:
        self._socket = socket
        self._messages = messages
        self._kind = kind
        self._lost = lost
        self._held: deque[Message] = deque()
        self._bytes = 0
        self._ended = False
        self._given = asyncio.Event()
        self._taken = asyncio.Event()

    async def run(self) -> None:
        """Read messages until the client is gone; what follows the end of the input is ignored."""
        while True:
            message = await self._socket.receive()
            if message["type"] == "websocket.disconnect":
                return
            if self._ended:
                continue
            self._held.append(message)
            self._bytes += size_of(message)
            self._given.set()
            if self._bytes > AHEAD_BYTES and not await self._room():
                return

    async def __anext__(self) -> Any:
        """Return the next item; raises `InvalidRequestError` for a message that is none."""
        while not self._held:
            if self._ended:
                raise StopAsyncIteration
            self._given.clear()
            await self._given.wait()
        message = self._held.popleft()
        self._bytes -= size_of(message)
        self._taken.set()
        item = self._messages.item(self._kind, message)
        if item is None:
            self._ended = True
            self._held.clear()
            raise StopAsyncIteration
        return item

    async def _room(self) -> bool:
        """Wait until the operation has read some; returns whether the client is there still."""
        losing = asyncio.ensure_future(self._lost.wait())
        try:
            while self._bytes > AHEAD_BYTES and not losing.done():
                self._taken.clear()
                taking = asyncio.ensure_future(self._taken.wait())
                await asyncio.wait({losing, taking}, return_when=asyncio.FIRST_COMPLETED)
                taking.cancel()
            return not losing.done()
        finally:
            losing.cancel()
