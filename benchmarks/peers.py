"""The peers of commands and copies: OpenSSH without what the user's shell does at its start."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tests.system.harness import Fleet
from tests.system.sshd import SshServer, ssh_server


@contextmanager
def plain_server(fleet: Fleet) -> Iterator[SshServer]:
    """Run a server whose user has no start-up files: a `.bashrc` may take longer than ssh."""
    home = fleet.directory / "home"
    home.mkdir()
    with ssh_server(fleet.directory / "sshd", home=home) as server:
        yield server
