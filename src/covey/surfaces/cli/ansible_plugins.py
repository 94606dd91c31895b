"""`covey ansible-plugins`: where Ansible finds the connection plugin."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import click

from covey.surfaces.cli.operation_command import DescribedCommand
from covey.surfaces.cli.session import Session
from covey.surfaces.cli.tree import Node


def ansible_plugins(session: Session, node: Node) -> click.Command:
    """Make the command."""

    def run() -> None:
        package = find_spec("covey")
        if package is None or package.origin is None:
            raise click.ClickException("This installation of Covey has no plugin for Ansible")
        session.output.line(str(Path(package.origin).parent / "ansible"))

    return DescribedCommand(
        node.name,
        run,
        [],
        summary=node.summary,
        description="Put it into ANSIBLE_CONNECTION_PLUGINS, and set ansible_connection to covey.",
        examples=("ansible-plugins",),
    )
