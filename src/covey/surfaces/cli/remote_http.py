"""Connections to a node by its URL: TLS by the standard library."""

from __future__ import annotations

import http.client
import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from covey.client.tls import read_url, tls_context
from covey.errors import UnreachableError
from covey.surfaces.cli.local_http import ProtocolError

_CONNECT_SECONDS = 10.0


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
    encrypted, host, port = read_url(remote.url)
    netloc = urlsplit(remote.url).netloc
    connection: http.client.HTTPConnection
    if encrypted:
        connection = http.client.HTTPSConnection(
            host, port, timeout=_CONNECT_SECONDS, context=tls_context(remote.ca_file)
        )
    else:
        connection = http.client.HTTPConnection(host, port, timeout=_CONNECT_SECONDS)
    try:
        connection.connect()
    except ssl.SSLCertVerificationError as error:
        raise UnreachableError(
            f"The certificate of {netloc} is not trusted: {error.verify_message}.",
            hint="On a machine of the fleet: covey fleet authority > fleet.pem. "
            "Then here: COVEY_CA_FILE=fleet.pem",
        ) from error
    except (OSError, UnicodeError) as error:
        raise UnreachableError(
            f"{netloc} cannot be reached: {getattr(error, 'strerror', None) or error}.",
            hint="Check the address, that the node is up, and that its port is open.",
        ) from error
    connection.sock.settimeout(None)
    return connection
