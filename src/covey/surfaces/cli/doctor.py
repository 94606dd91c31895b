"""`covey doctor`: the node's checks, and an exit status that tells whether one failed."""

from __future__ import annotations

from typing import Any

import click

from covey.surfaces.cli.app import CommandExitError
from covey.surfaces.cli.operation_command import describe_command
from covey.surfaces.cli.session import Session
from covey.surfaces.cli.tree import Node
from covey.surfaces.cli.views import show_checks


def doctor(session: Session, node: Node) -> click.Command:
    """Make the command."""
    command = session.described(node)

    def run(values: dict[str, Any]) -> None:
        checks = session.client.run(command, values)
        if session.output.as_json:
            session.output.json(checks)
        else:
            show_checks(session.output, checks)
        if any(check["state"] == "failed" for check in checks):
            raise CommandExitError(1)

    return describe_command(
        command,
        run,
        name=node.name,
        summary=node.summary,
        description="The exit status is 1 if a check failed; a warning alone leaves it 0.",
    )
