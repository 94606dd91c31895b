"""The operations on deployments: make them, follow them, go back; and what the app prints."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Annotated

from msgspec import Meta

from covey.apps.app_operations import read_source
from covey.apps.arguments import GitRef, GitUrl, Image, KeyName, Number, Subdirectory, Upload
from covey.apps.config.model import WEB
from covey.apps.model import Deployment, Trigger
from covey.apps.names import AppName, ProcessName
from covey.apps.output import AppLine, AppOutput
from covey.apps.results import DeploymentView, view_deployment, without_output
from covey.apps.service import Apps, Wanted
from covey.apps.sessions import Sessions, Terminal
from covey.apps.sources import UploadSource
from covey.errors import ConflictError, InvalidRequestError
from covey.jobs.model import LogLine
from covey.operations.access import Role
from covey.operations.context import Context
from covey.operations.registry import Effect, operation
from covey.remote.exec.model import Columns, ExecInput, ExecOutput, Rows

Words = Annotated[list[str], Meta(max_length=10_000, description="The program and its arguments.")]
Process = Annotated[ProcessName, Meta(description="The process in whose container it runs.")]


@operation(
    "apps.deploy",
    access=Role.DEVELOPER,
    effect=Effect.CHANGE,
    http="POST /api/v1/apps/{app}/deployments",
    examples=("apps deploy shop", "apps deploy shop --git https://git.example.org/shop.git"),
)
async def deploy(
    ctx: Context,
    app: AppName,
    *,
    git: GitUrl | None = None,
    ref: GitRef = "",
    subdirectory: Subdirectory = "",
    key: KeyName = "",
    image: Image | None = None,
    upload: Upload | None = None,
    commit: Annotated[str, Meta(max_length=64, description="What was uploaded.")] = "",
    message: Annotated[str, Meta(max_length=2000, description="What changed.")] = "",
) -> DeploymentView:
    """Deploy an app from its source, or from the one that is named, which it then keeps.

    It is queued: follow it with the log of its job. An older one that has not begun is superseded.
    """
    apps = ctx.service(Apps)
    found = apps.here(app)
    source = read_source(git, ref, subdirectory, key, image)
    if upload is not None:
        if source is not None:
            raise InvalidRequestError(
                "An upload and another source were given.", hint="Give one of them."
            )
        source = UploadSource(upload, commit)
    elif source is not None:
        found = await apps.update(found, source=source)
    wanted = Wanted(Trigger.DEPLOY, ctx.caller.label, source=source, commit=commit, message=message)
    return view_deployment(apps, await apps.deploy(found, wanted))


@operation(
    "apps.rollback",
    access=Role.DEVELOPER,
    effect=Effect.CHANGE,
    http="POST /api/v1/apps/{app}/rollback",
    examples=("apps rollback shop", "apps rollback shop --to 12"),
)
async def rollback(
    ctx: Context,
    app: AppName,
    *,
    to: Annotated[int, Meta(ge=1, description="A deployment; by default the version before.")]
    | None = None,
) -> DeploymentView:
    """Run an earlier version again, with the variables of now; nothing is built."""
    apps = ctx.service(Apps)
    return view_deployment(apps, await apps.rollback(apps.here(app), to, ctx.caller.label))


@operation(
    "apps.releases",
    access=Role.VIEWER,
    effect=Effect.READ,
    http="GET /api/v1/apps/{app}/releases",
    examples=("apps releases shop",),
)
async def releases(ctx: Context, app: AppName) -> list[DeploymentView]:
    """List the versions that an app can go back to, the newest first."""
    apps = ctx.service(Apps)
    found = apps.here(app)
    return [_seen(ctx, item) for item in apps.releases(found)]


@operation(
    "apps.deployments",
    access=Role.VIEWER,
    effect=Effect.READ,
    http="GET /api/v1/apps/{app}/deployments",
    examples=("apps deployments shop",),
)
async def deployments(
    ctx: Context,
    app: AppName,
    *,
    limit: Annotated[int, Meta(ge=1, le=1000, description="Most of them.")] = 20,
) -> list[DeploymentView]:
    """List an app's deployments, the newest first."""
    apps = ctx.service(Apps)
    found = apps.here(app)
    return [_seen(ctx, item) for item in apps.deployments.of(found.name)[:limit]]


@operation(
    "apps.deployment",
    access=Role.VIEWER,
    effect=Effect.READ,
    http="GET /api/v1/apps/{app}/deployments/{number}",
    examples=("apps deployment shop 12",),
)
async def deployment(ctx: Context, app: AppName, number: Number) -> DeploymentView:
    """Show one deployment."""
    apps = ctx.service(Apps)
    return _seen(ctx, apps.deployments.get(apps.here(app).name, number))


@operation(
    "apps.cancel",
    access=Role.DEVELOPER,
    effect=Effect.CHANGE,
    http="POST /api/v1/apps/{app}/cancel",
    examples=("apps cancel shop", "apps cancel shop --deployment 12"),
)
async def cancel(
    ctx: Context,
    app: AppName,
    *,
    deployment: Annotated[
        int, Meta(ge=1, description="Its number; by default all that have not ended.")
    ]
    | None = None,
) -> DeploymentView:
    """Cancel a deployment that waits or is under way; what served before it serves on."""
    apps = ctx.service(Apps)
    return view_deployment(apps, await apps.cancel(apps.here(app), deployment))


@operation(
    "apps.deployment-logs",
    access=Role.DEVELOPER,
    effect=Effect.READ,
    http="GET /api/v1/apps/{app}/deployments/{number}/logs",
    examples=("apps deployment-logs shop 12", "apps deployment-logs shop 12 --follow"),
)
async def deployment_logs(
    ctx: Context,
    app: AppName,
    number: Number,
    *,
    after: Annotated[int, Meta(ge=0, description="Leave out lines up to this number.")] = 0,
    follow: Annotated[bool, Meta(description="Go on until it has ended.")] = False,
) -> AsyncIterator[LogLine]:
    """Show what a deployment said: the build, the release command, the switch."""
    apps = ctx.service(Apps)
    job = apps.deployments.get(apps.here(app).name, number).job
    if not job:
        raise ConflictError(f"Deployment {number} of {app} has no log.")
    async for line in apps.hosting.jobs.logs(job, after=after, follow=follow):
        yield line
    if follow:
        # Whoever has followed it asks next how it ended.
        await apps.settle(app, number)


@operation(
    "apps.logs",
    access=Role.DEVELOPER,
    effect=Effect.READ,
    http="GET /api/v1/apps/{app}/logs",
    examples=("apps logs shop", "apps logs shop --follow --process worker"),
)
async def logs(
    ctx: Context,
    app: AppName,
    *,
    process: Annotated[ProcessName, Meta(description="Only this process.")] | None = None,
    tail: Annotated[
        int, Meta(ge=0, le=100_000, description="The last lines of each container.")
    ] = 100,
    follow: Annotated[bool, Meta(description="Go on with what comes.")] = False,
) -> AsyncIterator[AppLine]:
    """Show what the containers of an app print."""
    apps = ctx.service(Apps)
    found = apps.here(app)
    if process is not None:
        apps.check_process(found, process)
    output = ctx.service(AppOutput)
    async for line in output.lines(found.name, process=process, tail=tail, follow=follow):
        yield line


@operation(
    "apps.exec",
    access=Role.DEVELOPER,
    effect=Effect.CHANGE,
    http="POST /api/v1/apps/{app}/exec",
    examples=("apps exec shop -- ls -l", "apps exec shop --tty"),
)
async def exec_(
    ctx: Context,
    app: AppName,
    argv: Words = [],  # noqa: B006 - msgspec copies an empty default
    *,
    process: Process = WEB,
    tty: Annotated[bool, Meta(description="Give it a terminal.")] = False,
    rows: Rows = 24,
    columns: Columns = 80,
    input: AsyncIterator[ExecInput],  # noqa: A002 - the name that callers know
) -> AsyncIterator[ExecOutput]:
    """Run a command in a container of an app that runs; without words, a shell."""
    apps = ctx.service(Apps)
    found = apps.here(app)
    apps.check_process(found, process)
    terminal = Terminal(rows, columns) if tty else None
    output = ctx.service(Sessions).exec(
        found, tuple(argv), input, process=process, terminal=terminal
    )
    async with aclosing(output):
        async for item in output:
            yield item


@operation(
    "apps.run",
    access=Role.DEVELOPER,
    effect=Effect.CHANGE,
    http="POST /api/v1/apps/{app}/run",
    examples=("apps run shop -- ./manage.py migrate", "apps run shop --tty"),
)
async def run(
    ctx: Context,
    app: AppName,
    argv: Words = [],  # noqa: B006 - as above
    *,
    tty: Annotated[bool, Meta(description="Give it a terminal.")] = False,
    rows: Rows = 24,
    columns: Columns = 80,
    input: AsyncIterator[ExecInput],  # noqa: A002 - as above
) -> AsyncIterator[ExecOutput]:
    """Run a command in a container of its own, with an app's image, variables and volumes."""
    apps = ctx.service(Apps)
    found = apps.here(app)
    terminal = Terminal(rows, columns) if tty else None
    output = ctx.service(Sessions).run(
        found, apps.running(found), tuple(argv), input, terminal=terminal
    )
    async with aclosing(output):
        async for item in output:
            yield item


def _seen(ctx: Context, item: Deployment) -> DeploymentView:
    """Describe a deployment as its caller may see it."""
    view = view_deployment(ctx.service(Apps), item)
    return view if ctx.caller.role >= Role.DEVELOPER else without_output(view)
