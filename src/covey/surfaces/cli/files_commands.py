"""`covey files`: look at, read and remove files of any machine, named as HOST:PATH."""

from __future__ import annotations

import os
from typing import Any

import click

from covey.client.failure import CallFailedError
from covey.client.socket_call import SocketCall
from covey.errors import InvalidRequestError
from covey.surfaces.cli.copy_places import read_place
from covey.surfaces.cli.exec_failure import as_error
from covey.surfaces.cli.humanize import size
from covey.surfaces.cli.light.conversation import STDOUT, Conversation, LeftError
from covey.surfaces.cli.operation_command import describe_command, operation_command
from covey.surfaces.cli.run_operation import run_operation
from covey.surfaces.cli.session import Session
from covey.surfaces.cli.socket_client import open_call
from covey.surfaces.cli.terminal import one_line
from covey.surfaces.cli.tree import Node

_COLUMNS = ("name", "size", "modified", "mode", "user", "group")
_PLACE = "Paths are HOST:PATH, or of this node, or of the hosts that --host names."


def plain(session: Session, node: Node) -> click.Command:
    """Make a command that sends its values as they are, but for the host in the path."""
    command = session.described(node)
    return operation_command(session, command, prepare=lambda values: _split(session, values))


def ls(session: Session, node: Node) -> click.Command:
    """Make `covey files ls`: a table, since a directory's lines are read together."""
    command = session.described(node)

    def start(values: dict[str, Any]) -> None:
        values = _split(session, values)
        if session.target.several or session.output.as_json:
            run_operation(session, command, values)
            return
        found = list(session.client.stream(command, values))
        if session.output.quiet:
            for item in found:
                session.output.line(one_line(item["path"]))
        elif found:
            session.output.table(_COLUMNS, [_row(item) for item in found])
        else:
            session.output.note("Nothing is in it.")

    return describe_command(command, start, description=_PLACE, fans_out=True)


def _row(item: dict[str, Any]) -> dict[str, Any]:
    name = os.path.basename(item["path"]) or item["path"]  # noqa: PTH119 - of another machine
    if item["kind"] == "directory":
        name += "/"
    if item.get("target"):
        name += f" → {item['target']}"
    return {**item, "name": name, "size": size(item["size"]) if item["kind"] == "file" else "-"}


def cat(session: Session, node: Node) -> click.Command:
    """Make `covey files cat`: the bytes as they are."""
    command = session.described(node)

    def start(values: dict[str, Any]) -> None:
        values = _split(session, values)
        if session.target.several:
            raise InvalidRequestError(
                "covey files cat reads from one host.", hint="Name one: HOST:PATH"
            )
        given = {key: value for key, value in values.items() if value is not None}
        call, headers = open_call(session)
        try:
            call.begin(command.route, headers, given)
            _print(call)
        except CallFailedError as error:
            host = session.target.hosts[0] if session.target.hosts else None
            raise as_error(error, host) from error
        finally:
            call.close()

    return describe_command(command, start, description=_PLACE, fans_out=True)


def _print(call: SocketCall) -> None:
    talk = Conversation(call, reads_input=False)
    try:
        talk.run(lambda item: talk.write(STDOUT, item["data"]))
    except LeftError as left:
        from covey.surfaces.cli.app import CommandExitError

        raise CommandExitError(left.status) from left


def _split(session: Session, values: dict[str, Any]) -> dict[str, Any]:
    """Take the host out of a path."""
    path = values["path"]
    if ":" not in path.partition("/")[0]:
        if session.target.here and not session.is_remote:
            path = os.path.abspath(path)  # noqa: PTH100 - links stay as they are written
        return {**values, "path": path}
    place = read_place(path)
    if place.host is not None:
        session.target.add_hosts(place.host)
    return {**values, "path": place.path}
