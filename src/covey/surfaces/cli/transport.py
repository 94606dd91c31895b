"""The CLI's HTTP client: the standard library's, over the local socket or TLS."""

from __future__ import annotations

import contextlib
import http.client
import os
import socket
import ssl
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from covey.errors import CoveyError, InvalidRequestError, RefusedError, UnreachableError
from covey.paths import Paths
from covey.surfaces.cli.request import Request

LOCAL_TCP_PORT = 37842
"""Where the daemon listens on 127.0.0.1 on systems without Unix sockets."""

_CONNECT_SECONDS = 10.0
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


class DaemonNotRunningError(UnreachableError):
    """No daemon answers on this home's socket."""

    code = "daemon_not_running"


@dataclass(frozen=True, slots=True)
class Remote:
    """A node that is reached by its address; `ca_file` is trusted besides the system's."""

    url: str
    token: str
    ca_file: str | None = None


class Transport:
    """Sends requests to one node, over one connection for as long as that stays open."""

    def __init__(self, paths: Paths, remote: Remote | None = None) -> None:
        self._paths = paths
        self._remote = remote
        self._connection: http.client.HTTPConnection | None = None

    @property
    def is_local(self) -> bool:
        """Whether the requests go to this machine's own daemon."""
        return self._remote is None

    def send(self, request: Request) -> http.client.HTTPResponse:
        """Send one request and return the response with its body unread.

        Raises `UnreachableError` when there is no answer.
        """
        try:
            return self._send(request)
        except (http.client.RemoteDisconnected, BrokenPipeError):
            # The daemon may close a connection that was idle: once more, on a new one.
            if not request.repeatable:
                raise self._lost() from None
            self.close()
            try:
                return self._send(request)
            except (OSError, http.client.HTTPException) as error:
                raise self._lost() from error
        except (OSError, http.client.HTTPException) as error:
            raise self._lost() from error

    def close(self) -> None:
        """Close the connection, if one is open."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    @contextlib.contextmanager
    def reading(self) -> Iterator[None]:
        """Translate what goes wrong while a body is read."""
        try:
            yield
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise self._lost() from error

    def _send(self, request: Request) -> http.client.HTTPResponse:
        if self._connection is None:
            self._connection = self._connect()
        headers = {"User-Agent": "covey-cli", "Host": "covey", **request.headers}
        if self._remote is not None:
            headers["Host"] = urlsplit(self._remote.url).netloc
            headers["Authorization"] = f"Bearer {self._remote.token}"
        elif sys.platform == "win32":
            headers["Authorization"] = f"Bearer {_local_token(self._paths)}"
        self._connection.request(request.method, request.target, request.body, headers)
        return self._connection.getresponse()

    def _connect(self) -> http.client.HTTPConnection:
        if self._remote is not None:
            return connect_remote(self._remote)
        return connect_local(self._paths)

    def _lost(self) -> CoveyError:
        self.close()
        where = "The daemon" if self._remote is None else self._remote.url
        return UnreachableError(
            f"{where} closed the connection before it answered.",
            hint="See what it is doing: covey agent logs"
            if self._remote is None
            else "Check the address and that the node is up.",
        )


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("covey")
        self._path = path

    def connect(self) -> None:
        """Connect to the socket's path instead of to a host."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(_CONNECT_SECONDS)
        self.sock.connect(self._path)
        self.sock.settimeout(None)


def connect_local(paths: Paths) -> http.client.HTTPConnection:
    """Connect to this home's daemon; raises `DaemonNotRunningError` when there is none."""
    connection: http.client.HTTPConnection
    if sys.platform == "win32":
        connection = http.client.HTTPConnection(
            "127.0.0.1", LOCAL_TCP_PORT, timeout=_CONNECT_SECONDS
        )
    else:
        connection = _UnixConnection(paths.socket)
    try:
        connection.connect()
    except PermissionError as error:
        raise RefusedError(
            f"Your user may not talk to this home's daemon ({paths.socket}).",
            hint="Run the command as the user that the daemon runs as, or use --url with a token.",
        ) from error
    except OSError as error:
        raise not_running(paths) from error
    return connection


def not_running(paths: Paths) -> DaemonNotRunningError:
    """Say that no daemon runs, and the next step for a home with or without a fleet."""
    if os.path.exists(paths.keyring):  # noqa: PTH110
        hint = "Start it in the background: covey agent start. Or here: covey up"
    else:
        hint = (
            "Make a fleet with `covey init`, or join one with `covey join`; then: covey agent start"
        )
    return DaemonNotRunningError("No Covey daemon is running here.", hint=hint)


def connect_remote(remote: Remote) -> http.client.HTTPConnection:
    """Connect to a node by its URL.

    Raises `InvalidRequestError` for a bad URL and `UnreachableError` with the reason.
    """
    parts = urlsplit(remote.url)
    try:
        port = parts.port
    except ValueError:
        port = -1
    if parts.scheme not in {"https", "http"} or not parts.hostname or port == -1:
        raise InvalidRequestError(
            f"{remote.url!r} is not the URL of a node.",
            hint="It looks like this: https://frigg.example:13500",
        )
    if parts.scheme == "http" and parts.hostname not in _LOOPBACK:
        raise InvalidRequestError(
            "A token must not travel unencrypted, and this URL begins with http:.",
            hint=f"Use https://{parts.netloc}",
        )
    connection: http.client.HTTPConnection
    if parts.scheme == "http":
        connection = http.client.HTTPConnection(parts.hostname, port, timeout=_CONNECT_SECONDS)
    else:
        connection = http.client.HTTPSConnection(
            parts.hostname, port or 13500, timeout=_CONNECT_SECONDS, context=_tls(remote.ca_file)
        )
    try:
        connection.connect()
    except ssl.SSLCertVerificationError as error:
        raise UnreachableError(
            f"The certificate of {parts.netloc} is not trusted: {error.verify_message}.",
            hint="Name the fleet's CA certificate in COVEY_CA_FILE "
            "(on a member: covey fleet ca > fleet-ca.pem).",
        ) from error
    except OSError as error:
        raise UnreachableError(
            f"{parts.netloc} cannot be reached: {error.strerror or error}.",
            hint="Check the address, that the node is up, and that its port is open.",
        ) from error
    connection.sock.settimeout(None)
    return connection


def _tls(ca_file: str | None) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if ca_file:
        try:
            context.load_verify_locations(ca_file)
        except (OSError, ssl.SSLError) as error:
            raise InvalidRequestError(
                f"The CA file {ca_file} cannot be used: {error.strerror or error}.",
                hint="COVEY_CA_FILE must name a PEM file with the fleet's CA certificate.",
            ) from error
    return context


def _local_token(paths: Paths) -> str:
    try:
        return Path(paths.local_token).read_text(encoding="ascii").strip()
    except OSError as error:
        raise not_running(paths) from error
