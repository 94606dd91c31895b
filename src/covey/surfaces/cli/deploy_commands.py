"""`covey deploy`, and the commands on apps that start a deployment and follow it."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from covey.errors import CoveyError, InvalidRequestError
from covey.surfaces.cli.deployment_follow import DeploymentFailedError, follow, served
from covey.surfaces.cli.env_set import read_assignments
from covey.surfaces.cli.operation_command import DescribedCommand, describe_command
from covey.surfaces.cli.session import Session
from covey.surfaces.cli.tree import Node
from covey.surfaces.cli.upload import Changes, upload_directory

_FILES = ("covey.app.toml", "deploy.toml")
_NOT_FOUND = "not_found"


def deploy(session: Session, node: Node) -> click.Command:
    """Make `covey deploy`."""

    def start(what: str, **given: Any) -> None:
        directory = _directory(what)
        if directory is None:
            if given["watch"]:
                raise InvalidRequestError(
                    "--watch is for a directory, and there is none of that name.",
                    hint="For example: covey deploy . --watch",
                )
            started = session.client.call("apps.deploy", app=what)
            _finish(session, started, detach=given["detach"])
            return
        app = given["app"] or _app_of(directory)
        _make_sure(session, app, given)
        if not given["watch"]:
            _deploy_directory(session, app, directory, detach=given["detach"])
            return
        changes = Changes(directory)
        began = False
        while True:
            try:
                _deploy_directory(session, app, directory, detach=False)
            except DeploymentFailedError as error:
                session.output.error(error)
            except CoveyError as error:
                # What went well before may do so again once a file or the node has changed.
                if not began:
                    raise
                session.output.error(error)
            began = True
            session.output.note("Waiting for changes; Ctrl-C ends it.")
            changes.wait()

    return DescribedCommand(
        node.name,
        start,
        [
            click.Argument(["what"], default=".", metavar="[DIR|APP]"),
            click.Option(
                ["--app"],
                metavar="NAME",
                help="The app; else the one of covey.app.toml, or one named like the directory.",
            ),
            click.Option(["--project"], metavar="NAME", help="The project of an app that is new."),
            click.Option(["--environment"], metavar="NAME", help="And its environment."),
            click.Option(
                ["-w", "--watch"], is_flag=True, help="Deploy again whenever a file changes."
            ),
            click.Option(["-d", "--detach"], is_flag=True, help="Do not wait for its end."),
        ],
        summary=node.summary,
        description="A directory is packed as .gitignore and .dockerignore say, uploaded and "
        "built; an app that is named is deployed anew from its own source. The version before "
        "serves until the new one is healthy, and goes on if that fails.",
        examples=("deploy", "deploy shop", "deploy ./site --app docs --watch"),
        hosts=True,
    )


def rollout(session: Session, node: Node) -> click.Command:
    """Make a command out of an operation that starts a deployment: it follows that."""
    command = session.described(node)

    def start(values: dict[str, Any], *, detach: bool) -> None:
        started = session.client.run(command, values)
        if started is not None and started.get("hint"):
            session.output.note(str(started["hint"]))
        _finish(session, started, detach=detach)

    return describe_command(
        command,
        start,
        more=[click.Option(["-d", "--detach"], is_flag=True, help="Do not wait for its end.")],
    )


def set_env(session: Session, node: Node) -> click.Command:
    """Make `covey apps env set`: several variables, and one deployment for all of them."""
    command = session.described(node)

    def start(
        values: dict[str, Any], assignments: tuple[str, ...], *, stdin: bool, detach: bool
    ) -> None:
        pairs = read_assignments(assignments, stdin=stdin, keep_newline=False)
        started = None
        for position, (name, value) in enumerate(pairs, 1):
            later = {} if position == len(pairs) else {"no_restart": True}
            sent = {**values, **later, "name": name, "value": value.reveal()}
            started = session.client.run(command, sent)
        _finish(session, started, detach=detach)

    return describe_command(
        command,
        start,
        leave_out=frozenset({"name", "value"}),
        more=[
            click.Argument(["assignments"], nargs=-1, required=True, metavar="NAME[=VALUE]…"),
            click.Option(["--stdin"], is_flag=True, help="Read the value from standard input."),
            click.Option(["-d", "--detach"], is_flag=True, help="Do not wait for its end."),
        ],
        arguments=[
            ("APP", "The app's name."),
            (
                "NAME[=VALUE]…",
                "A NAME alone takes its value from standard input or a hidden prompt.",
            ),
        ],
        examples=("apps env set shop LEVEL=debug --plain", "apps env set shop TOKEN < token.txt"),
    )


def _finish(session: Session, started: Mapping[str, Any] | None, *, detach: bool) -> None:
    output = session.output
    if started is None:
        if output.as_json:
            output.json(None)
        else:
            output.note("Kept. The app gets it when it is deployed or started.")
        return
    if detach:
        if output.as_json:
            output.json(started)
            return
        app, number = started["app"], started["number"]
        output.line(str(number))
        output.note(f"Follow it: covey apps deployment-logs {app} {number} --follow")
        return
    served(session, follow(session, started))


def _deploy_directory(session: Session, app: str, directory: Path, *, detach: bool) -> None:
    uploaded = upload_directory(session, app, directory)
    started = session.client.call(
        "apps.deploy",
        app=app,
        upload=uploaded.id,
        commit=uploaded.commit,
        message=uploaded.message,
    )
    _finish(session, started, detach=detach)


def _make_sure(session: Session, app: str, given: Mapping[str, Any]) -> None:
    """Make the app if there is none of that name."""
    try:
        session.client.call("apps.show", app=app)
    except CoveyError as error:
        if error.code != _NOT_FOUND:
            raise
        create = session.client.command("apps.create")
        values = {"name": app, "project": given["project"], "environment": given["environment"]}
        session.client.run(create, values)
        session.output.note(f"Made the app {app}.")


def _directory(what: str) -> Path | None:
    path = Path(what)
    if path.is_dir():
        return path
    if what.startswith((".", "/", "~")) or "/" in what:
        raise InvalidRequestError(
            f"{what} is not a directory.", hint="Name a directory, or an app of the fleet."
        )
    return None


def _app_of(directory: Path) -> str:
    for name in _FILES:
        try:
            found = tomllib.loads((directory / name).read_text(encoding="utf-8")).get("app")
        except FileNotFoundError:
            continue
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError):
            # The node says what is wrong with it.
            break
        if isinstance(found, str):
            return found
    plain = re.sub(r"[^a-z0-9]+", "-", directory.resolve().name.lower()).strip("-")
    plain = re.sub(r"^[^a-z]+", "", plain)[:48].rstrip("-")
    if not plain:
        raise InvalidRequestError(
            f"No name for an app can be made of {directory.resolve().name!r}.",
            hint='Give it one: app = "NAME" in covey.app.toml, or --app NAME',
        )
    return plain
