"""What is known of a connection before any request on it is read."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any, Protocol, cast

from starlette.types import Scope

_STATE_KEY = "covey.connection"
_WIRE_KEY = "covey.wire"


class Wire(Protocol):
    """A WebSocket below its messages."""

    async def ping(self) -> None:
        """Return once the client has answered; raises `ConnectionError` if it is gone."""

    def abort(self) -> None:
        """Cut the connection."""


@dataclass(frozen=True, slots=True)
class Connection:
    """One accepted connection; `certificate` is the peer's, DER, verified by TLS, or None.

    `local` is true on this node's own Unix socket, and `peer_uid` is then the user at its other
    end where the system tells. `stopping` is set when the server begins to stop: whatever is
    long-lived ends itself then. `lost` is set when a WebSocket's connection is no more.
    """

    local: bool = False
    peer_uid: int | None = None
    certificate: bytes | None = None
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    lost: asyncio.Event = field(default_factory=asyncio.Event)


def connection_of(scope: Scope) -> Connection:
    """Return the scope's connection; of a server other than ours, an anonymous remote one."""
    state = cast("dict[str, object]", scope.get("state") or {})
    found = state.get(_STATE_KEY)
    return found if isinstance(found, Connection) else Connection()


def connection_state(connection: Connection) -> dict[str, object]:
    """Return what a scope's `state` must hold for `connection_of` to find the connection."""
    return {_STATE_KEY: connection}


def put_wire(scope: Any, wire: Wire) -> None:
    """Give a WebSocket's scope its wire."""
    scope["state"][_WIRE_KEY] = wire


def wire_of(scope: Scope) -> Wire | None:
    """Return a WebSocket's wire; None under a server other than ours."""
    return cast("dict[str, Wire]", scope.get("state") or {}).get(_WIRE_KEY)


def address_of(scope: Scope) -> str:
    """Return the client's address for limits, logs and the audit trail."""
    if connection_of(scope).local:
        return "local"
    client = scope.get("client")
    return str(client[0]) if client else "unknown"
