"""The commands on apps that the operations do not make by themselves: exec, run, logs, open."""

from __future__ import annotations

import os
import sys
import webbrowser
from collections.abc import Mapping
from typing import Any

import click

from covey.client.failure import CallFailedError
from covey.client.request import fill_route
from covey.errors import InvalidRequestError, NotFoundError
from covey.surfaces.cli.app import CommandExitError
from covey.surfaces.cli.exec_failure import as_error
from covey.surfaces.cli.light.exec_call import run_call
from covey.surfaces.cli.light.terminal_mode import size_of_terminal
from covey.surfaces.cli.operation_command import DescribedCommand
from covey.surfaces.cli.output import Output
from covey.surfaces.cli.session import Session
from covey.surfaces.cli.socket_client import open_call
from covey.surfaces.cli.terminal import paint, printable
from covey.surfaces.cli.tree import Node

_COLOURS = ("cyan", "yellow", "green", "magenta", "blue")


def run_in_app(session: Session, node: Node) -> click.Command:
    """Make `covey apps exec` and `covey apps run`: a command in a container of an app."""
    command = session.described(node)
    has_process = any(param.name == "process" for param in command.params)

    def start(app: str, words: tuple[str, ...], **given: Any) -> None:
        if session.target.several:
            raise InvalidRequestError("The command runs on one host.", hint="Name one: --host NAME")
        _go_to(session, app)
        # Behind a first word click leaves the dashes in.
        words = words[1:] if words[:1] == ("--",) else words
        tty = given["tty"] or (not words and sys.stdin.isatty())
        arguments: dict[str, Any] = {"argv": list(words), "tty": tty}
        if has_process:
            arguments["process"] = given["process"]
        size = size_of_terminal() if tty else None
        if size is not None:
            arguments["rows"], arguments["columns"] = size
        host = session.target.hosts[0] if session.target.hosts else None
        route = fill_route(command.route, {"app": app})
        try:
            call, headers = open_call(session)
            ending = run_call(
                call, route, headers, arguments, tty=tty, reads_input=not given["no_stdin"]
            )
        except CallFailedError as error:
            raise as_error(error, host) from error
        raise CommandExitError(ending.status)

    process = [
        click.Option(
            ["--process"], default="web", metavar="NAME", help="In a container of this process."
        )
    ]
    return DescribedCommand(
        node.name,
        start,
        [
            *(process if has_process else []),
            click.Option(["-t", "--tty"], is_flag=True, help="Give it a terminal."),
            click.Option(["-n", "--no-stdin"], is_flag=True, help="Give it no input."),
            click.Argument(["app"]),
            click.Argument(["words"], nargs=-1, type=click.UNPROCESSED, metavar="-- COMMAND…"),
        ],
        summary=command.summary,
        description="Its exit status becomes that of covey. Without a command, a shell.",
        examples=command.examples,
        context={"ignore_unknown_options": True},
        hosts=True,
    )


def _go_to(session: Session, app: str) -> None:
    """Turn to the machine that runs an app, unless the user named one."""
    if session.target.here:
        # The client turns to the machine that an answer names; a call over a socket does not.
        session.client.call("apps.show", app=app)


def open_app(session: Session, node: Node) -> click.Command:
    """Make `covey apps open`."""

    def start(app: str) -> None:
        found = session.client.call("apps.domains.list", app=app)
        if not found:
            raise NotFoundError(
                f"{app} has no address.", hint=f"Deploy it first: covey deploy {app}"
            )
        url = str(found[0])
        if session.output.as_json:
            session.output.json(url)
            return
        session.output.line(url)
        can_show = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
        if can_show or sys.platform in {"darwin", "win32"}:
            webbrowser.open(url)

    return DescribedCommand(
        node.name,
        start,
        [click.Argument(["app"])],
        summary=node.summary,
        description="Its address is printed as well.",
        examples=("apps open shop",),
        hosts=True,
    )


def app_line(output: Output, line: Mapping[str, Any]) -> None:
    """Show one line of an app, labelled with its process."""
    source = str(line["source"])
    colour = _COLOURS[sum(source.encode()) % len(_COLOURS)]
    label = paint(f"{printable(source):<10}", colour, colour=output.colour)
    output.line(f"{label} {printable(str(line['text']))}")


def app_stopped(output: Output, app: Mapping[str, Any]) -> None:
    """Say that an app is stopped."""
    output.note(f"{app['name']} is stopped. Start it: covey apps start {app['name']}")


def app_made(output: Output, app: Mapping[str, Any]) -> None:
    """Say that an app was made."""
    output.note(f"Made the app {app['name']}. Deploy it: covey deploy {app['name']}")


def app_destroyed(output: Output, found: Mapping[str, Any]) -> None:
    """Say what is gone, and which data stay."""
    app, volumes = found["app"], found["volumes"]
    if not volumes:
        output.note(f"Removed {app}.")
        return
    what = "its volume stays" if len(volumes) == 1 else "its volumes stay"
    output.note(f"Removed {app}; {what}: {', '.join(volumes)}.")
    output.note(f"With the data: covey apps volumes remove {app} {volumes[0]}")


def deployment_cancelled(output: Output, ended: Mapping[str, Any]) -> None:
    """Say what became of a deployment that was cancelled."""
    what = f"Deployment {ended['number']} of {ended['app']}"
    if ended["state"] == "cancelled":
        output.note(f"{what} was cancelled.")
    elif ended["state"] in {"queued", "running"}:
        output.note(f"{what} cleans up. See it: covey apps deployments {ended['app']}")
    else:
        output.note(f"{what} had ended before: {ended['state']}.")


def maintained(output: Output, app: Mapping[str, Any]) -> None:
    """Say what an app's visitors see now."""
    name = app["name"]
    if app["state"] == "maintenance":
        output.note(
            f"{name} shows its maintenance page. End that: covey apps maintenance {name} --off"
        )
    else:
        output.note(f"{name} shows itself again.")


def show_app(output: Output, app: Mapping[str, Any]) -> None:
    """Show an app, with its processes and settings below."""
    if output.quiet:
        output.line(str(app["state"]))
        return
    inner = {"processes", "settings"}
    output.record({key: value for key, value in app.items() if key not in inner})
    if app["processes"]:
        output.line()
        output.table(("name", "replicas", "command"), app["processes"])
    if app["settings"]:
        output.line()
        output.table(("key", "value", "origin"), app["settings"])
