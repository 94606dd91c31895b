"""`covey completion`: the script that lets a shell complete covey's words."""

from __future__ import annotations

from pathlib import Path

import click

from covey.surfaces.cli.operation_command import DescribedCommand
from covey.surfaces.cli.session import Session
from covey.surfaces.cli.tree import Node

SHELLS = ("bash", "zsh", "fish")

_SCRIPTS = Path(__file__).with_name("shells")


def completion(session: Session, node: Node) -> click.Command:
    """Make the command."""

    def run(shell: str) -> None:
        session.output.exact(script(shell))

    return DescribedCommand(
        node.name,
        run,
        [click.Argument(["shell"], type=click.Choice(SHELLS), metavar="SHELL")],
        summary=node.summary,
        description="Put the line of the example that fits into your shell's rc file: ~/.bashrc, "
        "~/.zshrc or ~/.config/fish/config.fish.",
        arguments=[("SHELL", "bash, zsh or fish.")],
        examples=("completion bash", "completion fish | source"),
    )


def script(shell: str) -> str:
    """Return the completion script of one of `SHELLS`."""
    return (_SCRIPTS / f"completion.{shell}").read_text(encoding="utf-8")
