"""`covey unlock`: the master password from a prompt or standard input."""

from __future__ import annotations

import click

from covey.operations.secret import Secret
from covey.surfaces.cli.operation_command import DescribedCommand
from covey.surfaces.cli.secrets_input import ask, read_stdin_line
from covey.surfaces.cli.session import Session
from covey.surfaces.cli.tree import Node

PASSWORD_STDIN = click.Option(
    ["--password-stdin"],
    is_flag=True,
    help="Read the master password from the first line of standard input.",
)


def unlock(session: Session, node: Node) -> click.Command:
    """Make the command."""

    def run(*, password_stdin: bool) -> None:
        output = session.output
        found = session.client.call("node.status")
        if found["state"] != "locked":
            output.record({"message": "The node is unlocked already."})
            return
        result = session.client.call(
            "node.unlock", password=read_password(from_stdin=password_stdin).reveal()
        )
        output.record(result)

    return DescribedCommand(
        node.name,
        run,
        [PASSWORD_STDIN],
        summary=node.summary,
        examples=("unlock", "unlock --password-stdin < password.txt"),
    )


def read_password(*, from_stdin: bool) -> Secret:
    """Read the master password of keys that exist."""
    if from_stdin:
        return read_stdin_line("password")
    return ask("Master password", otherwise="Send it by --password-stdin.")
