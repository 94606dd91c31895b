"""uvicorn's WebSocket protocol with patience for a client that is held back, and with pings.

While the app does not read, uvicorn pauses the transport, so an answer to its ping cannot come.
"""

from __future__ import annotations

import asyncio
import os
from typing import Any

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.exceptions import InvalidState
from websockets.frames import Frame
from websockets.http11 import Request

from covey.surfaces.http.connection import connection_of, put_wire


class SocketProtocol(WebSocketsSansIOProtocol):
    """One WebSocket, the `Wire` of its scope; `Connection.lost` is set when it breaks."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._asked: dict[bytes, asyncio.Future[None]] = {}

    async def ping(self) -> None:
        """Return once the client has answered; raises `ConnectionError` if it is gone."""
        payload = os.urandom(8)
        answered: asyncio.Future[None] = self.loop.create_future()
        try:
            self.conn.send_ping(payload)
        except InvalidState as error:
            raise ConnectionResetError from error
        self._asked[payload] = answered
        self.transport.write(b"".join(self.conn.data_to_send()))
        try:
            await answered
        finally:
            del self._asked[payload]

    def abort(self) -> None:
        """Cut the connection."""
        self.transport.abort()

    def handle_connect(self, event: Request) -> None:
        """Give the app the connection beside its messages."""
        super().handle_connect(event)
        if not self.close_sent:
            put_wire(self.scope, self)

    def handle_pong(self, event: Frame) -> None:
        """Tell whoever asked; the others are answers to the keep-alive."""
        answered = self._asked.get(bytes(event.data))
        if answered is None:
            super().handle_pong(event)
        elif not answered.done():
            answered.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell whoever waits for anything but a message."""
        for answered in self._asked.values():
            if not answered.done():
                answered.set_exception(ConnectionResetError())
        connection_of({"state": self.app_state}).lost.set()
        super().connection_lost(exc)

    def keepalive_timeout(self) -> None:
        """Ping again instead of giving up while this side is what does not read."""
        if not self.read_paused:
            super().keepalive_timeout()
            return
        self.pong_timer = None
        self.pending_ping_payload = None
        if not self.transport.is_closing():
            self.schedule_ping()
