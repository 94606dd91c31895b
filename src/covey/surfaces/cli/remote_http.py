"""Connections to a node by its URL: TLS by the standard library."""

from __future__ import annotations

import http.client
import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from covey.errors import InvalidRequestError, UnreachableError
from covey.surfaces.cli.local_http import ProtocolError

_CONNECT_SECONDS = 10.0
_DEFAULT_PORT = 13500
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


@dataclass(frozen=True, slots=True)
class Remote:
    """A node that is reached by its address; `ca_file` holds its fleet's authority."""

    url: str
    token: str
    ca_file: str | None = None


class RemoteResponse:
    """A response of the standard library's client."""

    keeps_alive = True

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self._response = response
        self.status = response.status
        self.content_type = response.headers.get("Content-Type", "")

    def read(self) -> bytes:
        """Return the whole body; raises `ProtocolError` if it breaks off."""
        try:
            return self._response.read()
        except http.client.HTTPException as error:
            raise ProtocolError(str(error)) from error

    def lines(self) -> Iterator[bytes]:
        """Yield the body's lines as they come; raises `ProtocolError` if it breaks off."""
        try:
            for line in self._response:
                yield line.rstrip(b"\r\n")
        except http.client.HTTPException as error:
            raise ProtocolError(str(error)) from error


class RemoteConnection:
    """One connection to a node; raises `InvalidRequestError` or `UnreachableError` when made."""

    def __init__(self, remote: Remote) -> None:
        self._remote = remote
        self._connection = connect(remote)

    def request(
        self, method: str, target: str, body: bytes | None, headers: Mapping[str, str]
    ) -> RemoteResponse:
        """Send a request with the token; raises `OSError` or `ProtocolError`."""
        own = {
            **headers,
            "Host": urlsplit(self._remote.url).netloc,
            "Authorization": f"Bearer {self._remote.token}",
        }
        try:
            self._connection.request(method, target, body, own)
            return RemoteResponse(self._connection.getresponse())
        except http.client.HTTPException as error:
            raise ProtocolError(str(error)) from error

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


def connect(remote: Remote) -> http.client.HTTPConnection:
    """Connect; raises `InvalidRequestError` or `UnreachableError`."""
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
            parts.hostname,
            port or _DEFAULT_PORT,
            timeout=_CONNECT_SECONDS,
            context=_tls(remote.ca_file),
        )
    try:
        connection.connect()
    except ssl.SSLCertVerificationError as error:
        raise UnreachableError(
            f"The certificate of {parts.netloc} is not trusted: {error.verify_message}.",
            hint="On a machine of the fleet: covey fleet authority > fleet.pem. "
            "Then here: COVEY_CA_FILE=fleet.pem",
        ) from error
    except (OSError, UnicodeError) as error:
        raise UnreachableError(
            f"{parts.netloc} cannot be reached: {getattr(error, 'strerror', None) or error}.",
            hint="Check the address, that the node is up, and that its port is open.",
        ) from error
    connection.sock.settimeout(None)
    return connection


def _tls(ca_file: str | None) -> ssl.SSLContext:
    """Trust the system's authorities and names, or else the fleet's authority alone.

    That one certifies members and nobody else, under ids that no address tells.
    """
    if not ca_file:
        return ssl.create_default_context()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    try:
        context.load_verify_locations(ca_file)
    except (OSError, ssl.SSLError) as error:
        raise InvalidRequestError(
            f"The CA file {ca_file} cannot be used: {error.strerror or error}.",
            hint="COVEY_CA_FILE must name what `covey fleet authority` printed.",
        ) from error
    return context
