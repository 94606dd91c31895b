"""The operations on an app's names, one by one; they win over the app file, as all that is set."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from covey.apps.config.domains import with_domain, without_domain
from covey.apps.names import AppName
from covey.apps.results import DeploymentView, view_deployment
from covey.apps.routing.model import Host, TlsMode
from covey.apps.service import Apps
from covey.operations.access import Role
from covey.operations.context import Context
from covey.operations.registry import Effect, operation

Path = Annotated[str, Meta(max_length=1024, description="Requests below this path only.")]


@operation(
    "apps.domain.add",
    access=Role.DEVELOPER,
    effect=Effect.CHANGE,
    http="PUT /api/v1/apps/{app}/domains/{host}",
    examples=(
        "apps domain add shop shop.example.org --canonical",
        "apps domain add shop old.example.org --redirect-to https://shop.example.org",
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
    """Let an app answer at one more name, or in another way at one that it has.

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
    file = apps.file_of(found)
    deployment = await apps.configure(
        found, lambda overrides: with_domain(file, overrides, domain), ctx.caller.label
    )
    return None if deployment is None else view_deployment(apps, deployment)


@operation(
    "apps.domain.remove",
    access=Role.DEVELOPER,
    effect=Effect.CHANGE,
    http="DELETE /api/v1/apps/{app}/domains/{host}",
    examples=("apps domain remove shop old.example.org",),
)
async def remove(
    ctx: Context, app: AppName, host: Host, *, path: Path | None = None
) -> DeploymentView | None:
    """Let an app answer at a name no more; without a path, at none of its paths."""
    apps = ctx.service(Apps)
    found = apps.here(app)
    file = apps.file_of(found)
    deployment = await apps.configure(
        found, lambda overrides: without_domain(file, overrides, host, path), ctx.caller.label
    )
    return None if deployment is None else view_deployment(apps, deployment)
