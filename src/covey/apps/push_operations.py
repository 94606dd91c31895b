"""The operations behind `git push` and `git fetch`, which come to /git/APP.git."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Annotated

from msgspec import Meta

from covey.apps.names import AppName
from covey.apps.pushes import GitPart, GitService, Pushes
from covey.operations.access import Role
from covey.operations.context import Context
from covey.operations.registry import Effect, operation

Protocol = Annotated[str, Meta(max_length=100, description="What the client sent as Git-Protocol.")]


@operation(
    "apps.git-refs",
    access=Role.DEVELOPER,
    effect=Effect.READ,
    http="GET /api/v1/apps/{app}/git:refs",
)
async def git_refs(
    ctx: Context,
    app: AppName,
    *,
    service: Annotated[GitService, Meta(description="What the client will ask for.")],
    protocol: Protocol = "",
) -> GitPart:
    """Tell git what an app's repository has, in git's protocol."""
    return GitPart(await ctx.service(Pushes).advertise(app, service, protocol))


@operation(
    "apps.pull",
    access=Role.DEVELOPER,
    effect=Effect.REVEAL,
    http="POST /api/v1/apps/{app}/git:pull",
)
async def pull(
    ctx: Context,
    app: AppName,
    *,
    protocol: Protocol = "",
    input: AsyncIterator[GitPart],  # noqa: A002 - the name that callers know
) -> AsyncIterator[GitPart]:
    """Answer git's fetch from an app's repository, in git's protocol."""
    answer = ctx.service(Pushes).pull(app, protocol, _bytes(input))
    async with aclosing(answer) as items:
        async for data in items:
            yield GitPart(data)


@operation(
    "apps.push",
    access=Role.DEVELOPER,
    effect=Effect.CHANGE,
    http="POST /api/v1/apps/{app}/git:push",
)
async def push(
    ctx: Context,
    app: AppName,
    *,
    protocol: Protocol = "",
    input: AsyncIterator[GitPart],  # noqa: A002 - the name that callers know
) -> AsyncIterator[GitPart]:
    """Take git's push to an app's repository, in git's protocol, and deploy what came."""
    answer = ctx.service(Pushes).push(app, protocol, _bytes(input), ctx.caller.name)
    async with aclosing(answer) as items:
        async for data in items:
            yield GitPart(data)


async def _bytes(parts: AsyncIterator[GitPart]) -> AsyncIterator[bytes]:
    async for part in parts:
        yield part.data
