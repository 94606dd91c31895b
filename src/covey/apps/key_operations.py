"""The operations on the keys that open repositories, and on the SSH servers that were seen."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from covey.apps.host_keys import KnownHosts
from covey.apps.keys import DeployKey, DeployKeys, KeyName, ServerKey
from covey.errors import InvalidRequestError, NotFoundError
from covey.operations.access import Role
from covey.operations.context import Context
from covey.operations.registry import Effect, operation
from covey.operations.secret import Secret


@operation(
    "apps.keys.create",
    access=Role.DEVELOPER,
    effect=Effect.CHANGE,
    http="POST /api/v1/deploy-keys",
    examples=(
        "apps keys create shop",
        "apps keys create github --site github.com --token-stdin < token.txt",
    ),
)
async def create(
    ctx: Context,
    name: KeyName,
    *,
    site: Annotated[
        str, Meta(max_length=260, description="Keep a token for this host instead of an SSH key.")
    ] = "",
    user: Annotated[
        str,
        Meta(pattern=r"^[^\s:]{1,200}(?!\n)$", description="The user name that goes with a token."),
    ] = "covey",
    token: Annotated[Secret | None, Meta(description="The token for that host.")] = None,
) -> DeployKey:
    """Make an SSH key for repositories, or keep a token for HTTPS; every host of the fleet has it.

    Add the public key that is shown to the repository as a deploy key; reading is enough.
    """
    keys = ctx.service(DeployKeys)
    if token is None and not site:
        return await keys.create(name, ctx.caller.name)
    if token is None or not site:
        raise InvalidRequestError(
            "A token goes with the host that it is for.",
            hint=f"covey apps keys create {name} --site HOST --token-stdin",
        )
    return await keys.store(name, site, user, token, ctx.caller.name)


@operation(
    "apps.keys.list",
    access=Role.DEVELOPER,
    effect=Effect.READ,
    http="GET /api/v1/deploy-keys",
    examples=("apps keys list",),
)
async def list_keys(ctx: Context) -> list[DeployKey]:
    """List the keys that open repositories; their secrets are never shown."""
    return list(ctx.service(DeployKeys).all())


@operation(
    "apps.keys.show",
    access=Role.DEVELOPER,
    effect=Effect.READ,
    http="GET /api/v1/deploy-keys/{name}",
    examples=("apps keys show shop",),
)
async def show(ctx: Context, name: KeyName) -> DeployKey:
    """Show a key, with the public line for the repository's deploy keys."""
    return ctx.service(DeployKeys).show(name)


@operation(
    "apps.keys.remove",
    access=Role.DEVELOPER,
    effect=Effect.DESTROY,
    http="DELETE /api/v1/deploy-keys/{name}",
    examples=("apps keys remove shop",),
)
async def remove(ctx: Context, name: KeyName) -> None:
    """Remove a key from the fleet; remove it from the repository's deploy keys too."""
    await ctx.service(DeployKeys).remove(name)


@operation(
    "apps.keys.hosts",
    access=Role.DEVELOPER,
    effect=Effect.READ,
    http="GET /api/v1/deploy-keys:hosts",
    examples=("apps keys hosts",),
)
async def hosts(ctx: Context) -> list[ServerKey]:
    """List the SSH servers of repositories that this machine has seen, and their keys."""
    return [
        ServerKey(item.place, item.algorithm, item.fingerprint, item.since)
        for item in ctx.service(KnownHosts).all()
    ]


@operation(
    "apps.keys.forget-host",
    access=Role.OPERATOR,
    effect=Effect.DESTROY,
    http="DELETE /api/v1/deploy-keys:hosts",
    examples=("apps keys forget-host git.example.org",),
)
async def forget_host(
    ctx: Context,
    host: Annotated[str, Meta(max_length=260, description="As apps keys hosts shows it.")],
) -> None:
    """Forget an SSH server's key, once its owner has confirmed the new one, which is taken next."""
    if not await ctx.service(KnownHosts).forget(host):
        raise NotFoundError(f"No key of {host!r} is known.", hint="covey apps keys hosts")
