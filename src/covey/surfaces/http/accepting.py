"""Accepting connections that must prove by TLS what they are, within limits until they have.

A stranger may open any number of connections and say nothing. Each costs a descriptor and buffers
until its handshake is late, so few of them are let in at a time: the others wait in the kernel's
queue or are closed at once, and this process keeps what it needs for its database and its owner.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
from collections import Counter
from collections.abc import Callable

from covey.operations.networks import network_of

HANDSHAKE_TIMEOUT = 10.0
"""Seconds within which a handshake must be complete."""

MAX_HANDSHAKES = 256
"""Handshakes under way at one time."""

MAX_HANDSHAKES_FROM_ONE = 128
"""Those of them that come from one address or IPv6 network."""

_RETRY = 0.5
_log = logging.getLogger("covey.http")


class TlsAcceptor:
    """Accepts on one listening socket, which belongs to it from now on."""

    def __init__(
        self,
        listening: socket.socket,
        tls: ssl.SSLContext,
        factory: Callable[[], asyncio.BaseProtocol],
        backlog: int,
    ) -> None:
        listening.listen(backlog)
        listening.setblocking(False)  # noqa: FBT003 - the standard library's signature
        self._listening = listening
        self._tls = tls
        self._factory = factory
        self._under_way: Counter[str] = Counter()
        self._handshakes: set[asyncio.Task[None]] = set()
        self._accepting = asyncio.get_running_loop().create_task(self._accept())

    async def close(self) -> None:
        """Accept no more, and end the handshakes under way."""
        self._accepting.cancel()
        for task in self._handshakes:
            task.cancel()
        await asyncio.gather(self._accepting, *self._handshakes, return_exceptions=True)
        self._listening.close()

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                accepted, address = await loop.sock_accept(self._listening)
            except OSError as error:
                # Too many descriptors, or a connection that ended while it waited.
                _log.warning("a connection could not be accepted: %s", error.strerror)
                await asyncio.sleep(_RETRY)
                continue
            network = network_of(str(address[0]))
            full = len(self._handshakes) >= MAX_HANDSHAKES
            if full or self._under_way[network] >= MAX_HANDSHAKES_FROM_ONE:
                accepted.close()
                continue
            self._under_way[network] += 1
            task = loop.create_task(self._shake_hands(accepted, network))
            self._handshakes.add(task)
            task.add_done_callback(self._handshakes.discard)

    async def _shake_hands(self, accepted: socket.socket, network: str) -> None:
        try:
            with contextlib.suppress(OSError, TimeoutError):
                await asyncio.get_running_loop().connect_accepted_socket(
                    self._factory,
                    accepted,
                    ssl=self._tls,
                    ssl_handshake_timeout=HANDSHAKE_TIMEOUT,
                )
        finally:
            self._under_way[network] -= 1
            if not self._under_way[network]:
                del self._under_way[network]
