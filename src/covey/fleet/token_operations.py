"""The operations on API tokens."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal

import msgspec

from covey.errors import InvalidRequestError
from covey.fleet.tokens import Moment, Token, Tokens
from covey.operations.access import Role
from covey.operations.context import Context
from covey.operations.registry import Effect, operation
from covey.settings import parse_duration

_LONGEST = timedelta(days=3653)

RoleLabel = Literal["viewer", "developer", "operator", "admin"]

TokenName = Annotated[
    str,
    msgspec.Meta(
        pattern="^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$", description="The token's name: what it is for."
    ),
]
Pattern = Annotated[
    str, msgspec.Meta(pattern=r"^(\*|[a-z][a-z0-9_-]*(\.[a-z0-9_-]+)*(\.\*)?)$", max_length=64)
]


class CreatedToken(msgspec.Struct, frozen=True):
    """A new token; `token` is its text, which is shown this once."""

    token: str
    id: str
    name: str
    role: str
    allow: list[str]
    expires_at: Moment


@operation(
    "token.create",
    access=Role.ADMIN,
    effect=Effect.REVEAL,
    http="POST /api/v1/tokens",
    examples=(
        "token create ci --role developer --expires 30d",
        "token create backup --allow 'env.*' --allow fleet.list",
    ),
)
async def create_token(
    ctx: Context,
    name: TokenName,
    *,
    role: Annotated[
        RoleLabel, msgspec.Meta(description="What it may do, at most your own role.")
    ] = "viewer",
    allow: Annotated[
        list[Pattern],
        msgspec.Meta(
            min_length=1,
            max_length=64,
            description="Only these operations: env.get, or env.* for a domain.",
        ),
    ]
    | None = None,
    expires: Annotated[
        str,
        msgspec.Meta(
            pattern="^([0-9]{1,5}[smhdw]){1,5}$", description="How long it is valid, such as 90d."
        ),
    ] = "90d",
) -> CreatedToken:
    """Make a token for a program that calls the API.

    Its text is shown once and kept nowhere; `covey token revoke` ends it at once, on every node.
    """
    lifetime = timedelta(seconds=parse_duration(expires))
    if not timedelta() < lifetime <= _LONGEST:
        raise InvalidRequestError(
            f"A token cannot be valid for {expires}.",
            hint=f"Choose between 1s and {_LONGEST.days}d.",
        )
    patterns = list(dict.fromkeys(allow or ctx.caller.allowed))
    made, text = await ctx.service(Tokens).create(
        ctx.caller, name, Role.parse(role), patterns, lifetime
    )
    return CreatedToken(text, made.id, made.name, made.role, made.allow, made.expires_at)


@operation(
    "token.list",
    access=Role.ADMIN,
    effect=Effect.READ,
    http="GET /api/v1/tokens",
    examples=("token list",),
)
async def list_tokens(ctx: Context) -> list[Token]:
    """List the tokens of the fleet, expired ones included."""
    return ctx.service(Tokens).all()


@operation(
    "token.revoke",
    access=Role.ADMIN,
    effect=Effect.DESTROY,
    http="DELETE /api/v1/tokens/{name}",
    examples=("token revoke ci",),
)
async def revoke_token(
    ctx: Context,
    name: Annotated[TokenName, msgspec.Meta(description="The token's name or id.")],
) -> list[Token]:
    """Revoke a token on every node of the fleet."""
    return await ctx.service(Tokens).revoke(name)
