"""The operation that hands a generated Containerfile to its user."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Annotated

import msgspec
from msgspec import Meta

from covey.apps.config.buildplan import DockerfileBuild, GeneratedBuild, plan_files
from covey.apps.config.containerfiles import own_containerfile
from covey.apps.config.load import FILE_NAMES, AppFile, parse_app_file
from covey.apps.config.merge import effective
from covey.apps.config.model import AppConfig
from covey.apps.config.tree import MOST_NAMES, SourceTree, seen, wanted_texts
from covey.errors import ConflictError
from covey.operations.access import Role
from covey.operations.context import Context
from covey.operations.registry import Effect, operation

FileName = Annotated[str, Meta(min_length=1, max_length=1024)]


class SourceText(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The text of one file of a source."""

    name: FileName
    text: Annotated[str, Meta(max_length=256 << 10)]


class Ejected(msgspec.Struct, frozen=True):
    """A Containerfile and lines for .dockerignore, or the files that must be known first."""

    wanted: tuple[str, ...] = ()
    text: str = ""
    ignore: tuple[str, ...] = ()
    reason: str = ""


@operation(
    "apps.eject",
    access=Role.VIEWER,
    effect=Effect.READ,
    http="POST /api/v1/containerfile",
    examples=("apps eject", "apps eject ./shop --print"),
)
async def eject(
    ctx: Context,
    names: Annotated[
        list[FileName],
        Meta(max_length=MOST_NAMES, description="The source's files, three levels deep."),
    ],
    *,
    texts: Annotated[
        list[SourceText], Meta(max_length=100, description="The files that are wanted.")
    ] = [],  # noqa: B006 - msgspec copies an empty default
) -> Ejected:
    """Write the Containerfile that a source without one is built by.

    Asked with the names alone, it answers which of the files it wants to see; it is asked again
    with their texts until it wants none.
    """
    given = {item.name: item.text for item in texts}
    visible = [name for name in names if seen(name)]
    files = [name for name in FILE_NAMES if name in visible]
    if missing := tuple(name for name in files if name not in given):
        return Ejected(wanted=missing)
    config = await asyncio.to_thread(_read, given, files)
    prefix = "" if config.build.context == "." else f"{config.build.context}/"
    below = frozenset(name[len(prefix) :] for name in visible if name.startswith(prefix))
    asked = [prefix + name for name in wanted_texts(below)]
    if missing := tuple(name for name in asked if name not in given):
        return Ejected(wanted=missing)
    own = {name[len(prefix) :]: given[name] for name in asked}
    plan = await asyncio.to_thread(plan_files, config, SourceTree(below, own))
    if isinstance(plan, DockerfileBuild):
        raise ConflictError(
            f"There is a {plan.dockerfile} already, and it is what is built.",
            hint="Change that file, or remove it to have one written.",
        )
    if plan.text is None:
        raise ConflictError(
            "These files are served as they are; nothing is built, so there is no Containerfile.",
            hint="An app with a server has package.json, requirements.txt, pyproject.toml or "
            "go.mod at its top.",
        )
    if not isinstance(plan, GeneratedBuild):
        raise ConflictError(
            "This is a static site: its files are made in a build, and then served without any "
            "container.",
            hint="Its command can be changed without a Containerfile: build.command in "
            "covey.app.toml.",
        )
    return Ejected(text=own_containerfile(plan.text), ignore=plan.ignore, reason=plan.reason)


def _read(given: Mapping[str, str], files: Sequence[str]) -> AppConfig:
    file = parse_app_file(given[files[0]], name=files[0]) if files else AppFile()
    return effective(file).config
