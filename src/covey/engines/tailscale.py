"""The machines of the tailnet, from tailscaled's LocalAPI or from `tailscale status --json`.

Both give the same document (ipnstate.Status); reading it needs no root. Of it, only the fields
below are used, and a document without them in this form is refused.
"""

from __future__ import annotations

import asyncio
import http.client
import shutil
import socket
from pathlib import Path

import msgspec

from covey.engines.program_output import OutputTooLongError, program_output
from covey.errors import CoveyError, UnreachableError
from covey.fleet.tailnet import Tailnet, TailnetMachine

_SOCKETS = (
    "/run/tailscale/tailscaled.sock",
    "/var/run/tailscale/tailscaled.sock",
    "/var/run/tailscaled.socket",
)
_API_HOST = "local-tailscaled.sock"
_STATUS = "/localapi/v0/status"
_TIMEOUT_S = 5.0
_MAX_BYTES = 32 << 20


class PeerStatus(msgspec.Struct, frozen=True, rename="pascal"):
    """One machine, as Tailscale tells; `sharee_node` is one of another tailnet."""

    id: str = msgspec.field(name="ID")
    host_name: str
    dns_name: str = msgspec.field(name="DNSName")
    tailscale_ips: list[str] | None = msgspec.field(name="TailscaleIPs", default=None)
    os: str = msgspec.field(name="OS", default="")
    online: bool = False
    sharee_node: bool = msgspec.field(name="ShareeNode", default=False)


class Status(msgspec.Struct, frozen=True, rename="pascal"):
    """The part of the document that is used."""

    backend_state: str
    self_: PeerStatus | None = msgspec.field(name="Self", default=None)
    peer: dict[str, PeerStatus] | None = None


class TailscaleClient:
    """Asks the tailscaled of this machine; an empty `socket_path` means its usual places."""

    def __init__(self, socket_path: str = "") -> None:
        self._socket_path = socket_path

    async def read(self) -> Tailnet | None:
        """Return the tailnet; None if there is no Tailscale here, or it is not connected.

        Raises `UnreachableError` if it is here and cannot be understood.
        """
        for path in (self._socket_path,) if self._socket_path else _SOCKETS:
            if Path(path).is_socket():
                return read_status(await asyncio.to_thread(_ask, path))
        program = None if self._socket_path else shutil.which("tailscale")
        return None if program is None else read_status(await _run(program))


def read_status(document: bytes) -> Tailnet | None:
    """Read the document; raises `UnreachableError` if it is not in the expected form."""
    try:
        status = msgspec.json.decode(document, type=Status)
    except msgspec.DecodeError as error:
        raise _trouble(f"it answers in an unknown form: {error}") from error
    if status.backend_state != "Running" or status.self_ is None:
        return None
    others = (item for item in (status.peer or {}).values() if not item.sharee_node)
    return Tailnet(_machine(status.self_), tuple(_machine(item) for item in others))


def _machine(found: PeerStatus) -> TailnetMachine:
    return TailnetMachine(
        found.id,
        found.host_name,
        found.dns_name.removesuffix("."),
        tuple(found.tailscale_ips or ()),
        found.os,
        found.online,
    )


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__(_API_HOST, timeout=_TIMEOUT_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def _ask(path: str) -> bytes:
    connection = _Connection(path)
    try:
        connection.request("GET", _STATUS)
        response = connection.getresponse()
        answer = response.read(_MAX_BYTES)
    except (OSError, http.client.HTTPException) as error:
        raise _trouble(str(error)) from error
    finally:
        connection.close()
    if response.status != http.client.OK:
        raise _trouble(f"it answers with status {response.status}")
    return answer


async def _run(program: str) -> bytes:
    try:
        _, answer = await program_output(
            [program, "status", "--json"], most_bytes=_MAX_BYTES, timeout_s=_TIMEOUT_S
        )
    except TimeoutError as error:
        raise _trouble("it does not answer") from error
    except OutputTooLongError as error:
        raise _trouble("its answer is too long") from error
    except OSError as error:
        raise _trouble(str(error)) from error
    return answer


def _trouble(reason: str) -> CoveyError:
    return UnreachableError(
        f"Tailscale cannot be asked for its machines: {reason}.",
        hint="Covey works without it; turn it off with discovery.tailscale = false in covey.toml.",
    )
