"""The operations on the node itself: status, health checks, lock, settings, logs, peers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated

import msgspec

from covey.fleet.node import (
    Check,
    ConfigFile,
    ConfigKey,
    Done,
    LogLine,
    NodeActions,
    NodeState,
    NodeStatus,
    Peer,
    SyncReport,
)
from covey.operations.access import Role
from covey.operations.context import Context
from covey.operations.registry import Effect, operation
from covey.operations.secret import Secret


@operation(
    "node.status",
    access=Role.VIEWER,
    effect=Effect.READ,
    http="GET /api/v1/node",
    examples=("status", "status --fleet", "status --json"),
)
async def status(
    ctx: Context,
    *,
    fleet: Annotated[
        bool, msgspec.Meta(description="Also the connection to each other machine.")
    ] = False,
) -> NodeStatus:
    """Show what this node is and how it is."""
    actions = ctx.service(NodeActions)
    found = actions.status()
    if not fleet or found.state is NodeState.LOCKED:
        return found
    return msgspec.structs.replace(found, fleet=actions.peers())


@operation(
    "node.doctor",
    access=Role.OPERATOR,
    effect=Effect.READ,
    http="GET /api/v1/node/checks",
    examples=("doctor",),
)
async def doctor(ctx: Context) -> list[Check]:
    """Check each thing that can be wrong with this node, and name the fix."""
    return await ctx.service(NodeActions).checks()


@operation(
    "node.lock",
    access=Role.ADMIN,
    effect=Effect.CHANGE,
    http="POST /api/v1/node/lock",
    examples=("lock",),
)
async def lock(ctx: Context) -> Done:
    """Forget the node's keys until `covey unlock`.

    Peers are disconnected, the database is closed and rendered variables are removed.
    """
    await ctx.service(NodeActions).lock()
    return Done("The node is locked.")


@operation(
    "node.unlock",
    access=Role.ADMIN,
    effect=Effect.CHANGE,
    http="POST /api/v1/node/unlock",
    examples=("unlock", "unlock --password-stdin < password.txt"),
)
async def unlock(
    ctx: Context,
    *,
    password: Annotated[Secret, msgspec.Meta(description="The master password.")],
) -> Done:
    """Open the node's keys with the master password."""
    await ctx.service(NodeActions).unlock(password)
    return Done("The node is unlocked.")


@operation(
    "node.allow-writes",
    access=Role.ADMIN,
    effect=Effect.DESTROY,
    http="POST /api/v1/node/allow-writes",
    examples=("node allow-writes",),
)
async def allow_writes(ctx: Context) -> Done:
    """Let a restored node write although it has not met every other member again.

    Only for members that are gone for good: if one returns that holds more of this node's log, it
    refuses what this node wrote since, and this node must be removed and joined anew.
    """
    await ctx.service(NodeActions).allow_writes()
    return Done("This node may write again.")


@operation(
    "node.shutdown",
    access=Role.ADMIN,
    effect=Effect.DESTROY,
    http="POST /api/v1/node/shutdown",
    examples=("shutdown",),
)
async def shutdown(ctx: Context) -> Done:
    """Stop this node's daemon gracefully."""
    ctx.service(NodeActions).shutdown()
    return Done("The node is stopping.")


@operation(
    "node.logs",
    access=Role.OPERATOR,
    effect=Effect.REVEAL,
    http="GET /api/v1/node/logs",
    examples=("node logs --lines 50", "node logs --follow"),
)
async def logs(
    ctx: Context,
    *,
    lines: Annotated[int, msgspec.Meta(ge=0, le=10_000, description="Lines from the end.")] = 100,
    follow: Annotated[bool, msgspec.Meta(description="Go on with new lines.")] = False,
) -> AsyncIterator[LogLine]:
    """Show the daemon's log."""
    async for line in ctx.service(NodeActions).log_lines(lines, follow):
        yield LogLine(line)


@operation(
    "config.show",
    access=Role.OPERATOR,
    effect=Effect.READ,
    http="GET /api/v1/config",
    examples=("config show",),
)
async def show_config(ctx: Context) -> list[ConfigKey]:
    """Show every setting with its value, and where the value comes from."""
    return ctx.service(NodeActions).config()


@operation(
    "config.path",
    access=Role.OPERATOR,
    effect=Effect.READ,
    http="GET /api/v1/config/path",
    examples=("config path",),
)
async def config_path(ctx: Context) -> ConfigFile:
    """Show where the settings file is."""
    return ctx.service(NodeActions).config_file()


@operation(
    "config.check",
    access=Role.OPERATOR,
    effect=Effect.READ,
    http="GET /api/v1/config/check",
    examples=("config check",),
)
async def check_config(ctx: Context) -> ConfigFile:
    """Check the settings file as it is now, before a restart reads it."""
    return ctx.service(NodeActions).config_file()


@operation(
    "peers.list",
    access=Role.VIEWER,
    effect=Effect.READ,
    http="GET /api/v1/peers",
    examples=("peers",),
)
async def list_peers(ctx: Context) -> list[Peer]:
    """List the other members and the state of the connection to each."""
    return ctx.service(NodeActions).peers()


@operation(
    "sync.now",
    access=Role.DEVELOPER,
    effect=Effect.CHANGE,
    http="POST /api/v1/sync",
    examples=("sync", "sync --timeout 30"),
)
async def sync_now(
    ctx: Context,
    *,
    timeout: Annotated[  # noqa: ASYNC109 - part of the interface: how long to wait for peers
        float, msgspec.Meta(gt=0, le=600, description="Seconds to wait for the peers.")
    ] = 10.0,
) -> SyncReport:
    """Dial every peer now and wait until both sides hold the same entries."""
    return await ctx.service(NodeActions).sync(timeout)
