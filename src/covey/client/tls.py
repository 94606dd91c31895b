"""Nodes by their URL: what a URL must be, and whose certificates are believed."""

from __future__ import annotations

import ssl
from urllib.parse import urlsplit

from covey.errors import InvalidRequestError

DEFAULT_PORT = 13500

_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


def read_url(url: str) -> tuple[bool, str, int | None]:
    """Return whether it is encrypted, the host and the port; raises `InvalidRequestError`."""
    parts = urlsplit(url)
    try:
        port = parts.port
    except ValueError:
        port = -1
    if parts.scheme not in {"https", "http"} or not parts.hostname or port == -1:
        raise InvalidRequestError(
            f"{url!r} is not the URL of a node.",
            hint="It looks like this: https://frigg.example:13500",
        )
    if parts.scheme == "http" and parts.hostname not in _LOOPBACK:
        raise InvalidRequestError(
            "A token must not travel unencrypted, and this URL begins with http:.",
            hint=f"Use https://{parts.netloc}",
        )
    if parts.scheme == "http":
        return False, parts.hostname, port
    return True, parts.hostname, port or DEFAULT_PORT


def tls_context(ca_file: str | None) -> ssl.SSLContext:
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
