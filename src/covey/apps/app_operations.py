"""The operations on apps: make, list, change, stop, start and destroy them."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from covey.apps.arguments import (
    Assignment,
    Environment,
    GitRef,
    GitUrl,
    Image,
    KeyName,
    Project,
    Subdirectory,
)
from covey.apps.config.merge import override_text, without_override
from covey.apps.git_urls import (
    ALWAYS,
    ON_REQUEST,
    check_ref,
    check_subdirectory,
    parse_git_url,
)
from covey.apps.model import Trigger
from covey.apps.names import AppName, CommandName
from covey.apps.results import (
    AppSummary,
    AppView,
    DeploymentView,
    Destroyed,
    summarize,
    view_app,
    view_deployment,
)
from covey.apps.service import Apps
from covey.apps.sources import GitSource, ImageSource, Source
from covey.errors import InvalidRequestError
from covey.operations.access import Role
from covey.operations.context import Context
from covey.operations.registry import Effect, operation


@operation(
    "apps.create",
    access=Role.DEVELOPER,
    effect=Effect.CHANGE,
    http="POST /api/v1/apps",
    examples=(
        "apps create shop",
        "apps create shop --git https://git.example.org/shop.git --ref main",
        "apps create cache --image docker.io/library/redis:7",
    ),
)
async def create(
    ctx: Context,
    name: AppName,
    *,
    project: Project | None = None,
    environment: Environment | None = None,
    git: GitUrl | None = None,
    ref: GitRef = "",
    subdirectory: Subdirectory = "",
    key: KeyName = "",
    image: Image | None = None,
) -> AppView:
    """Make an app on this machine; it runs once it is deployed."""
    apps = ctx.service(Apps)
    source = read_source(git, ref, subdirectory, key, image)
    app = await apps.create(name, project=project, environment=environment, source=source)
    return view_app(apps, app)


@operation(
    "apps.list",
    access=Role.VIEWER,
    effect=Effect.READ,
    http="GET /api/v1/apps",
    examples=("apps list",),
)
async def list_apps(ctx: Context) -> list[AppSummary]:
    """List the apps of the fleet; details of another machine's are known there."""
    apps = ctx.service(Apps)
    return [summarize(apps, app) for app in apps.records.all()]


@operation(
    "apps.show",
    access=Role.VIEWER,
    effect=Effect.READ,
    http="GET /api/v1/apps/{app}",
    examples=("apps show shop",),
)
async def show(ctx: Context, app: AppName) -> AppView:
    """Show one app: where it answers, what it runs, and which settings are no defaults."""
    apps = ctx.service(Apps)
    return view_app(apps, apps.here(app))


@operation(
    "apps.source",
    access=Role.DEVELOPER,
    effect=Effect.CHANGE,
    http="PUT /api/v1/apps/{app}/source",
    examples=("apps source shop --git git@git.example.org:shop.git --key shop",),
)
async def set_source(
    ctx: Context,
    app: AppName,
    *,
    git: GitUrl | None = None,
    ref: GitRef = "",
    subdirectory: Subdirectory = "",
    key: KeyName = "",
    image: Image | None = None,
    project: Project | None = None,
    environment: Environment | None = None,
) -> AppView:
    """Set where an app comes from, and to which project and environment it belongs.

    Other variables than before are rolled out if the app runs; another source with what is next.
    """
    apps = ctx.service(Apps)
    source = read_source(git, ref, subdirectory, key, image)
    before = apps.here(app)
    changed = await apps.update(before, project=project, environment=environment, source=source)
    await apps.follow_place(before, changed, ctx.caller.label)
    return view_app(apps, changed)


@operation(
    "apps.set",
    access=Role.DEVELOPER,
    effect=Effect.CHANGE,
    http="POST /api/v1/apps/{app}/settings",
    examples=("apps set shop deploy.replicas=3 resources.memory=256mb",),
)
async def set_settings(
    ctx: Context,
    app: AppName,
    settings: Annotated[
        list[Assignment], Meta(min_length=1, max_length=100, description="Each as KEY=VALUE.")
    ],
) -> DeploymentView | None:
    """Set keys over those of the app file, and roll the change out if the app runs."""
    apps = ctx.service(Apps)

    def change(overrides: dict[str, object]) -> dict[str, object]:
        for item in settings:
            key, _, value = item.partition("=")
            overrides = override_text(overrides, key, value)
        return overrides

    deployment = await apps.configure(apps.here(app), change, ctx.caller.label)
    return None if deployment is None else view_deployment(apps, deployment)


@operation(
    "apps.unset",
    access=Role.DEVELOPER,
    effect=Effect.CHANGE,
    http="DELETE /api/v1/apps/{app}/settings/{key}",
    examples=("apps unset shop deploy.replicas",),
)
async def unset_setting(
    ctx: Context,
    app: AppName,
    key: Annotated[str, Meta(max_length=500, description="The key that was set.")],
) -> DeploymentView | None:
    """Let the app file's value of a key count again, and roll that out if the app runs."""
    apps = ctx.service(Apps)
    deployment = await apps.configure(
        apps.here(app), lambda overrides: without_override(overrides, key), ctx.caller.label
    )
    return None if deployment is None else view_deployment(apps, deployment)


@operation(
    "apps.scale",
    access=Role.DEVELOPER,
    effect=Effect.CHANGE,
    http="POST /api/v1/apps/{app}/scale",
    examples=("apps scale shop web=3 worker=2",),
)
async def scale(
    ctx: Context,
    app: AppName,
    replicas: Annotated[
        list[Annotated[str, Meta(pattern=r"^[a-z][a-z0-9-]*=\d{1,3}$(?!\n)")]],
        Meta(min_length=1, max_length=50, description="How many of each, as PROCESS=NUMBER."),
    ],
) -> DeploymentView | None:
    """Change how many containers the processes of an app have; no request fails meanwhile.

    Of an app that is stopped it is kept for its next start.
    """
    apps = ctx.service(Apps)
    wanted = {}
    for item in replicas:
        process, _, count = item.partition("=")
        wanted[process] = int(count)
    deployment = await apps.scale(apps.here(app), wanted, ctx.caller.label)
    return None if deployment is None else view_deployment(apps, deployment)


@operation(
    "apps.restart",
    access=Role.DEVELOPER,
    effect=Effect.CHANGE,
    http="POST /api/v1/apps/{app}/restart",
    examples=("apps restart shop",),
)
async def restart(ctx: Context, app: AppName) -> DeploymentView:
    """Exchange the containers of an app for new ones; no request fails meanwhile."""
    apps = ctx.service(Apps)
    deployment = await apps.again(apps.here(app), Trigger.RESTART, ctx.caller.label)
    return view_deployment(apps, deployment)


@operation(
    "apps.stop",
    access=Role.DEVELOPER,
    effect=Effect.CHANGE,
    http="POST /api/v1/apps/{app}/stop",
    examples=("apps stop shop",),
)
async def stop(ctx: Context, app: AppName) -> AppView:
    """Stop an app; its addresses answer with a page that says so."""
    apps = ctx.service(Apps)
    return view_app(apps, await apps.stop(apps.here(app)))


@operation(
    "apps.start",
    access=Role.DEVELOPER,
    effect=Effect.CHANGE,
    http="POST /api/v1/apps/{app}/start",
    examples=("apps start shop",),
)
async def start(ctx: Context, app: AppName) -> DeploymentView:
    """Start an app that was stopped."""
    apps = ctx.service(Apps)
    return view_deployment(apps, await apps.start(apps.here(app), ctx.caller.label))


@operation(
    "apps.maintenance",
    access=Role.DEVELOPER,
    effect=Effect.CHANGE,
    http="POST /api/v1/apps/{app}/maintenance",
    examples=("apps maintenance shop", "apps maintenance shop --off"),
)
async def maintenance(
    ctx: Context,
    app: AppName,
    *,
    off: Annotated[bool, Meta(description="Show the app again.")] = False,
) -> AppView:
    """Show a maintenance page instead of an app, which runs on behind it."""
    apps = ctx.service(Apps)
    return view_app(apps, await apps.set_maintenance(apps.here(app), on=not off))


@operation(
    "apps.destroy",
    access=Role.OPERATOR,
    effect=Effect.DESTROY,
    http="DELETE /api/v1/apps/{app}",
    examples=("apps destroy shop", "apps destroy shop --volumes"),
)
async def destroy(
    ctx: Context,
    app: AppName,
    *,
    volumes: Annotated[bool, Meta(description="Remove its volumes, with their data.")] = False,
) -> Destroyed:
    """Remove an app with its containers, images, routes and variables, but not its volumes."""
    apps = ctx.service(Apps)
    return Destroyed(app, await apps.destroy(apps.here(app), volumes=volumes))


@operation(
    "apps.run-job",
    access=Role.DEVELOPER,
    effect=Effect.CHANGE,
    http="POST /api/v1/apps/{app}/cron/{name}/run",
    examples=("apps run-job shop nightly-report",),
)
async def run_job(ctx: Context, app: AppName, name: CommandName) -> str:
    """Run a scheduled command of an app now; the result is its job's id."""
    apps = ctx.service(Apps)
    job = await apps.run_scheduled(apps.here(app), name, ctx.caller.label)
    return job.id


def read_source(
    git: str | None, ref: str, subdirectory: str, key: str, image: str | None
) -> Source | None:
    """Return the source that options name, or None; raises `InvalidRequestError`."""
    if git is not None and image is not None:
        raise InvalidRequestError(
            "A git repository and an image were given.", hint="Give one of them."
        )
    if git is not None:
        # Which of the schemes its machine allows, that one says when it fetches.
        parse_git_url(git, ALWAYS | ON_REQUEST)
        check_ref(ref)
        check_subdirectory(subdirectory)
        return GitSource(git, ref=ref, subdirectory=subdirectory, key=key)
    if ref or subdirectory or key:
        raise InvalidRequestError(
            "A branch, directory or key was given without its repository.",
            hint="Name the repository too: --git URL",
        )
    return None if image is None else ImageSource(image)
