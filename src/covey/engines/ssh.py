"""OpenSSH's client: the user's keys, agent, configuration and known hosts; host keys are checked.

The log tells whether a session came about, since a status of 255 may be the program's own too.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from covey.errors import CoveyError, UnreachableError

Address = tuple[str, str | None, int | None]
"""A host, its user and its port."""

_CONNECT_S = 10
_FAILED = 255
_PROVED = "Authenticated to "


class OpenSsh:
    """Runs the programs `ssh` and `scp`; `UnreachableError` says that no session came about."""

    def run(self, address: Address, line: str, *, tty: bool, no_stdin: bool) -> int:
        """Run a shell line with this terminal as its own, and return its status."""
        flags = ["-tt"] if tty else ["-T"]
        if no_stdin:
            flags.append("-n")
        with _log_file() as log:
            command = _command(address, line, log, flags)
            done = _start(command)
            return _status(done.returncode, address, log)

    def capture(self, address: Address, line: str) -> tuple[int, bytes, bytes]:
        """Run a shell line without input, and return its status, output and error output."""
        with _log_file() as log:
            command = _command(address, line, log, ["-T", "-n", "-o", "BatchMode=yes"])
            done = _start(command, capture=True)
            status = _status(done.returncode, address, log)
        return status, done.stdout, done.stderr

    def copy(self, sources: Sequence[str], target: str, *, port: int | None) -> None:
        """Copy files as scp does; raises `CoveyError` if that fails."""
        flags = ["-r", "-p", "-o", f"ConnectTimeout={_CONNECT_S}"]
        if port is not None:
            flags += ["-P", str(port)]
        done = _start(["scp", *flags, "--", *sources, target])
        if done.returncode == _FAILED:
            raise UnreachableError("SSH could not copy.", hint="What scp said stands above.")
        if done.returncode != 0:
            raise CoveyError(
                f"scp ended with status {done.returncode}.", hint="What it said stands above."
            )


def _command(address: Address, line: str, log: Path, flags: Sequence[str]) -> list[str]:
    command = ["ssh", *flags, "-o", f"ConnectTimeout={_CONNECT_S}"]
    command += ["-o", "LogLevel=VERBOSE", "-E", str(log)]
    host, user, port = address
    if port is not None:
        command += ["-p", str(port)]
    if user is not None:
        command += ["-l", user]
    command += ["--", host]
    return [*command, line] if line else command


def _start(command: Sequence[str], *, capture: bool = False) -> subprocess.CompletedProcess[bytes]:
    try:
        return subprocess.run(
            command,
            check=False,
            stdin=subprocess.DEVNULL if capture else None,
            capture_output=capture,
        )
    except FileNotFoundError as error:
        raise UnreachableError(
            f"There is no program {command[0]} to stand in for the host's agent.",
            hint="Install OpenSSH's client, or start the host's agent.",
        ) from error


@contextmanager
def _log_file() -> Iterator[Path]:
    descriptor, name = tempfile.mkstemp(prefix="covey-ssh-")
    os.close(descriptor)
    try:
        yield Path(name)
    finally:
        Path(name).unlink(missing_ok=True)


def _status(status: int, address: Address, log: Path) -> int:
    """Return the program's status; raises `UnreachableError` if there was no session."""
    if status != _FAILED:
        return status if status >= 0 else 128 - status
    lines = log.read_text("utf-8", "replace").splitlines()
    if any(line.startswith(_PROVED) for line in lines):
        return status
    host, user, port = address
    where = f"{user}@{host}" if user else host
    way = where if port is None else f"-p {port} {where}"
    told = [line for line in lines if line.strip()]
    reason = told[-1].rstrip(".") if told else "ssh did not say why"
    raise UnreachableError(
        f"SSH to {where} failed as well: {reason}.",
        hint=f"Try it by itself: ssh {way}. Or start the host's agent.",
    )
