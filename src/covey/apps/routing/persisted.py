"""Routes, pools and certificates as they are kept on disk."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec

from covey.apps.routing.model import Route
from covey.apps.routing.names import check_address
from covey.apps.routing.table import RouteTable
from covey.errors import CoveyError
from covey.store.ports import LocalState

_ROUTES = "routes"
_POOLS = "pools"
_CERTIFICATES = "route-certificates"
_log = logging.getLogger("covey.proxy")


class KeptPool(msgspec.Struct, frozen=True):
    """Where a pool's requests go, and for how many addresses the proxy has room."""

    addresses: tuple[str, ...]
    slots: int


class KeptCertificate(msgspec.Struct, frozen=True):
    """An uploaded certificate; the database that holds it is encrypted."""

    chain: str
    key: str
    hosts: tuple[str, ...]


@dataclass(slots=True)
class Kept:
    """What was read; `problems` says what could not be."""

    table: RouteTable = field(default_factory=RouteTable)
    pools: dict[str, KeptPool] = field(default_factory=dict)
    certificates: dict[str, KeptCertificate] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)


class RouteRecords:
    """Reads and writes what routing keeps. What is damaged is left out, and left as it is."""

    def __init__(self, local: LocalState) -> None:
        self._local = local

    def read(self) -> Kept:
        """Read everything."""
        kept = Kept()
        for owner, value in self._local.scan_local(_ROUTES):
            try:
                routes = msgspec.json.decode(value, type=tuple[Route, ...])
                kept.table = kept.table.with_routes(owner, routes)
            except (msgspec.MsgspecError, UnicodeDecodeError, CoveyError) as error:
                _report(kept, f"The routes of {owner}", owner, error)
        for name, value in self._local.scan_local(_POOLS):
            try:
                pool = msgspec.json.decode(value, type=KeptPool)
                for address in pool.addresses:
                    check_address(address)
                kept.pools[name] = pool
            except (msgspec.MsgspecError, UnicodeDecodeError, CoveyError) as error:
                _report(kept, f"The addresses of {name}", name, error)
        for host, value in self._local.scan_local(_CERTIFICATES):
            try:
                kept.certificates[host] = msgspec.json.decode(value, type=KeptCertificate)
            except (msgspec.MsgspecError, UnicodeDecodeError) as error:
                _report(kept, f"The certificate of {host}", host, error)
        return kept

    async def write_routes(self, owner: str, routes: Sequence[Route]) -> None:
        """Keep the routes of an owner; none removes them."""
        value = msgspec.json.encode(routes) if routes else None
        await self._local.put_local(_ROUTES, owner, value)

    async def write_pool(self, name: str, pool: KeptPool | None) -> None:
        """Keep a pool; None removes it."""
        value = None if pool is None else msgspec.json.encode(pool)
        await self._local.put_local(_POOLS, name, value)

    async def write_certificate(self, host: str, certificate: KeptCertificate | None) -> None:
        """Keep a certificate; None removes it."""
        value = None if certificate is None else msgspec.json.encode(certificate)
        await self._local.put_local(_CERTIFICATES, host, value)


def _report(kept: Kept, what: str, key: str, error: Exception) -> None:
    reason = error.message if isinstance(error, CoveyError) else "they cannot be read"
    kept.problems[key] = f"{what} are left out: {reason}"
    _log.error("%s are left out: %s", what, reason)
