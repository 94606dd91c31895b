"""The sockets on which the proxy listens, which this daemon opens and Caddy inherits.

There are two for each port. A new configuration listens on the one that the old does not, and the
kernel is told to give it all new connections: so none is accepted by a server that is closing.
"""

from __future__ import annotations

import errno
import socket
import struct
import sys
from array import array
from dataclasses import dataclass, field

from covey.engines.caddy.config import DATAGRAMS, LISTENERS
from covey.errors import ConflictError, CoveyError, InvalidRequestError, RefusedError
from covey.settings import parse_address

_ANY = "::"
_BACKLOG = 4096
_ATTACH_REUSEPORT_CBPF = 51
"""SO_ATTACH_REUSEPORT_CBPF of Linux's asm-generic/socket.h."""
_RETURN_CONSTANT = 0x06
"""BPF_RET | BPF_K of linux/filter.h."""


@dataclass(slots=True)
class Port:
    """The listening sockets of one port, in the order in which the kernel counts them."""

    address: tuple[str, int]
    family: socket.AddressFamily
    tls: bool
    listeners: list[socket.socket] = field(default_factory=list)
    datagrams: socket.socket | None = None

    @property
    def number(self) -> int:
        """The port's number."""
        return self.address[1]

    def steer(self, turn: int) -> None:
        """Give new connections to the socket with this number."""
        if self.listeners and can_steer():
            program = array("B", struct.pack("=HBBI", _RETURN_CONSTANT, 0, 0, turn))
            pointer = struct.pack("@HP", 1, program.buffer_info()[0])
            self.listeners[-1].setsockopt(socket.SOL_SOCKET, _ATTACH_REUSEPORT_CBPF, pointer)

    def descriptors(self) -> dict[int, int]:
        """Return which descriptor of ours becomes which of Caddy's."""
        found = {
            number: self.listeners[min(turn, len(self.listeners) - 1)].fileno()
            for turn, number in enumerate(LISTENERS[self.tls])
        }
        if self.datagrams is not None:
            found[DATAGRAMS] = self.datagrams.fileno()
        return found

    def close(self) -> None:
        """Close our share of the sockets."""
        for item in self.listeners:
            item.close()
        self.listeners = []
        if self.datagrams is not None:
            self.datagrams.close()
            self.datagrams = None


def can_steer() -> bool:
    """Whether the kernel can be told which of two sockets gets new connections."""
    return sys.platform == "linux"


def open_port(where: str, *, tls: bool, datagrams: bool) -> Port:
    """Listen on `host:port`; on [::] also for IPv4, and for that alone without IPv6.

    Raises `ConflictError` if it is taken, `RefusedError` if that is not permitted, and
    `InvalidRequestError` for an address that this machine does not have.
    """
    family, address = _resolve(where, tls=tls)
    if family == socket.AF_INET6 and address[0] == _ANY and not _has_ipv6():
        family, address = socket.AF_INET, ("0.0.0.0", address[1])  # noqa: S104 - as asked for
    port = Port(address, family, tls)
    try:
        _probe(port)
        for _ in LISTENERS[tls] if can_steer() else (0,):
            port.listeners.append(_listen(port))
            port.address = port.listeners[0].getsockname()[:2]
            port.steer(0)
        if datagrams:
            port.datagrams = _bound(port, socket.SOCK_DGRAM)
    except OSError as error:
        port.close()
        raise _not_bound(where, error, tls=tls) from error
    return port


def join_port(address: tuple[str, int], *, tls: bool) -> Port:
    """Take a seat beside the sockets of a running Caddy, from which new connections are steered.

    The seat itself gets none, for it is counted last. Raises `OSError`.
    """
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    port = Port(address, family, tls)
    if can_steer():
        port.listeners.append(_listen(port))
    return port


def _probe(port: Port) -> None:
    """Find out whether someone else listens there, which sharing the port would hide."""
    kind = socket.socket(port.family, socket.SOCK_STREAM)
    with kind:
        _prepare(kind, shared=False)
        kind.bind(port.address)
        kind.listen(1)


def _listen(port: Port) -> socket.socket:
    made = _bound(port, socket.SOCK_STREAM)
    made.listen(_BACKLOG)
    return made


def _bound(port: Port, kind: socket.SocketKind) -> socket.socket:
    made = socket.socket(port.family, kind)
    try:
        _prepare(made, shared=kind == socket.SOCK_STREAM and can_steer())
        made.bind(port.address)
    except OSError:
        made.close()
        raise
    return made


def _prepare(made: socket.socket, *, shared: bool) -> None:
    if made.type == socket.SOCK_STREAM:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if shared:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    if made.family == socket.AF_INET6:
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)


def _has_ipv6() -> bool:
    try:
        socket.socket(socket.AF_INET6, socket.SOCK_STREAM).close()
    except OSError:
        return False
    return True


def _resolve(where: str, *, tls: bool) -> tuple[socket.AddressFamily, tuple[str, int]]:
    asked = parse_address(where)
    try:
        found = socket.getaddrinfo(
            asked.host or None, asked.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except OSError as error:
        raise InvalidRequestError(
            f"The address {asked.host} of the proxy is unknown: {error.strerror}.",
            hint=f"Set {_setting(tls=tls)} in [proxy] of covey.toml, such as [::]:8080",
        ) from error
    family, _, _, _, address = found[0]
    return family, (str(address[0]), int(address[1]))


def _setting(*, tls: bool) -> str:
    return "https" if tls else "http"


def _not_bound(where: str, error: OSError, *, tls: bool) -> CoveyError:
    setting = _setting(tls=tls)
    port = where.rpartition(":")[2]
    if error.errno in {errno.EACCES, errno.EPERM}:
        return RefusedError(
            f"The proxy may not listen on {where}: ports below 1024 are reserved.",
            hint=f"As root: sysctl net.ipv4.ip_unprivileged_port_start={port}; or choose another "
            f"port: {setting} in [proxy] of covey.toml.",
        )
    if error.errno == errno.EADDRINUSE:
        return ConflictError(
            f"The proxy cannot listen on {where}: another program does.",
            hint=f"End that program (ss -ltnp 'sport = :{port}' names it), or set {setting} in "
            "[proxy] of covey.toml.",
        )
    return InvalidRequestError(
        f"The proxy cannot listen on {where}: {error.strerror}.",
        hint=f"Set {setting} in [proxy] of covey.toml to an address of this machine.",
    )
