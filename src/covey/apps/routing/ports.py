"""What routing needs of a proxy: a plan of all routes, and addresses exchanged beside it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from covey.apps.routing.model import Route
from covey.operations.secret import Secret


class CertificateSource(StrEnum):
    """Where the certificate of a host comes from; `NONE` is plain HTTP."""

    ACME = "acme"
    DNS = "acme-dns"
    INTERNAL = "internal"
    CUSTOM = "custom"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class LoadedCertificate:
    """A chain and its key (PEM) that the proxy is handed."""

    chain: str
    key: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class PlannedRoute:
    """A route with its owner."""

    owner: str
    route: Route


@dataclass(frozen=True, slots=True)
class ProxyPlan:
    """All that the proxy shall do. The routes stand in the order in which they are tried.

    `slots` says how many addresses each pool has room for, `sources` where each host's certificate
    comes from.
    """

    routes: tuple[PlannedRoute, ...] = ()
    slots: Mapping[str, int] = field(default_factory=dict)
    sources: Mapping[str, CertificateSource] = field(default_factory=dict)
    certificates: tuple[LoadedCertificate, ...] = ()


@dataclass(frozen=True, slots=True)
class ServedCertificate:
    """What a host's clients are shown at present."""

    issuer: str
    expires: datetime


class ProxyEngine(Protocol):
    """A proxy that is started by its first route and outlasts the daemon."""

    async def start(self, plan: ProxyPlan, pools: Mapping[str, Sequence[str]]) -> None:
        """Serve this plan: with the proxy that runs from before, else with a new one.

        A plan without routes ends a proxy that runs from before.
        """
        ...

    async def apply(self, plan: ProxyPlan) -> None:
        """Serve this plan from now on; the earlier one goes on if this raises.

        Raises `InvalidRequestError` with what the proxy does not accept, `ConflictError` and
        `RefusedError` if a port cannot be had.
        """
        ...

    def write_pool(self, pool: str, addresses: Sequence[str], slots: int) -> None:
        """Send new requests of a pool to these addresses, durably, without touching the plan."""
        ...

    def forget_pools(self, keep: Collection[str]) -> None:
        """Remove what is kept of all pools but these."""
        ...

    async def in_use(self, addresses: Collection[str]) -> frozenset[str]:
        """Return those of the addresses that serve a request or WebSocket now."""
        ...

    def port(self, *, tls: bool) -> int | None:
        """Return the port that is served, or None if there is none."""
        ...

    async def authority(self) -> str:
        """Return the root certificate (PEM) of the authority for private names."""
        ...

    async def served(self, host: str) -> ServedCertificate | None:
        """Return the certificate that clients of a host are shown."""
        ...

    async def leave(self) -> None:
        """Let go of the proxy, which goes on serving."""
        ...

    async def end(self) -> None:
        """End the proxy: requests under way get a moment to finish."""
        ...


class PasswordHasher(Protocol):
    """Makes what a route keeps instead of a password."""

    async def hash_password(self, password: Secret) -> str:
        """Return the bcrypt hash of a password."""
        ...


class IssuedCertificates(Protocol):
    """Certificates for names that are proved by DNS (ACME's DNS-01)."""

    async def start(self, changed: Callable[[], None]) -> None:
        """Load what is there, and keep it fresh; tell of each new certificate."""
        ...

    def want(self, hosts: Collection[str]) -> None:
        """Get and renew certificates of these hosts, and no others."""
        ...

    def held(self, hosts: Collection[str]) -> tuple[LoadedCertificate, ...]:
        """Return the valid certificates of these hosts that there are."""
        ...

    async def stop(self) -> None:
        """End the work."""
        ...
