"""What every command is given: the global options, the output and the connection."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from covey.client.target import Target
from covey.errors import InvalidRequestError
from covey.operations.command_document import Command, CommandDocument
from covey.paths import Paths, find_paths
from covey.surfaces.cli.output import Output
from covey.surfaces.cli.tree import Node

if TYPE_CHECKING:
    from covey.surfaces.cli.client import Client
    from covey.surfaces.cli.node_control import NodeControl, ServiceManager
    from covey.surfaces.cli.ssh import Ssh


@dataclass(frozen=True, slots=True)
class Locals:
    """What works without a daemon, made by whoever starts the program, when it is needed."""

    node_control: Callable[[], NodeControl]
    service_manager: Callable[[], ServiceManager]
    ssh: Callable[[], Ssh] | None = None


@dataclass
class Session:
    """One run of the program."""

    document: CommandDocument
    locals: Locals
    output: Output = field(default_factory=Output)
    url: str | None = None
    token_file: str | None = None
    target: Target = field(default_factory=Target)

    @cached_property
    def paths(self) -> Paths:
        """Where this home's files are."""
        return find_paths()

    @cached_property
    def client(self) -> Client:
        """The connection to the node that the options name, for the hosts that they name."""
        return self.another_client(self.target)

    def another_client(self, target: Target | None = None) -> Client:
        """Return a further connection to the node that the options name, for other hosts."""
        from covey.surfaces.cli.client import Client
        from covey.surfaces.cli.transport import Transport

        url = self.url or os.environ.get("COVEY_URL")
        if not url:
            if self.token_file is not None:
                raise InvalidRequestError(
                    "--token-file is for a node that is reached by its URL, and none is named.",
                    hint="Name it: --url https://frigg.example:13500. This machine's own node "
                    "needs no token.",
                )
            return Client(Transport(self.paths), self.document, target)
        from covey.surfaces.cli.remote_http import Remote

        remote = Remote(url, self.token, os.environ.get("COVEY_CA_FILE"))
        return Client(Transport(self.paths, remote), self.document, target)

    @property
    def is_remote(self) -> bool:
        """Whether commands go to another node by its URL."""
        return bool(self.url or os.environ.get("COVEY_URL"))

    @cached_property
    def local_client(self) -> Client:
        """The connection to this home's own daemon, whatever the options say."""
        from covey.surfaces.cli.client import Client
        from covey.surfaces.cli.transport import Transport

        return Client(Transport(self.paths), self.document)

    def described(self, node: Node) -> Command:
        """Return the operation that a front end of the tree stands for."""
        if node.operation is None:
            raise LookupError(f"{' '.join(node.words)} stands for no operation")
        return node.operation

    def close(self) -> None:
        """Close the connections that were made."""
        for name in ("client", "local_client"):
            made: Client | None = self.__dict__.get(name)
            if made is not None:
                made.transport.close()

    @cached_property
    def token(self) -> str:
        """The token for a node that is reached by its URL; raises `InvalidRequestError`."""
        name = self.token_file or os.environ.get("COVEY_TOKEN_FILE")
        if name is None:
            token = os.environ.get("COVEY_TOKEN", "")
            if token:
                return token.strip()
            raise InvalidRequestError(
                "A node that is reached by its URL asks for a token.",
                hint="Put it into COVEY_TOKEN, or name a file that holds it: --token-file PATH",
            )
        if name == "-":
            return sys.stdin.readline().strip()
        try:
            return Path(name).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not text"
            raise InvalidRequestError(
                f"The token file {name} cannot be read: {reason}.",
                hint="Name a file that holds the token alone: --token-file PATH",
            ) from error
