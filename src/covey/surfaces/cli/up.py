"""`covey up`: the daemon in the foreground."""

from __future__ import annotations

import click

from covey.operations.secret import Secret
from covey.surfaces.cli.app import CommandExitError
from covey.surfaces.cli.operation_command import DescribedCommand
from covey.surfaces.cli.secrets_input import is_interactive
from covey.surfaces.cli.session import Session
from covey.surfaces.cli.tree import Node
from covey.surfaces.cli.unlock import PASSWORD_STDIN, read_password


def up(session: Session, node: Node) -> click.Command:
    """Make the command."""

    def run(listen: str | None, *, password_stdin: bool, locked: bool) -> None:
        control = session.locals.node_control()
        password: Secret | None = None
        ask_for_it = not locked and control.is_initialized() and control.unlocks_by_password()
        if password_stdin or (ask_for_it and is_interactive() and not control.is_running()):
            password = read_password(from_stdin=password_stdin)
        status = control.serve(listen, password, as_json=session.output.as_json)
        raise CommandExitError(status)

    return DescribedCommand(
        node.name,
        run,
        [
            click.Option(
                ["--listen"], metavar="ADDRESS:PORT", help="Instead of the setting server.listen."
            ),
            PASSWORD_STDIN,
            click.Option(
                ["--locked"], is_flag=True, help="Start without asking; unlock later: covey unlock."
            ),
        ],
        summary=node.summary,
        description="It prints one line with `ready` when it serves, and stops at Ctrl-C. If the "
        "keys need a password, it asks for it; without a terminal it starts locked.",
        examples=("up", "up --listen 192.168.1.5:13500", "up --password-stdin < password.txt"),
    )
