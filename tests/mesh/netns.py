"""Real LANs on one machine: network namespaces, bridges and veth pairs, made and removed as root.

The wide area is a LAN of its own, on which the cloud is. Each other LAN has a gateway that knows
the way to the wide area and to nowhere else, so that LANs reach the cloud and not each other.
Every namespace bears the laboratory's prefix; nothing outside of them is touched.
"""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass, field
from typing import Any, Self

from tests.mesh.wire import Wire

_NET = "10.213"
_NET6 = "fd13:213"
_WIDE = 0


def ip(*words: str) -> None:
    """Run `ip`, which must succeed."""
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 0, f"ip {' '.join(words)}: {done.stderr}"


@dataclass
class Lan:
    """A bridge in a namespace; `number` is the third part of its addresses."""

    lab: Lab
    name: str
    number: int
    taken: int = 9

    @property
    def space(self) -> str:
        """The namespace."""
        return f"{self.lab.prefix}-{self.name}"


@dataclass
class Host:
    """A machine: a namespace with one interface on a LAN at a time."""

    lab: Lab
    name: str
    lan: Lan
    number: int = 0
    wire: Wire | None = None

    @property
    def space(self) -> str:
        """The namespace."""
        return f"{self.lab.prefix}-{self.name}"

    @property
    def address(self) -> str:
        """Its IPv4 address."""
        return f"{_NET}.{self.lan.number}.{self.number}"

    @property
    def address6(self) -> str:
        """Its IPv6 address."""
        return f"{_NET6}:{self.lan.number}::{self.number}"

    @property
    def inside(self) -> tuple[str, ...]:
        """The words that run a program in it."""
        return ("ip", "netns", "exec", self.space)

    @property
    def port(self) -> str:
        """The bridge's port that its cable is in."""
        return f"p{self.name}"

    def cut(self) -> None:
        """Let everything on its cable vanish, as a pulled plug does."""
        ip("-n", self.lan.space, "link", "set", self.port, "down")

    def heal(self) -> None:
        """Put the plug back."""
        ip("-n", self.lan.space, "link", "set", self.port, "up")

    def move(self, lan: Lan) -> None:
        """Unplug it and carry it to another LAN, where it gets other addresses."""
        self.unplug()
        self.lan = lan
        self.plug()

    def drop_ipv4(self) -> None:
        """Leave it IPv6 alone."""
        ip("-n", self.space, "-4", "address", "flush", "dev", "eth0")

    def unplug(self) -> None:
        """Take its interface away."""
        if self.wire is not None:
            self.wire.close()
            self.wire = None
        else:
            ip("-n", self.space, "link", "delete", "eth0")

    def plug(self, *, loss: float = 0.0, delay_s: float = 0.0) -> None:
        """Connect it with its LAN; over a bad cable, frames are lost or come late."""
        self.lan.taken += 1
        self.number = self.lan.taken
        if loss or delay_s:
            self.wire = Wire(self.space, "eth0", self.lan.space, self.port, loss, delay_s)
        else:
            ends = ("type", "veth", "peer", "name", self.port, "netns", self.lan.space)
            ip("-n", self.space, "link", "add", "eth0", *ends)
        ip("-n", self.lan.space, "link", "set", self.port, "master", "br0", "up")
        ip("-n", self.space, "link", "set", "eth0", "up")
        ip("-n", self.space, "address", "add", f"{self.address}/24", "dev", "eth0")
        ip("-n", self.space, "address", "add", f"{self.address6}/64", "dev", "eth0", "nodad")
        if self.lan.number != _WIDE:
            ip("-n", self.space, "route", "add", "default", "via", f"{_NET}.{self.lan.number}.1")


@dataclass
class Lab:
    """All namespaces of one test, removed at the close."""

    prefix: str = field(default_factory=lambda: f"cv{os.getpid():x}")
    spaces: list[str] = field(default_factory=list)
    hosts: list[Host] = field(default_factory=list)
    lans: list[Lan] = field(default_factory=list)

    def __enter__(self) -> Self:
        assert os.geteuid() == 0, "These tests make network namespaces: run them as root."
        self.wide = self._lan("wide", _WIDE)
        return self

    def __exit__(self, *problem: object) -> None:
        for host in self.hosts:
            if host.wire is not None:
                host.wire.close()
        for space in self.spaces:
            subprocess.run(["ip", "netns", "delete", space], check=False, capture_output=True)

    def lan(self, name: str) -> Lan:
        """Return a new LAN with a gateway to the wide area."""
        made = self._lan(name, len(self.lans) + 1)
        self.lans.append(made)
        up = f"u{name}"
        ends = ("type", "veth", "peer", "name", up, "netns", self.wide.space)
        ip("-n", made.space, "link", "add", "up0", *ends)
        ip("-n", self.wide.space, "link", "set", up, "master", "br0", "up")
        ip("-n", made.space, "link", "set", "up0", "up")
        ip("-n", made.space, "address", "add", f"{self._gateway(made)}/24", "dev", "up0")
        ip("-n", made.space, "address", "add", f"{_NET}.{made.number}.1/24", "dev", "br0")
        forward = "echo 1 > /proc/sys/net/ipv4/ip_forward"
        subprocess.run(["ip", "netns", "exec", made.space, "sh", "-c", forward], check=True)
        for host in self.hosts:
            if host.lan is self.wide:
                self._route_back(host, made)
        return made

    def host(self, name: str, lan: Lan, **cable: Any) -> Host:
        """Return a new machine on a LAN; `cable` goes to `plug`."""
        made = Host(self, name, lan)
        self._space(made.space)
        made.plug(**cable)
        self.hosts.append(made)
        if lan is self.wide:
            for other in self.lans:
                self._route_back(made, other)
        return made

    def cut(self, lan: Lan) -> None:
        """Cut a LAN off the wide area."""
        ip("-n", self.wide.space, "link", "set", f"u{lan.name}", "down")

    def heal(self, lan: Lan) -> None:
        """Connect a LAN with the wide area again."""
        ip("-n", self.wide.space, "link", "set", f"u{lan.name}", "up")

    def join(self, one: Lan, other: Lan) -> None:
        """Join two LANs to one, by a cable between their bridges."""
        ends = ("type", "veth", "peer", "name", "joined", "netns", other.space)
        ip("-n", one.space, "link", "add", "joined", *ends)
        for lan in (one, other):
            ip("-n", lan.space, "link", "set", "joined", "master", "br0", "up")
        for lan, far in ((one, other), (other, one)):
            for host in self.hosts:
                if host.lan is lan:
                    ip("-n", host.space, "route", "add", f"{_NET}.{far.number}.0/24", "dev", "eth0")

    def split(self, one: Lan) -> None:
        """Take the cable between two bridges away again."""
        ip("-n", one.space, "link", "delete", "joined")

    def _lan(self, name: str, number: int) -> Lan:
        made = Lan(self, name, number)
        self._space(made.space)
        # A bridge takes its address from its cables, and neighbours remember it, unless it is set.
        mac = f"02:00:00:00:{number:02x}:01"
        ip("-n", made.space, "link", "add", "br0", "address", mac, "type", "bridge")
        ip("-n", made.space, "link", "set", "br0", "up")
        return made

    def _space(self, name: str) -> None:
        ip("netns", "add", name)
        self.spaces.append(name)
        ip("-n", name, "link", "set", "lo", "up")

    def _gateway(self, lan: Lan) -> str:
        return f"{_NET}.{_WIDE}.{200 + lan.number}"

    def _route_back(self, host: Host, lan: Lan) -> None:
        ip("-n", host.space, "route", "add", f"{_NET}.{lan.number}.0/24", "via", self._gateway(lan))
