"""The way to a host whose agent cannot be reached: the user's own SSH."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from covey.client.target import Target
from covey.errors import CoveyError, InvalidRequestError
from covey.surfaces.cli.light.exec_call import ExecCall
from covey.surfaces.cli.session import Session

FIELD = "ssh"
"""The field of a host record that holds `[user@]host[:port]`, or a name of the user's config."""

_ADDRESS = re.compile(
    r"(?:(?P<user>[A-Za-z0-9_][A-Za-z0-9_.-]*)@)?"
    r"(?:\[(?P<v6>[0-9A-Fa-f:.]+(?:%\w+)?)\]|(?P<host>[A-Za-z0-9_][A-Za-z0-9_.-]*))"
    r"(?::(?P<port>\d{1,5}))?"
)


@dataclass(frozen=True, slots=True)
class SshAddress:
    """Where a host's SSH server is."""

    host: str
    user: str | None = None
    port: int | None = None

    @property
    def parts(self) -> tuple[str, str | None, int | None]:
        """The host, the user and the port."""
        return self.host, self.user, self.port

    def __str__(self) -> str:
        shown = f"[{self.host}]" if ":" in self.host else self.host
        user = "" if self.user is None else f"{self.user}@"
        return f"{user}{shown}" if self.port is None else f"{user}{shown}:{self.port}"


class Ssh(Protocol):
    """Runs programs by SSH; each method raises `UnreachableError` if no session came about.

    `address` is a host, its user and its port.
    """

    def run(
        self, address: tuple[str, str | None, int | None], line: str, *, tty: bool, no_stdin: bool
    ) -> int:
        """Run a shell line with this terminal as its own, and return its status."""

    def capture(
        self, address: tuple[str, str | None, int | None], line: str
    ) -> tuple[int, bytes, bytes]:
        """Run a shell line without input, and return its status, output and error output."""

    def copy(self, sources: Sequence[str], target: str, *, port: int | None) -> None:
        """Copy files as scp does; raises `CoveyError` if that fails."""


def parse_address(text: str) -> SshAddress:
    """Read `[user@]host[:port]`; raises `InvalidRequestError`."""
    found = _ADDRESS.fullmatch(text.removeprefix("ssh://").rstrip("/"))
    port = int(found["port"]) if found and found["port"] else None
    if found is None or (port is not None and not 0 < port < 1 << 16):
        raise InvalidRequestError(
            f"{text!r} is not an SSH address.",
            hint=f"For example: covey fleet set-field frigg {FIELD} root@frigg.lan:22",
        )
    return SshAddress(found["v6"] or found["host"], found["user"], port)


def address_of(session: Session, host: str) -> SshAddress | None:
    """Return a host's SSH address by its record, or None if it has none or cannot be read."""
    client = session.another_client(Target())
    try:
        fields = client.call("fleet.show", node=host).get("fields") or {}
    except CoveyError:
        return None
    finally:
        client.transport.close()
    text = fields.get(FIELD)
    return parse_address(text) if text else None


def line_of(wanted: ExecCall) -> str:
    """Return a command as a line for the login shell at the other end.

    Raises `InvalidRequestError` for what only an agent can do.
    """
    parts: list[str] = []
    for item in wanted.env:
        name, equals, value = item.partition("=")
        if not equals:
            raise InvalidRequestError(
                f"The fleet's variable {name} is not sent by SSH, where others could see it.",
                hint="Start the host's agent, or leave out --env.",
            )
        parts.append(f"export {shlex.quote(name)}={shlex.quote(value)};")
    if wanted.cwd is not None:
        parts.append(f"cd -- {shlex.quote(wanted.cwd)} || exit;")
    command = " ".join(wanted.words) if wanted.shell else shlex.join(wanted.words)
    if wanted.timeout is not None:
        inner = f'"${{SHELL:-sh}}" -c {shlex.quote(command)}' if wanted.shell else command
        command = f"exec timeout -k 2 {wanted.timeout:g} {inner}"
    elif not wanted.shell:
        command = f"exec {command}"
    elif not command:
        command = 'exec "${SHELL:-sh}" -l' if parts else ""
    return " ".join([*parts, command])
