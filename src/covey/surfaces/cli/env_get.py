"""`covey env get`: the value alone, as it is."""

from __future__ import annotations

from typing import Any

import click

from covey.surfaces.cli.operation_command import describe_command
from covey.surfaces.cli.place import fill_place
from covey.surfaces.cli.session import Session
from covey.surfaces.cli.tree import Node


def get(session: Session, node: Node) -> click.Command:
    """Make the command."""
    command = session.described(node)

    def run(values: dict[str, Any], *, no_newline: bool) -> None:
        output = session.output
        found = session.client.run(command, fill_place(session, command, values))
        if output.as_json:
            output.json(found)
            return
        output.exact(found["value"] if no_newline else found["value"] + "\n")

    return describe_command(
        command,
        run,
        more=[
            click.Option(["-n", "--no-newline"], is_flag=True, help="Add no newline to the value.")
        ],
        name=node.name,
        summary=node.summary,
    )
