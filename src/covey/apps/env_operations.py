"""The operations on an app's own variables: the spine's variables in the app's scope."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from covey.apps.model import Trigger
from covey.apps.names import AppName
from covey.apps.results import DeploymentView, view_deployment
from covey.apps.service import Apps
from covey.env.model import Kind, VarName
from covey.env.results import Shown, Variable
from covey.env.scope import Scope
from covey.env.service import Assignment, EnvService, Removal
from covey.env.views import stored_variable
from covey.operations.access import Role
from covey.operations.context import Context
from covey.operations.registry import Effect, operation
from covey.operations.secret import Secret

NoRestart = Annotated[bool, Meta(description="Only keep it; the app gets it with what is next.")]


@operation(
    "apps.env.list",
    access=Role.VIEWER,
    effect=Effect.READ,
    http="GET /api/v1/apps/{app}/env",
    examples=("apps env list shop",),
)
async def list_variables(ctx: Context, app: AppName) -> list[Variable]:
    """List the variables that an app has of its own; values of secrets are never shown here."""
    apps = ctx.service(Apps)
    scope = Scope.of_app(apps.records.get(app).name)
    records = ctx.service(EnvService).records
    return [
        stored_variable(name, item, Shown(plain=True)) for name, item in records.in_scope(scope)
    ]


@operation(
    "apps.env.set",
    access=Role.DEVELOPER,
    effect=Effect.CHANGE,
    http="PUT /api/v1/apps/{app}/env/{name}",
    examples=("apps env set shop API_TOKEN",),
)
async def set_variable(
    ctx: Context,
    app: AppName,
    name: VarName,
    value: Annotated[Secret, Meta(description="Its value, kept exactly.")],
    *,
    plain: Annotated[bool, Meta(description="It is no secret.")] = False,
    no_restart: NoRestart = False,
) -> DeploymentView | None:
    """Set a variable of an app, and roll it out if the app runs."""
    apps = ctx.service(Apps)
    found = apps.here(app)
    kind = Kind.PLAIN if plain else Kind.SECRET
    wanted = Assignment(Scope.of_app(found.name), name, value.reveal(), kind)
    await ctx.service(EnvService).set(wanted, ctx.caller.name)
    return await _roll_out(ctx, apps, found.name, no_restart=no_restart)


@operation(
    "apps.env.unset",
    access=Role.DEVELOPER,
    effect=Effect.CHANGE,
    http="DELETE /api/v1/apps/{app}/env/{name}",
    examples=("apps env unset shop API_TOKEN",),
)
async def unset_variable(
    ctx: Context, app: AppName, name: VarName, *, no_restart: NoRestart = False
) -> DeploymentView | None:
    """Remove a variable of an app, and roll that out if the app runs."""
    apps = ctx.service(Apps)
    found = apps.here(app)
    await ctx.service(EnvService).unset(Removal(Scope.of_app(found.name), name))
    return await _roll_out(ctx, apps, found.name, no_restart=no_restart)


async def _roll_out(
    ctx: Context, apps: Apps, name: str, *, no_restart: bool
) -> DeploymentView | None:
    app = apps.here(name)
    if no_restart or app.stopped or apps.deployments.running(name) is None:
        return None
    return view_deployment(apps, await apps.again(app, Trigger.CONFIG, ctx.caller.label))
