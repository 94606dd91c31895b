"""Debian's real SSH server on loopback, and a client configuration that knows it."""

from __future__ import annotations

import getpass
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.ports import free_port
from tests.system.harness import eventually

SSHD = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin")


@dataclass(frozen=True)
class SshServer:
    """A running server; `bin` holds a real `ssh` and `scp` with this configuration."""

    port: int
    directory: Path
    host: str = "127.0.0.1"

    @property
    def address(self) -> str:
        return f"{getpass.getuser()}@{self.host}:{self.port}"

    @property
    def bin(self) -> Path:
        return self.directory / "bin"

    @property
    def config(self) -> Path:
        return self.directory / "config"

    @property
    def known_hosts(self) -> Path:
        return self.directory / "known_hosts"

    @property
    def path(self) -> str:
        """The PATH by which commands find that client."""
        return f"{self.bin}:{os.environ['PATH']}"


@contextmanager
def ssh_server(
    directory: Path,
    host: str = "127.0.0.1",
    inside: Sequence[str] = (),
    *,
    home: Path | None = None,
) -> Iterator[SshServer]:
    """Run a server with fresh keys that lets this user in; `inside` a namespace, if given.

    `home` is where commands find the user's start-up files, if not at home.
    """
    assert SSHD is not None, "openssh-server is missing: ./dev test installs it"
    directory.mkdir(mode=0o700)
    for name in ("host", "user"):
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(directory / name)]
        subprocess.run(command, check=True)
    shutil.copy(directory / "user.pub", directory / "authorized")
    server = SshServer(free_port(), directory, host)
    (directory / "sshd_config").write_text(
        f"Port {server.port}\nListenAddress {host}\nHostKey {directory / 'host'}\n"
        f"AuthorizedKeysFile {directory / 'authorized'}\nPidFile none\nUsePAM no\n"
        "StrictModes no\nPasswordAuthentication no\nPermitRootLogin yes\n"
        "Subsystem sftp internal-sftp\nMaxStartups 100\n"
        + ("" if home is None else f"SetEnv HOME={home}\n")
    )
    host_key = (directory / "host.pub").read_text().split()
    server.known_hosts.write_text(f"[{host}]:{server.port} {host_key[0]} {host_key[1]}\n")
    server.config.write_text(
        f"Host *\n  IdentityFile {directory / 'user'}\n  IdentitiesOnly yes\n"
        f"  UserKnownHostsFile {server.known_hosts}\n  GlobalKnownHostsFile /dev/null\n"
        "  StrictHostKeyChecking yes\n  BatchMode yes\n"
    )
    server.bin.mkdir()
    for name in ("ssh", "scp"):
        program = server.bin / name
        program.write_text(f'#!/bin/sh\nexec {shutil.which(name)} -F {server.config} "$@"\n')
        program.chmod(0o755)
    Path("/run/sshd").mkdir(exist_ok=True)
    log_file = directory / "log"
    log = log_file.open("w")
    running = subprocess.Popen(
        [*inside, SSHD, "-D", "-e", "-f", directory / "sshd_config"],
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
    )
    log.close()
    try:
        eventually(lambda: running.poll() is None and "Server listening" in log_file.read_text())
        yield server
    finally:
        running.kill()
        running.wait(10)
