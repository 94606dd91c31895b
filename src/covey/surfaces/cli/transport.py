"""One connection to a node: this home's own daemon, or another by its URL."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from covey.client.request import Request
from covey.errors import CoveyError, RefusedError, UnreachableError
from covey.paths import LOCAL_TCP_PORT, Paths
from covey.surfaces.cli.local_http import LocalConnection, ProtocolError

if TYPE_CHECKING:
    from covey.surfaces.cli.remote_http import Remote

_CONNECT_SECONDS = 10.0


class DaemonNotRunningError(UnreachableError):
    """No daemon answers on this home's socket."""

    code = "daemon_not_running"


class Response(Protocol):
    """What a node answered; reading raises `OSError` or `ProtocolError`."""

    @property
    def status(self) -> int:
        """The HTTP status."""

    @property
    def content_type(self) -> str:
        """The header Content-Type, or nothing."""

    @property
    def keeps_alive(self) -> bool:
        """Whether the connection may carry another request after this body."""

    def read(self) -> bytes:
        """Return the whole body."""

    def lines(self) -> Iterator[bytes]:
        """Yield the body's lines as they come."""


class Connection(Protocol):
    """A connection that sends one request after the other."""

    def request(
        self, method: str, target: str, body: bytes | None, headers: Mapping[str, str]
    ) -> Response:
        """Send a request and read the response's head; raises `OSError` or `ProtocolError`."""

    def close(self) -> None:
        """Close the connection."""


class Transport:
    """Sends requests to one node, over one connection for as long as that stays open."""

    def __init__(self, paths: Paths, remote: Remote | None = None) -> None:
        self._paths = paths
        self._remote = remote
        self._connection: Connection | None = None

    def send(self, request: Request) -> Response:
        """Send one request and return the response with its body unread.

        Raises `UnreachableError` when there is no answer.
        """
        used_before = self._connection is not None
        try:
            return self._send(request)
        except (OSError, ProtocolError) as error:
            self.close()
            # A daemon may close a connection that was idle: once more, on a new one.
            if not (used_before and request.repeatable):
                raise self._lost() from error
        try:
            return self._send(request)
        except (OSError, ProtocolError) as error:
            raise self._lost() from error

    def open_stream(self) -> tuple[socket.socket, dict[str, str]]:
        """Open a connection for a WebSocket; returns it and the headers that it needs.

        Raises `UnreachableError` when there is no answer.
        """
        if self._remote is None:
            return connect_socket(self._paths), {}
        from covey.surfaces.cli.remote_http import connect

        return connect(self._remote).sock, {"Authorization": f"Bearer {self._remote.token}"}

    def close(self) -> None:
        """Close the connection, if one is open."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    @contextlib.contextmanager
    def reading(self, response: Response) -> Iterator[None]:
        """Translate what goes wrong while the body is read, and close what cannot be used again."""
        try:
            yield
        except (OSError, ProtocolError) as error:
            self.close()
            raise self._lost() from error
        if not response.keeps_alive:
            self.close()

    def _send(self, request: Request) -> Response:
        if self._connection is None:
            self._connection = self._connect()
        headers = {"Host": "covey", "User-Agent": "covey-cli", **request.headers}
        if self._remote is None and sys.platform == "win32":
            headers["Authorization"] = f"Bearer {_local_token(self._paths)}"
        return self._connection.request(request.method, request.target, request.body, headers)

    def _connect(self) -> Connection:
        if self._remote is None:
            return connect_local(self._paths)
        from covey.surfaces.cli.remote_http import RemoteConnection

        return RemoteConnection(self._remote)

    def _lost(self) -> CoveyError:
        self.close()
        if self._remote is None:
            return UnreachableError(
                "The daemon closed the connection before it answered.",
                hint="See what it was doing: covey agent logs",
            )
        return UnreachableError(
            f"{self._remote.url} closed the connection before it answered.",
            hint="Check that the address is a Covey node's and that the node is up.",
        )


def connect_local(paths: Paths) -> LocalConnection:
    """Connect to this home's daemon; raises `DaemonNotRunningError` when there is none."""
    return LocalConnection(connect_socket(paths))


def connect_socket(paths: Paths) -> socket.socket:
    """Connect to this home's daemon; raises `DaemonNotRunningError` when there is none."""
    try:
        if sys.platform == "win32":
            found = socket.create_connection(("127.0.0.1", LOCAL_TCP_PORT), _CONNECT_SECONDS)
        else:
            found = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                found.settimeout(_CONNECT_SECONDS)
                found.connect(paths.socket)
            except OSError:
                found.close()
                raise
        found.settimeout(None)
    except PermissionError as error:
        raise RefusedError(
            f"Your user may not talk to this home's daemon ({paths.socket}).",
            hint="Run the command as the user that the daemon runs as, or use --url with a token.",
        ) from error
    except OSError as error:
        raise not_running(paths) from error
    return found


def not_running(paths: Paths) -> DaemonNotRunningError:
    """Say that no daemon runs, and the next step for a home with or without a fleet."""
    if os.path.exists(paths.keyring):  # noqa: PTH110
        hint = "Start it in the background: covey agent start. Or here: covey up"
    else:
        hint = "First make a fleet (covey init) or join one (covey join -); then: covey agent start"
    return DaemonNotRunningError("No Covey daemon is running here.", hint=hint)


def _local_token(paths: Paths) -> str:
    try:
        return Path(paths.local_token).read_text(encoding="ascii").strip()
    except OSError as error:
        raise not_running(paths) from error
