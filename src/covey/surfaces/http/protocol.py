"""uvicorn's HTTP protocol with what Covey needs to know of a connection, and with its limits.

This relies on uvicorn's internals (`app_state`, the parser's callbacks, `handle_websocket_upgrade`
handing `app_state` on): its minor version is pinned, and a contract test watches each of them.
"""

from __future__ import annotations

import asyncio
import functools
import socket
import struct
import time
from email.utils import formatdate
from typing import Any

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)
from uvicorn.server import ServerState

from covey.operations.networks import network_of
from covey.surfaces.http.connection import Connection, connection_state

MAX_HEADER_BYTES = 32 * 1024
"""Request line and headers together; more is answered with 431."""

MAX_CONNECTIONS = 512
"""Connections from outside at one time; one more is answered with 503."""

MAX_STRANGERS = 384
"""Those of them without a member's certificate: whatever strangers do, members find room."""

MAX_FROM_ONE = 128
"""Those of strangers that come from one address or IPv6 network."""

HEADER_TIMEOUT = 15.0
"""Seconds within which a begun request's headers must be complete."""


class ConnectionProtocol(HttpToolsProtocol):
    """One HTTP/1.1 connection; its `Connection` is in the scope's state, WebSockets included."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        *,
        local: bool,
        stopping: asyncio.Event,
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config=config, server_state=server_state, app_state={}, _loop=_loop)
        self._local = local
        self._stopping = stopping
        self._header_bytes = 0
        self._header_timer: asyncio.TimerHandle | None = None

    def connection_made(  # type: ignore[override]  # uvicorn narrows the transport likewise
        self, transport: asyncio.Transport
    ) -> None:
        """Learn who is at the other end, before the first byte is read."""
        super().connection_made(transport)
        tls = transport.get_extra_info("ssl_object")
        certificate = None if tls is None else tls.getpeercert(binary_form=True)
        self.app_state = connection_state(
            Connection(
                local=self._local,
                peer_uid=_peer_uid(transport) if self._local else None,
                certificate=certificate,
                stopping=self._stopping,
            )
        )
        if not self._local and self._is_crowded(member=certificate is not None):
            self._refuse(503, "unreachable", "This node has too many open connections.")
            return
        self._expect_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the timer with the connection."""
        self._headers_came()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        """Start the next request with a fresh date, budget and deadline."""
        _refresh_date(self.server_state)
        self._header_bytes = 0
        self._expect_headers()
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """Count the request line."""
        if self._within_budget(len(url)):
            super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Count a header."""
        if self._within_budget(len(name) + len(value) + 4):
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Begin the request unless its headers were refused."""
        self._headers_came()
        if not self.transport.is_closing():
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Drop what a refused request still sends."""
        if not self.transport.is_closing():
            super().on_body(body)

    def on_message_complete(self) -> None:
        """Drop the end of a refused request."""
        if not self.transport.is_closing():
            super().on_message_complete()

    def handle_websocket_upgrade(self) -> None:
        """Hand the connection over unless the request was refused."""
        if not self.transport.is_closing():
            super().handle_websocket_upgrade()

    def _is_crowded(self, *, member: bool) -> bool:
        """Whether this connection is one too many."""
        present = len(self.connections)
        if member or present > MAX_CONNECTIONS:
            return present > MAX_CONNECTIONS
        here = _network(self.client)
        others = (_network(getattr(item, "client", None)) for item in self.connections)
        near = sum(1 for network in others if network == here)
        return present > MAX_STRANGERS or near > MAX_FROM_ONE

    def _within_budget(self, size: int) -> bool:
        self._header_bytes += size
        if self._header_bytes <= MAX_HEADER_BYTES:
            return True
        self._refuse(431, "request_header_too_large", "The request's headers are too large.")
        return False

    def _expect_headers(self) -> None:
        self._headers_came()
        self._header_timer = self.loop.call_later(HEADER_TIMEOUT, self._headers_are_late)

    def _headers_came(self) -> None:
        if self._header_timer is not None:
            self._header_timer.cancel()
            self._header_timer = None

    def _headers_are_late(self) -> None:
        self._refuse(408, "request_timeout", "The request did not arrive in time.")

    def send_400_response(self, msg: str) -> None:
        """Refuse what is not HTTP, in the envelope."""
        self._refuse(400, "invalid_request", msg)

    def _refuse(self, status: int, code: str, message: str) -> None:
        """Answer outside ASGI, in the error envelope, and close."""
        if self.transport.is_closing():
            return
        cycle: RequestResponseCycle | None = self.cycle
        if cycle is not None and not cycle.response_complete:
            self.transport.close()
            return
        body = f'{{"error":{{"code":"{code}","message":"{message}","hint":null,"details":{{}}}}}}'
        head = (
            f"content-type: application/json\r\ncontent-length: {len(body)}\r\n"
            "cache-control: no-store\r\nconnection: close\r\n\r\n"
        )
        self.transport.write(STATUS_LINE[status] + head.encode() + body.encode())
        self.transport.close()


def _network(client: tuple[str, int] | None) -> str:
    return "" if client is None else _network_of(client[0])


_network_of = functools.lru_cache(4096)(network_of)


def _refresh_date(state: ServerState) -> None:
    """Set the Date header at most once a second, without a timer that wakes an idle process."""
    stamp = formatdate(int(time.time()), usegmt=True).encode()
    if not state.default_headers or state.default_headers[0][1] != stamp:
        state.default_headers = [(b"date", stamp)]


def _peer_uid(transport: asyncio.Transport) -> int | None:
    """Return the user id at the other end of a Unix socket (SO_PEERCRED), or None."""
    option = getattr(socket, "SO_PEERCRED", None)
    found: Any = transport.get_extra_info("socket")
    if option is None or found is None:
        return None
    credentials = found.getsockopt(socket.SOL_SOCKET, option, struct.calcsize("3i"))
    return int(struct.unpack("3i", credentials)[1])
