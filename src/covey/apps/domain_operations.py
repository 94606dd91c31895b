"""The operations on an app's names, one by one; they win over the app file, as all that is set."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from covey.apps.config.domains import with_domain, without_domain
from covey.apps.config.merge import merge_tables
from covey.apps.names import AppName
from covey.apps.results import DeploymentView, view_deployment
from covey.apps.routing.model import Host, TlsMode
from covey.apps.service import Apps
from covey.operations.access import Role
from covey.operations.context import Context
from covey.operations.registry import Effect, operation

Path = Annotated[str, Meta(max_length=1024, description="Requests below this path only.")]


@operation(
    "apps.domains.list",
    access=Role.VIEWER,
    effect=Effect.READ,
    http="GET /api/v1/apps/{app}/domains",
    examples=("apps domains list shop",),
)
async def list_domains(ctx: Context, app: AppName) -> list[str]:
    """List where an app answers."""
    apps = ctx.service(Apps)
    return apps.urls(apps.here(app))


@operation(
    "apps.domains.add",
    access=Role.DEVELOPER,
    effect=Effect.CHANGE,
    http="POST /api/v1/apps/{app}/domains",
    examples=(
        "apps domains add shop shop.example.org --canonical",
        "apps domains add shop old.example.org --redirect-to https://shop.example.org",
    ),
)
async def add(
    ctx: Context,
    app: AppName,
    host: Host,
    *,
    path: Path = "/",
    strip: Annotated[bool, Meta(description="Take the path off before passing on.")] = False,
    canonical: Annotated[bool, Meta(description="Let the other names redirect here.")] = False,
    redirect_to: Annotated[str, Meta(max_length=2048, description="Redirect its requests there.")]
    | None = None,
    tls: Annotated[TlsMode, Meta(description="Where its certificate comes from.")] = TlsMode.AUTO,
) -> DeploymentView | None:
    """Let an app answer at one more name.

    The name below the machine's own domain counts only as long as there is no other.
    """
    apps = ctx.service(Apps)
    found = apps.here(app)
    domain = {
        "host": host,
        "path": path,
        "strip": strip,
        "canonical": canonical,
        "redirect_to": redirect_to,
        "tls": tls.value,
    }
    deployment = await apps.configure(
        found,
        lambda overrides: with_domain(apps.file_of(found), overrides, domain),
        ctx.caller.label,
    )
    return None if deployment is None else view_deployment(apps, deployment)


@operation(
    "apps.domains.remove",
    access=Role.DEVELOPER,
    effect=Effect.CHANGE,
    http="DELETE /api/v1/apps/{app}/domains/{host}",
    examples=("apps domains remove shop old.example.org",),
)
async def remove(
    ctx: Context, app: AppName, host: Host, *, path: Path | None = None
) -> DeploymentView | None:
    """Let an app answer at a name no more; without a path, at none of its paths.

    Without any name of its own it answers below the machine's own domain again.
    """
    apps = ctx.service(Apps)
    found = apps.here(app)
    deployment = await apps.configure(
        found,
        lambda overrides: without_domain(apps.file_of(found), overrides, host, path),
        ctx.caller.label,
    )
    if deployment is None:
        return None
    view = view_deployment(apps, deployment)
    if merge_tables(apps.file_of(found).tables, apps.here(app).overrides).get("domains"):
        return view
    default = apps.hosting.routes.url(f"{app}.{apps.hosting.here.domain}")
    hint = f"{app} has no domain of its own any more, so it answers at {default}"
    return msgspec.structs.replace(view, hint=hint)
