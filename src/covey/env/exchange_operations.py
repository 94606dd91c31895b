"""The operations on many variables at once: files, processes, comparison, watching, scanning."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated

from msgspec import Meta

from covey.env.arguments import (
    Environment,
    Host,
    KindOption,
    Project,
    Reveal,
    ScanText,
    ScopeText,
    shown,
)
from covey.env.exchange import EnvExchange
from covey.env.formats.choose import Format
from covey.env.model import Kind, VarName
from covey.env.results import (
    ChangedNames,
    Difference,
    Exported,
    Imported,
    ScanReport,
    Values,
    Variable,
)
from covey.env.scan import Needle, SecretScans, Source
from covey.env.scope import Scope
from covey.env.service import EnvService
from covey.env.views import differences, stored_variable
from covey.env.watch import watch_names
from covey.errors import InvalidRequestError, RefusedError
from covey.operations.access import CallerKind, Role
from covey.operations.context import Context
from covey.operations.page import Cursor, Limit, Page, paginate
from covey.operations.registry import Effect, operation
from covey.operations.secret import Secret


@operation(
    "env.search",
    access=Role.VIEWER,
    effect=Effect.READ,
    http="GET /api/v1/env:search",
    examples=("env search token", "env search example.com --reveal"),
)
async def search(
    ctx: Context,
    text: Annotated[str, Meta(min_length=1, max_length=1000, description="Part of a name.")],
    *,
    reveal: Annotated[bool, Meta(description="Search values too, and show them.")] = False,
    cursor: Cursor = None,
    limit: Limit = 500,
) -> Page[Variable]:
    """Find variables in all scopes by part of their name or note, whatever its case."""
    records = ctx.service(EnvService).records
    sight = shown(ctx, "env.search", reveal=reveal)
    wanted = text.casefold()
    rows = [
        (f"{name} {item.scope}", stored_variable(name, item, sight))
        for name, item in records.everything()
        if wanted in name.casefold()
        or wanted in item.stored.note.casefold()
        or (reveal and wanted in item.stored.value.casefold())
    ]
    return paginate(sorted(rows, key=lambda row: row[0]), cursor, limit)


@operation(
    "env.copy",
    access=Role.DEVELOPER,
    effect=Effect.CHANGE,
    http="POST /api/v1/env:copy",
    examples=(
        "env copy environment:shop/dev environment:shop/staging",
        "env copy fleet project:shop --name API_TOKEN --overwrite",
    ),
)
async def copy(
    ctx: Context,
    source: ScopeText,
    target: ScopeText,
    *,
    name: Annotated[list[VarName], Meta(description="Only these variables; by default all.")] = [],  # noqa: B006 - msgspec copies an empty default
    overwrite: Annotated[bool, Meta(description="Replace values that are set already.")] = False,
) -> list[str]:
    """Copy variables from one scope to another in one commit.

    The result is the names that changed.
    """
    return await ctx.service(EnvService).copy(
        Scope.parse(source), Scope.parse(target), name, ctx.caller.name, overwrite=overwrite
    )


@operation(
    "env.import",
    access=Role.DEVELOPER,
    effect=Effect.CHANGE,
    http="POST /api/v1/env:import",
    examples=("env import .env", "env import secret.yaml --scope project:shop --format kubernetes"),
)
async def import_(
    ctx: Context,
    text: Annotated[Secret, Meta(description="The file's text.")],
    *,
    format: Annotated[  # noqa: A002 - the option's name on the command line
        Format | None, Meta(description="By default found by the file's name and text.")
    ] = None,
    file_name: Annotated[str, Meta(max_length=4096, description="The file's name.")] = "",
    scope: ScopeText = "fleet",
    kind: KindOption = None,
    expand: Annotated[
        bool, Meta(description="Keep ${…} outside single quotes as references (dotenv only).")
    ] = False,
) -> Imported:
    """Set every variable of a file in one commit, or none if a line cannot be read.

    The format homelab takes `HOST_<HOSTNAME>_<FIELD>` lines into the records of the machines.
    """
    return await ctx.service(EnvExchange).take(
        text.reveal(),
        kind_of_file=format,
        file_name=file_name,
        scope=Scope.parse(scope),
        kind=kind,
        expand=expand,
        author=ctx.caller.name,
    )


@operation(
    "env.export",
    access=Role.DEVELOPER,
    effect=Effect.REVEAL,
    http="GET /api/v1/env:export",
    examples=(
        "env export --format fish | source",
        "env export --format dotenv > .env",
        "env export --format kubernetes --title shop --project shop --environment prod",
    ),
)
async def export(
    ctx: Context,
    *,
    format: Annotated[  # noqa: A002 - the option's name on the command line
        Format, Meta(description="sh, bash, zsh, fish and powershell are for eval.")
    ] = Format.SH,
    project: Project = None,
    environment: Environment = None,
    host: Host = None,
    title: Annotated[
        str, Meta(max_length=253, description="The name of a Kubernetes Secret.")
    ] = "covey",
) -> Exported:
    """Write the variables that apply, resolved, in a format that holds each value exactly."""
    place = ctx.service(EnvService).place(project, environment, host)
    return await ctx.service(EnvExchange).give(place, format, title)


@operation(
    "env.values",
    access=Role.DEVELOPER,
    effect=Effect.REVEAL,
    http="GET /api/v1/env:values",
    examples=("env values --project shop --environment dev",),
)
async def values(
    ctx: Context,
    *,
    project: Project = None,
    environment: Environment = None,
    host: Host = None,
    partial: Annotated[
        bool, Meta(description="Give what can be had if a variable cannot be resolved.")
    ] = False,
) -> Values:
    """Resolve the values for a process, and name those that are secret."""
    place = ctx.service(EnvService).place(project, environment, host)
    return await ctx.service(EnvExchange).values(place, partial=partial)


@operation(
    "env.diff",
    access=Role.VIEWER,
    effect=Effect.READ,
    http="GET /api/v1/env:diff",
    examples=(
        "env diff environment:shop/dev environment:shop/prod",
        "env diff shop/dev shop/prod@frigg --reveal",
        "env diff GREETING#1f3b2c4d.7 GREETING#1f3b2c4d.9",
    ),
)
async def diff(
    ctx: Context,
    left: Annotated[
        str, Meta(max_length=400, description="A scope, a place (shop/dev@frigg) or NAME#VERSION.")
    ],
    right: Annotated[str, Meta(max_length=400, description="The other one.")],
    *,
    scope: Annotated[ScopeText, Meta(description="The scope of versions.")] = "fleet",
    reveal: Reveal = False,
) -> list[Difference]:
    """Compare two scopes as stored, two places as resolved, or two versions."""
    exchange = ctx.service(EnvExchange)
    sight = shown(ctx, "env.diff", reveal=reveal)
    where = Scope.parse(scope)
    return differences(await exchange.side(left, where), await exchange.side(right, where), sight)


@operation(
    "env.watch",
    access=Role.VIEWER,
    effect=Effect.READ,
    http="GET /api/v1/env:watch",
    examples=("env watch", "env watch --project shop --environment dev"),
)
async def watch(
    ctx: Context,
    *,
    project: Project = None,
    environment: Environment = None,
    host: Host = None,
) -> AsyncIterator[ChangedNames]:
    """Follow changes of the variables that apply, from here or any other machine.

    The first item has no names: from then on no change is missed.
    """
    service = ctx.service(EnvService)
    place = service.place(project, environment, host)
    async for names in watch_names(service.store, place):
        yield ChangedNames(names)


@operation(
    "env.scan",
    access=Role.DEVELOPER,
    effect=Effect.READ,
    http="POST /api/v1/env:scan",
    examples=("env scan .", "env scan --staged ."),
)
async def scan(
    ctx: Context,
    paths: Annotated[
        list[str], Meta(max_length=1000, description="Files and directories, by absolute path.")
    ] = [],  # noqa: B006 - msgspec copies an empty default
    *,
    staged: Annotated[
        bool, Meta(description="What is staged in the git repositories at these paths.")
    ] = False,
    index_file: Annotated[
        str | None, Meta(description="git's GIT_INDEX_FILE, as a pre-commit hook has it.")
    ] = None,
    texts: Annotated[
        list[ScanText], Meta(max_length=10_000, description="Texts to scan besides.")
    ] = [],  # noqa: B006 - msgspec copies an empty default
) -> ScanReport:
    """Find the fleet's secret values, raw or encoded, in files, staged changes and texts.

    Values are never shown: a finding names the file, line and column, and the variable. What git
    ignores, binary files and files over 8 MiB are passed over.
    """
    service, scans = ctx.service(EnvService), ctx.service(SecretScans)
    if paths and ctx.caller.kind is not CallerKind.LOCAL:
        raise RefusedError(
            "Only a user of this machine may have its files scanned.",
            hint="Send the texts themselves, or run covey env scan on that machine.",
        )
    if staged and not paths:
        raise InvalidRequestError("Which repository?", hint="Name a directory in it.")
    return await scans.run(
        [
            Needle(name, str(item.scope), item.stored.value)
            for name, item in service.records.everything()
            if item.stored.kind is Kind.SECRET and not item.stored.expand
        ],
        [Source(one.name, one.text.encode()) for one in texts],
        paths,
        staged=staged,
        index_file=index_file,
    )
