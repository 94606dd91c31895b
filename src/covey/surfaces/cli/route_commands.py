"""`covey routes certificate`: hand a certificate of your own to the proxy."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from covey.errors import InvalidRequestError
from covey.surfaces.cli.humanize import ago
from covey.surfaces.cli.operation_command import describe_command
from covey.surfaces.cli.secrets_input import read_stdin_text
from covey.surfaces.cli.session import Session
from covey.surfaces.cli.terminal import one_line
from covey.surfaces.cli.tree import Node

_MOST_BYTES = 1 << 20


def certificate(session: Session, node: Node) -> click.Command:
    """Make `covey routes certificate`."""
    command = session.described(node)

    def run(_values: dict[str, Any], host: str, chain: str, key: str) -> None:
        given = {"host": host, "chain": _read(chain), "key": _read(key)}
        result = session.client.run(command, given)
        output = session.output
        if output.as_json:
            output.json(result)
            return
        ends = ago(datetime.fromisoformat(result["expires"]), datetime.now(UTC))
        names = ", ".join(one_line(name) for name in result["names"])
        output.note(f"The certificate for {names} is used for {one_line(host)}; it expires {ends}.")

    return describe_command(
        command,
        run,
        leave_out=frozenset({"host", "chain", "key"}),
        more=[
            click.Argument(["host"]),
            click.Argument(["chain"]),
            click.Argument(["key"]),
        ],
        name=node.name,
        summary=node.summary,
        arguments=[
            ("HOST", "The host, or *.example.org for all one level below."),
            ("CHAIN", "The file with the certificate and those above it, as PEM."),
            ("KEY", "The file with its private key, as PEM; - is standard input."),
        ],
        description="It is checked: the key must fit, it must name the host and be valid now.",
    )


def _read(name: str) -> str:
    if name == "-":
        return read_stdin_text()
    try:
        with Path(name).open("rb") as file:
            return file.read(_MOST_BYTES).decode()
    except UnicodeDecodeError as error:
        raise InvalidRequestError(
            f"{name} is no text.", hint="Convert it to PEM: openssl x509 -inform der -in FILE"
        ) from error
    except OSError as error:
        raise InvalidRequestError(
            f"{name} cannot be read: {error.strerror}.", hint="Name a file that you may read."
        ) from error
