"""The operations that read and change single variables."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from covey.env.arguments import (
    EnvChange,
    Environment,
    Expand,
    Host,
    IfVersion,
    KindOption,
    Note,
    Project,
    Reveal,
    ScopeText,
    ShortText,
    VersionText,
    shown,
)
from covey.env.model import VarName
from covey.env.results import (
    Applied,
    Explanation,
    Shown,
    Unset,
    Variable,
    VariableConflict,
    VariableVersion,
)
from covey.env.scope import Scope
from covey.env.service import Assignment, EnvService, Removal
from covey.env.views import explanation, resolved_variable, stored_variable, versions
from covey.errors import ConflictError
from covey.operations.access import Role
from covey.operations.context import Context
from covey.operations.page import Cursor, Limit, Page, paginate
from covey.operations.registry import Effect, operation
from covey.operations.secret import Secret


@operation(
    "env.set",
    access=Role.DEVELOPER,
    effect=Effect.CHANGE,
    http="PUT /api/v1/env/{name}",
    examples=(
        "env set GREETING='hello, world'",
        "env set API_TOKEN --scope project:shop < token.txt",
        "env set URL='https://${DOMAIN}/' --expand",
    ),
)
async def set_variable(
    ctx: Context,
    name: VarName,
    value: Annotated[Secret, Meta(description="Its value, kept exactly.")],
    *,
    scope: ScopeText = "fleet",
    kind: KindOption = None,
    expand: Expand = False,
    note: Note = None,
    if_version: IfVersion = None,
) -> Variable:
    """Set one environment variable for everyone who resolves its scope.

    The value is kept exactly as given, whatever it contains; only with `expand` do `${OTHER}` and
    references (`op://…`, `file:…`, `cmd:…`) mean something, and `$${` is then a literal `${`.
    """
    wanted = Assignment(
        Scope.parse(scope), name, value.reveal(), kind, expand, note, expected=if_version
    )
    stored, hint = await ctx.service(EnvService).set(wanted, ctx.caller.name)
    return stored_variable(name, stored, Shown(), hint)


@operation(
    "env.get",
    access=Role.DEVELOPER,
    effect=Effect.REVEAL,
    http="GET /api/v1/env/{name}",
    examples=("env get GREETING", "env get API_TOKEN --scope project:shop"),
)
async def get(
    ctx: Context,
    name: VarName,
    *,
    scope: Annotated[
        ScopeText | None, Meta(description="Exactly this scope, as stored; else what applies.")
    ] = None,
    project: Project = None,
    environment: Environment = None,
    host: Host = None,
) -> Variable:
    """Show one variable with its value: the one that applies, or that of one scope."""
    service = ctx.service(EnvService)
    everything = Shown(secret=True, plain=True)
    if scope is not None:
        item = service.records.require(Scope.parse(scope), name)
        return stored_variable(name, item, everything)
    resolved = await service.resolve(service.place(project, environment, host), name)
    problem = resolved.problem(name)
    if problem is not None:
        raise ConflictError(
            f"{name} has no value: {problem}.",
            hint=f"See where it comes from: covey env explain {name}",
        )
    return resolved_variable(name, resolved, everything)


@operation(
    "env.unset",
    access=Role.DEVELOPER,
    effect=Effect.DESTROY,
    http="DELETE /api/v1/env/{name}",
    examples=("env unset GREETING", "env unset API_TOKEN --scope project:shop"),
)
async def unset(
    ctx: Context, name: VarName, *, scope: ScopeText = "fleet", if_version: IfVersion = None
) -> Unset:
    """Remove a variable from a scope; its history stays, and rollback brings it back."""
    where = Scope.parse(scope)
    version = await ctx.service(EnvService).unset(Removal(where, name, if_version))
    return Unset(name, str(where), version.id)


@operation(
    "env.list",
    access=Role.VIEWER,
    effect=Effect.READ,
    http="GET /api/v1/env",
    examples=("env list", "env list --project shop --environment dev", "env list --every-scope"),
)
async def list_variables(
    ctx: Context,
    *,
    scope: Annotated[ScopeText | None, Meta(description="Only this scope, as stored.")] = None,
    project: Project = None,
    environment: Environment = None,
    host: Host = None,
    every_scope: Annotated[bool, Meta(description="All scopes, as stored.")] = False,
    reveal: Reveal = False,
    cursor: Cursor = None,
    limit: Limit = 500,
) -> Page[Variable]:
    """List the variables that apply, or those that one scope or all scopes hold."""
    service = ctx.service(EnvService)
    sight = shown(ctx, "env.list", reveal=reveal)
    if scope is None and not every_scope:
        resolved = await service.resolve(service.place(project, environment, host))
        names = resolved.resolution.names
        return paginate(
            [(name, resolved_variable(name, resolved, sight)) for name in names], cursor, limit
        )
    found = (
        service.records.everything()
        if scope is None
        else service.records.in_scope(Scope.parse(scope))
    )
    rows = [(f"{name} {item.scope}", stored_variable(name, item, sight)) for name, item in found]
    return paginate(sorted(rows, key=lambda row: row[0]), cursor, limit)


@operation(
    "env.explain",
    access=Role.VIEWER,
    effect=Effect.READ,
    http="GET /api/v1/env/{name}/explanation",
    examples=("env explain DATABASE_URL", "env explain PORT --project shop --environment dev"),
)
async def explain(
    ctx: Context,
    name: VarName,
    *,
    project: Project = None,
    environment: Environment = None,
    host: Host = None,
    reveal: Reveal = False,
) -> Explanation:
    """Show a variable's value, the scope that wins, and what it shadows."""
    service = ctx.service(EnvService)
    sight = shown(ctx, "env.explain", reveal=reveal)
    place = service.place(project, environment, host)
    return explanation(name, place, await service.resolve(place, name), sight)


@operation(
    "env.history",
    access=Role.VIEWER,
    effect=Effect.READ,
    http="GET /api/v1/env/{name}/history",
    examples=("env history GREETING", "env history GREETING --reveal"),
)
async def history(
    ctx: Context, name: VarName, *, scope: ScopeText = "fleet", reveal: Reveal = False
) -> list[VariableVersion]:
    """List every known version of a variable, the newest first."""
    service = ctx.service(EnvService)
    sight = shown(ctx, "env.history", reveal=reveal)
    where = Scope.parse(scope)
    found = service.records.history(where, name)
    return versions(found, service.current(where, name, found), sight)


@operation(
    "env.rollback",
    access=Role.DEVELOPER,
    effect=Effect.CHANGE,
    http="POST /api/v1/env/{name}/rollback",
    examples=("env rollback GREETING 1f3b2c4d.7",),
)
async def rollback(
    ctx: Context,
    name: VarName,
    version: VersionText,
    *,
    scope: ScopeText = "fleet",
    if_version: IfVersion = None,
) -> Variable | None:
    """Make an earlier version the present one.

    The result is null if that version was a deletion.
    """
    stored = await ctx.service(EnvService).rollback(
        Scope.parse(scope), name, version, ctx.caller.name, if_version
    )
    return None if stored is None else stored_variable(name, stored, Shown())


@operation(
    "env.conflicts",
    access=Role.VIEWER,
    effect=Effect.READ,
    http="GET /api/v1/env:conflicts",
    examples=("env conflicts", "env conflicts --reveal"),
)
async def conflicts(ctx: Context, *, reveal: Reveal = False) -> list[VariableConflict]:
    """List variables that were changed on several nodes at once, with every version.

    The first version counts until one is chosen with `covey env resolve`.
    """
    service = ctx.service(EnvService)
    sight = shown(ctx, "env.conflicts", reveal=reveal)
    found = []
    for scope, name, rivals in service.conflicts():
        current = frozenset(rival.id for rival in rivals)
        found.append(VariableConflict(name, str(scope), versions(rivals, current, sight)))
    return found


@operation(
    "env.resolve",
    access=Role.DEVELOPER,
    effect=Effect.CHANGE,
    http="POST /api/v1/env/{name}/resolution",
    examples=(
        "env resolve COLOUR --version 1f3b2c4d.7",
        "env resolve COLOUR --value-stdin < colour.txt",
    ),
)
async def resolve(
    ctx: Context,
    name: VarName,
    *,
    version: Annotated[ShortText | None, Meta(description="Take this version.")] = None,
    value: Annotated[Secret | None, Meta(description="Take this value instead.")] = None,
    scope: Annotated[
        ScopeText | None, Meta(description="Needed if it is in conflict in several scopes.")
    ] = None,
) -> Variable | None:
    """Settle a conflict on every node by choosing a version or a value.

    The result is null if that version is a deletion.
    """
    stored = await ctx.service(EnvService).settle(
        None if scope is None else Scope.parse(scope),
        name,
        version,
        None if value is None else value.reveal(),
        ctx.caller.name,
    )
    return None if stored is None else stored_variable(name, stored, Shown())


@operation(
    "env.apply",
    access=Role.DEVELOPER,
    effect=Effect.CHANGE,
    http="POST /api/v1/env:apply",
    examples=("""env apply '[{"name": "NEW", "value": "1"}, {"name": "OLD"}]'""",),
)
async def apply(
    ctx: Context,
    changes: Annotated[
        list[EnvChange],
        Meta(
            max_length=10_000,
            description="A list as below, or @FILE with it; a name alone is unset.",
        ),
    ],
) -> Applied:
    """Set and unset several variables in one commit: all of them, or none."""
    return await ctx.service(EnvService).apply([_change(one) for one in changes], ctx.caller.name)


def _change(one: EnvChange) -> Assignment | Removal:
    scope = Scope.parse(one.scope)
    if one.value is None:
        return Removal(scope, one.name, one.if_version)
    return Assignment(
        scope, one.name, one.value.reveal(), one.kind, one.expand, one.note, one.if_version
    )
