"""`covey shell-init`: the hook that keeps open terminals up to date."""

from __future__ import annotations

import click

from covey.shellkit.hook_text import HOOKS, hook_text
from covey.surfaces.cli.operation_command import DescribedCommand
from covey.surfaces.cli.session import Session
from covey.surfaces.cli.tree import Node


def shell_init(session: Session, node: Node) -> click.Command:
    """Make the command."""

    def run(shell: str) -> None:
        session.output.exact(hook_text(shell, session.paths.rendered_dir))

    return DescribedCommand(
        node.name,
        run,
        [click.Argument(["shell"], type=click.Choice(HOOKS), metavar="SHELL")],
        summary=node.summary,
        description="The hook reads the variables that the daemon keeps in memory, at each prompt "
        "when they changed, without starting a process. Its first lines say where to put it.",
        arguments=[("SHELL", f"One of {', '.join(HOOKS)}.")],
        examples=("shell-init bash", "shell-init fish > ~/.config/fish/conf.d/covey.fish"),
    )
