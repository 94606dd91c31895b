"""Running the HTTP server inside the daemon's own loop: sockets in, graceful stop out."""

from __future__ import annotations

import asyncio
import errno
import functools
import os
import socket
import ssl
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from starlette.types import ASGIApp
from uvicorn.config import Config
from uvicorn.server import ServerState

from covey.errors import ConflictError, InvalidRequestError, RefusedError, StorageError
from covey.surfaces.http.accepting import TlsAcceptor
from covey.surfaces.http.protocol import ConnectionProtocol
from covey.surfaces.http.socket_protocol import SocketProtocol

_BACKLOG = 512
_KEEP_ALIVE = 75
_PING_INTERVAL = 20.0
_ABORT_WAIT = 1.0
_MAX_UNIX_PATH = 107


@dataclass(frozen=True, slots=True)
class Listener:
    """A bound socket; `tls` is None on the local one, which makes its callers the owner."""

    socket: socket.socket
    tls: ssl.SSLContext | None = None
    local: bool = False


class HttpServer:
    """An ASGI app on some listeners, without signal handlers and without timers while idle."""

    def __init__(self, app: ASGIApp, *, max_websocket_bytes: int = 4 * 1024 * 1024) -> None:
        self._config = Config(
            app,
            ws=SocketProtocol,
            ws_max_size=max_websocket_bytes,
            ws_ping_interval=_PING_INTERVAL,
            ws_ping_timeout=_PING_INTERVAL,
            ws_per_message_deflate=False,
            http=ConnectionProtocol,
            interface="asgi3",
            lifespan="off",
            log_config=None,
            log_level="warning",
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=_KEEP_ALIVE,
        )
        self._state = ServerState()
        self._servers: list[asyncio.AbstractServer] = []
        self._acceptors: list[TlsAcceptor] = []
        self._stopping = asyncio.Event()

    async def start(self, listeners: Iterable[Listener]) -> None:
        """Accept connections on each listener; its socket belongs to the server from now on."""
        loop = asyncio.get_running_loop()
        if not self._config.loaded:
            self._config.load()
        for item in listeners:
            factory = functools.partial(
                ConnectionProtocol,
                self._config,
                self._state,
                local=item.local,
                stopping=self._stopping,
            )
            if item.tls is not None:
                self._acceptors.append(TlsAcceptor(item.socket, item.tls, factory, _BACKLOG))
                continue
            if item.socket.family == getattr(socket, "AF_UNIX", None):
                server: asyncio.AbstractServer = await loop.create_unix_server(
                    factory, sock=item.socket, backlog=_BACKLOG
                )
            else:
                server = await loop.create_server(factory, sock=item.socket, backlog=_BACKLOG)
            self._servers.append(server)

    async def stop(self, grace: float = 5.0) -> None:
        """Accept no more, let running requests end for `grace` seconds, then cut the rest."""
        self._stopping.set()
        for server in self._servers:
            server.close()
        for acceptor in self._acceptors:
            await acceptor.close()
        self._acceptors.clear()
        for connection in list(self._state.connections):
            connection.shutdown()
        if self._state.tasks:
            await asyncio.wait(self._state.tasks, timeout=grace)
        for task in list(self._state.tasks):
            task.cancel()
        if self._state.tasks:
            await asyncio.wait(self._state.tasks, timeout=_ABORT_WAIT)
        for connection in list(self._state.connections):
            connection.transport.abort()
        for server in self._servers:
            try:
                await asyncio.wait_for(server.wait_closed(), _ABORT_WAIT)
            except TimeoutError:
                continue
        self._servers.clear()


def bind_tcp(host: str, port: int) -> list[socket.socket]:
    """Bind every address that `host` stands for (port 0: any free one, the same for all).

    `::` stands for all addresses of both families.

    Raises `ConflictError` if the port is taken, `RefusedError` if it is not permitted and
    `InvalidRequestError` for an address that this machine does not have.
    """
    try:
        names = ("0.0.0.0", "::") if host == "::" else (host or None,)  # noqa: S104 - asked for
        found = [
            item
            for name in names
            for item in socket.getaddrinfo(
                name, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )
        ]
    except OSError as error:
        raise InvalidRequestError(
            f"The address {host} to listen on is unknown: {error.strerror}.",
            hint="Set server.listen in covey.toml, for example to 0.0.0.0:13500",
        ) from error
    bound: list[socket.socket] = []
    try:
        for family, address in dict.fromkeys((item[0], item[4]) for item in found):
            chosen = bound[0].getsockname()[1] if bound and port == 0 else port
            bound.append(_bind(family, (address[0], chosen, *address[2:])))
    except OSError as error:
        for item in bound:
            item.close()
        raise _not_bound(host, port, error) from error
    return bound


def _bind(family: socket.AddressFamily, address: tuple[str | int, ...]) -> socket.socket:
    created = socket.socket(family, socket.SOCK_STREAM)
    try:
        if os.name == "posix":
            created.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            created.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        created.setblocking(False)  # noqa: FBT003 - the standard library's signature
        created.bind(address)
    except OSError:
        created.close()
        raise
    return created


def _not_bound(
    host: str, port: int, error: OSError
) -> ConflictError | RefusedError | InvalidRequestError:
    where = f"{host}:{port}"
    match error.errno:
        case errno.EADDRINUSE:
            return ConflictError(
                f"{where} is in use by another program.",
                hint="Stop that program, or choose another port: covey up --listen ADDRESS:PORT",
            )
        case errno.EACCES | errno.EPERM:
            return RefusedError(
                f"This user may not listen on {where}.",
                hint="Choose a port above 1023: covey up --listen ADDRESS:PORT",
            )
        case _:
            return InvalidRequestError(
                f"Covey cannot listen on {where}: {error.strerror}.",
                hint="Choose an address of this machine: covey up --listen ADDRESS:PORT",
            )


def bind_unix(path: Path) -> socket.socket:
    """Bind a Unix socket that is 0600 from its first moment, in place of a stale one.

    The caller holds the lock of the node's home. Raises `InvalidRequestError` when the path is
    too long for a socket, and `StorageError` when it cannot be made.
    """
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    if len(os.fsencode(fresh)) > _MAX_UNIX_PATH:
        raise InvalidRequestError(
            f"The path of the socket is too long: {path}",
            hint="Choose a shorter COVEY_HOME or XDG_RUNTIME_DIR.",
        )
    created = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        created.setblocking(False)  # noqa: FBT003 - the standard library's signature
        fresh.unlink(missing_ok=True)
        previous = os.umask(0o177)
        try:
            created.bind(os.fspath(fresh))
        finally:
            os.umask(previous)
        fresh.replace(path)
    except OSError as error:
        created.close()
        raise StorageError(
            f"The socket {path} cannot be made: {error.strerror}.",
            hint="Check that its directory belongs to this user and that the disk is not full.",
        ) from error
    return created
