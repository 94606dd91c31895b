"""uvicorn's WebSocket protocol with patience for a client that is held back.

While the app does not read, uvicorn pauses the transport, so an answer to its ping cannot come.
"""

from __future__ import annotations

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from covey.surfaces.http.connection import connection_of


class SocketProtocol(WebSocketsSansIOProtocol):
    """One WebSocket; `Connection.lost` of its scope is set when it breaks."""

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell whoever waits for anything but a message."""
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
