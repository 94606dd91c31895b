"""What apps use of the proxy: routes by owner, pools whose addresses are exchanged, draining."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol

from covey.apps.routing.model import Route


class Routes(Protocol):
    """The proxy of this node. The first route starts it, the last one's removal ends it."""

    async def put(self, owner: str, routes: Sequence[Route]) -> None:
        """Make these all the routes of `owner` (such as `app/shop`), in the proxy and on disk.

        Nothing changes when it raises: `ConflictError` names the owner of a host and path that is
        taken, `InvalidRequestError` says what the proxy does not accept. Putting what is there
        already costs nothing and reloads nothing.
        """
        ...

    async def remove(self, owner: str, pools: Collection[str] = ()) -> None:
        """Remove the routes of `owner`, and forget the pools they used; and `pools`."""
        ...

    def check(self, owner: str, routes: Sequence[Route]) -> None:
        """Raise what `put` would raise for a conflict, changing nothing."""
        ...

    def of(self, owner: str) -> tuple[Route, ...]:
        """Return the routes of an owner."""
        ...

    def all(self) -> dict[str, tuple[Route, ...]]:
        """Return all routes by owner."""
        ...

    async def switch(self, pool: str, addresses: Sequence[str]) -> None:
        """Send new requests of a pool to these addresses, durably and without a reload.

        Requests and WebSockets under way stay where they are. No address: requests wait a few
        seconds for one, then get 502.
        """
        ...

    def addresses(self, pool: str) -> tuple[str, ...]:
        """Return where a pool's requests go."""
        ...

    async def drain(self, addresses: Sequence[str], timeout_s: float) -> bool:
        """Wait until no request or WebSocket uses the addresses; False after the timeout.

        They must have been switched away from before.
        """
        ...

    def url(self, host: str) -> str:
        """Return the URL under which users reach a host of this proxy, with its port."""
        ...
