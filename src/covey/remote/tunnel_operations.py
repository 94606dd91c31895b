"""The operations on tunnels: connect from here, listen here, and take what came in."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Annotated

from msgspec import Meta

from covey.operations.access import Role
from covey.operations.context import Context
from covey.operations.registry import Effect, operation
from covey.remote.tunnels.model import (
    Address,
    ListenOutput,
    Port,
    TunnelInput,
    TunnelOutput,
)
from covey.remote.tunnels.service import Tunnels


@operation(
    "tunnel.open",
    access=Role.OPERATOR,
    effect=Effect.CHANGE,
    http="POST /api/v1/tunnels:open",
)
async def open_tunnel(
    ctx: Context,
    host: Address,
    port: Port,
    *,
    input: AsyncIterator[TunnelInput],  # noqa: A002 - the name that callers know
) -> AsyncIterator[TunnelOutput]:
    """Connect to an address as this node sees it, and pass bytes both ways."""
    async with aclosing(ctx.service(Tunnels).open(host, port, input)) as items:
        async for item in items:
            yield item


@operation(
    "tunnel.listen",
    access=Role.OPERATOR,
    effect=Effect.CHANGE,
    http="POST /api/v1/tunnels:listen",
)
async def listen(
    ctx: Context,
    *,
    host: Address = "127.0.0.1",
    port: Annotated[int, Meta(ge=0, le=65_535, description="The port; 0 is any free one.")] = 0,
) -> AsyncIterator[ListenOutput]:
    """Accept TCP connections on this node, and tell of each, until the caller leaves."""
    async with aclosing(ctx.service(Tunnels).listen(ctx.caller, host, port)) as items:
        async for item in items:
            yield item


@operation(
    "tunnel.accept",
    access=Role.OPERATOR,
    effect=Effect.CHANGE,
    http="POST /api/v1/tunnels/{ticket}",
)
async def accept(
    ctx: Context,
    ticket: Annotated[
        str, Meta(pattern="^[0-9a-f]{32}$", description="What listen said of the connection.")
    ],
    *,
    input: AsyncIterator[TunnelInput],  # noqa: A002 - as above
) -> AsyncIterator[TunnelOutput]:
    """Take a connection that came in on this node, and pass bytes both ways."""
    async with aclosing(ctx.service(Tunnels).accept(ctx.caller, ticket, input)) as items:
        async for item in items:
            yield item
