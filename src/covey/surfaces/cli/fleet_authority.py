"""`covey fleet authority`: the certificate by which clients elsewhere know this fleet's nodes."""

from __future__ import annotations

import click

from covey.surfaces.cli.operation_command import DescribedCommand
from covey.surfaces.cli.session import Session
from covey.surfaces.cli.tree import Node

_PATH = "/peer/v1/authority"


def authority(session: Session, node: Node) -> click.Command:
    """Make the command."""

    def run() -> None:
        pem = session.local_client.fetch(_PATH).decode("ascii")
        if session.output.as_json:
            session.output.json({"certificate": pem})
        else:
            session.output.text(pem)

    return DescribedCommand(
        node.name,
        run,
        [],
        summary=node.summary,
        description="It comes from this machine's own daemon and is no secret. Where no daemon of "
        "the fleet runs, COVEY_CA_FILE names a file with it, so that --url trusts the nodes of "
        "this fleet and nobody else.",
        examples=(
            "fleet authority > fleet.pem",
            "--url https://frigg.example:13500 status   # with COVEY_CA_FILE, COVEY_TOKEN",
        ),
    )
