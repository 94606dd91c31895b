"""From a request's proof of identity to the caller: local socket, bearer token or certificate."""

from __future__ import annotations

from typing import Protocol

from starlette.datastructures import Headers
from starlette.types import Scope

from covey.errors import UnauthenticatedError
from covey.operations.access import Caller
from covey.surfaces.http.connection import address_of, connection_of
from covey.surfaces.http.limits import FailedAttempts

_SCHEME = "bearer"
PROTOCOL_TOKEN = "covey.bearer."  # noqa: S105 - the prefix that a token follows
"""A browser's WebSocket cannot set headers: it offers the subprotocol `covey.bearer.<token>`."""


class Authenticator(Protocol):
    """Who may call this node; each method may raise `LockedError` while that is unknown."""

    def by_token(self, token: str, address: str) -> Caller | None:
        """Return the token's caller, or None if there is no such token.

        Raises `UnauthenticatedError` with the reason for one that was known: expired, for instance.
        """

    def by_certificate(self, certificate: bytes, address: str) -> Caller | None:
        """Return the member with this certificate (DER, verified by TLS), or None."""

    def local(self, uid: int | None) -> Caller:
        """Return the admin at the other end of the Unix socket, named after the OS user."""


def identify(scope: Scope, authenticator: Authenticator, failures: FailedAttempts) -> Caller:
    """Return the caller of a request.

    Raises `UnauthenticatedError`, or `RateLimitedError` when its address has failed too often.
    A token goes before a certificate, so that a member may act with less than its own role.
    """
    connection = connection_of(scope)
    address = address_of(scope)
    token = _token(scope)
    if token is not None:
        try:
            found = authenticator.by_token(token, address)
        except UnauthenticatedError:
            failures.count(address)
            raise
        if found is None:
            failures.count(address)
            raise UnauthenticatedError(
                "The token is not known here: mistyped, revoked, or of another fleet.",
                hint="Create one on a node of this fleet: covey token create NAME",
            )
        return found
    if connection.local:
        return authenticator.local(connection.peer_uid)
    if connection.certificate is not None:
        member = authenticator.by_certificate(connection.certificate, address)
        if member is not None:
            return member
        raise UnauthenticatedError(
            "The certificate is not of a present member of this fleet.",
            hint="Ask an admin for an invitation: covey invite",
        )
    raise UnauthenticatedError(
        "This needs a token or a member's certificate, and the request has neither.",
        hint="Send the header Authorization: Bearer TOKEN; make one with: covey token create NAME",
    )


def _token(scope: Scope) -> str | None:
    """Return the bearer token; raises `UnauthenticatedError` for another or a broken scheme."""
    values = Headers(scope=scope).getlist("authorization")
    if not values and scope["type"] == "websocket":
        offered = [item for item in scope["subprotocols"] if item.startswith(PROTOCOL_TOKEN)]
        return offered[0].removeprefix(PROTOCOL_TOKEN) if offered else None
    if not values:
        return None
    scheme, _, token = values[0].partition(" ")
    if len(values) > 1 or scheme.lower() != _SCHEME or not token.strip():
        raise UnauthenticatedError(
            "The Authorization header is not of the form: Bearer TOKEN",
            hint="Create a token with: covey token create NAME",
        )
    return token.strip()
