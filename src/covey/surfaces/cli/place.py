"""Fill in the project and environment of the working directory, and short forms of scopes."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from covey.errors import InvalidRequestError
from covey.operations.command_document import Command
from covey.shellkit.project import Project, ProjectFileError, find_project
from covey.surfaces.cli.session import Session
from covey.surfaces.cli.values import SCOPE_PARAMETERS, SHORT_SCOPES

_DOMAIN = "env."


def fill_place(session: Session, command: Command, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return an env operation's values with what the directory tells.

    `scope` may be the bare word project, environment or host. Where variables are resolved, the
    directory's project and environment are the default; an empty `--project ""` means none.

    Raises `InvalidRequestError` for a bare word that the directory does not complete.
    """
    filled = dict(values)
    if not command.name.startswith(_DOMAIN):
        return filled
    for name in SCOPE_PARAMETERS:
        if filled.get(name) in SHORT_SCOPES:
            filled[name] = complete_scope(session, filled[name])
    names = {param.name for param in command.params}
    if {"project", "environment"} <= names and filled.get("scope") is None:
        _fill_project(filled)
    return filled


def complete_scope(session: Session, word: str) -> str:
    """Return the scope that a bare word means here; other texts stay."""
    match word:
        case "project":
            return f"project:{_required('project').project}"
        case "environment":
            project = _required("environment")
            if project.environment is None:
                raise InvalidRequestError(
                    f"{project.path} names no environment.",
                    hint='Add a line such as: environment = "dev". Or write '
                    "--scope environment:PROJECT/NAME",
                )
            return f"environment:{project.project}/{project.environment}"
        case "host":
            return f"host:{session.client.call('node.status')['name']}"
        case _:
            return word


def _fill_project(values: dict[str, Any]) -> None:
    if values.get("project") is not None:
        _fill_environment(values)
        return
    found = present_project()
    if found is not None:
        values["project"] = found.project
        if values.get("environment") is None:
            values["environment"] = found.environment


def _fill_environment(values: dict[str, Any]) -> None:
    """Take the directory's environment for a project that is named and is the directory's."""
    if not values["project"]:
        values["project"] = None
        return
    found = present_project() if values.get("environment") is None else None
    if found is not None and found.project == values["project"]:
        values["environment"] = found.environment


def _required(word: str) -> Project:
    found = present_project()
    if found is None:
        raise InvalidRequestError(
            f"--scope {word} needs a .covey.toml, and there is none here or in a directory above.",
            hint='Make one with the line: project = "NAME". Or write --scope project:NAME',
        )
    return found


def present_project() -> Project | None:
    """Return the project of the working directory; raises `InvalidRequestError` for a bad file."""
    try:
        return find_project(os.getcwd())  # noqa: PTH109 - pathlib resolves nothing more here
    except FileNotFoundError:
        return None
    except ProjectFileError as error:
        raise InvalidRequestError(
            f"{error}.", hint='It needs a line such as: project = "shop"'
        ) from error
