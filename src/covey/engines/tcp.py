"""TCP connections by asyncio, for tunnels."""

from __future__ import annotations

import asyncio
import errno
from contextlib import suppress

from covey.errors import ConflictError, RefusedError, UnreachableError

_CHUNK = 64 << 10
_CONNECT_S = 10.0
_MOST_WAITING = 64
_PARTING_S = 10.0


class Connection:
    """One connection; its `peer` is the address at the other end."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        name = writer.get_extra_info("peername") or ("", 0)
        self.peer = _shown(name[0], name[1])

    async def read(self) -> bytes:
        """Return what comes next; nothing at the end."""
        return await self._reader.read(_CHUNK)

    async def write(self, data: bytes) -> None:
        """Send; waits while the other end does not read."""
        self._writer.write(data)
        await self._writer.drain()

    def end(self) -> None:
        """Say that no more will be sent."""
        with suppress(OSError):
            if not self._writer.is_closing() and self._writer.can_write_eof():
                self._writer.write_eof()

    def close(self) -> None:
        """Close it; what was written is still sent, unless the other end takes too long."""
        self._writer.close()
        transport = self._writer.transport
        if transport.get_write_buffer_size():
            asyncio.get_running_loop().call_later(_PARTING_S, transport.abort)


class Listener:
    """Accepts connections, a few ahead of whoever takes them."""

    def __init__(self) -> None:
        self._arrived: asyncio.Queue[Connection] = asyncio.Queue(_MOST_WAITING)
        self._server: asyncio.Server | None = None
        self._closed = False

    async def begin(self, host: str, port: int) -> None:
        """Listen; raises `OSError`."""
        self._server = await asyncio.start_server(self._take, host, port)

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens."""
        if self._server is None or not self._server.sockets:
            return "", 0
        name = self._server.sockets[0].getsockname()
        return str(name[0]), int(name[1])

    async def accept(self) -> Connection:
        """Return the next connection."""
        return await self._arrived.get()

    def close(self) -> None:
        """Accept no more, and close what nobody took."""
        self._closed = True
        if self._server is not None:
            self._server.close()
        while not self._arrived.empty():
            self._arrived.get_nowait().close()

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = Connection(reader, writer)
        if self._closed:
            # It came in while the listener was being closed.
            connection.close()
            return
        try:
            self._arrived.put_nowait(connection)
        except asyncio.QueueFull:
            connection.close()


class SystemTcp:
    """The machine's network."""

    async def connect(self, host: str, port: int) -> Connection:
        """Connect; raises `UnreachableError`."""
        try:
            async with asyncio.timeout(_CONNECT_S):
                return Connection(*await asyncio.open_connection(host, port, limit=_CHUNK))
        except (OSError, TimeoutError) as error:
            reason = getattr(error, "strerror", None) or "no answer in time"
            raise UnreachableError(
                f"{_shown(host, port)} cannot be reached from this node: {reason}.",
                hint="Check the address, and that something listens there.",
            ) from error

    async def listen(self, host: str, port: int) -> Listener:
        """Listen; raises `ConflictError` or `RefusedError`."""
        made = Listener()
        try:
            await made.begin(host, port)
        except OSError as error:
            where = _shown(host, port)
            if error.errno == errno.EADDRINUSE:
                raise ConflictError(
                    f"{where} is in use by another program.", hint="Choose another port."
                ) from error
            raise RefusedError(
                f"This node cannot listen on {where}: {error.strerror or error}.",
                hint="Choose an address of the node, and a port above 1023.",
            ) from error
        return made


def _shown(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
