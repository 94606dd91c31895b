"""Who owns which host, and in which order routes are tried."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from msgspec.structs import replace

from covey.apps.routing.model import Answer, Files, Proxied, Redirect, Route, Target
from covey.apps.routing.names import (
    check_header,
    check_pool,
    check_redirect,
    normal_host,
    normal_network,
    normal_path,
)
from covey.apps.routing.ports import CertificateSource, LoadedCertificate, PlannedRoute, ProxyPlan
from covey.apps.routing.tls import TlsAbilities, choose_source
from covey.errors import ConflictError, InvalidRequestError

_LOWEST_STATUS = 200
_HIGHEST_STATUS = 599
_MOST_WEIGHT = 10_000
_CHECKED = re.compile(r"/[!$-;=?-Z_a-z~]*")
_BCRYPT = re.compile(r"\$2[aby]\$[0-9]{2}\$[./A-Za-z0-9]{53}")


@dataclass(frozen=True, slots=True)
class RouteTable:
    """All routes by owner. It is not changed: each change makes another."""

    owners: Mapping[str, tuple[Route, ...]] = field(default_factory=dict)

    def of(self, owner: str) -> tuple[Route, ...]:
        """Return the routes of an owner."""
        return self.owners.get(owner, ())

    def with_routes(self, owner: str, routes: Sequence[Route]) -> RouteTable:
        """Return the table in which these are the routes of `owner`; none removes the owner.

        Raises `ConflictError` for a host of another owner, `InvalidRequestError` for a route that
        makes no sense.
        """
        others = {name: found for name, found in self.owners.items() if name != owner}
        normal = tuple(normal_route(route) for route in routes)
        if not normal:
            return RouteTable(others)
        _refuse_twins(normal)
        taken = {host: name for name, found in others.items() for host in hosts_of(found)}
        for host in hosts_of(normal):
            if host in taken:
                raise ConflictError(
                    f"{host} belongs to {taken[host]}.",
                    hint="Remove it there first, or choose another host.",
                    details={"host": host, "owner": taken[host]},
                )
        return RouteTable({**others, owner: normal})

    def pools(self) -> frozenset[str]:
        """Return the names of all pools that a route uses."""
        return frozenset(name for routes in self.owners.values() for name in pool_names(routes))

    def sources(
        self, abilities: TlsAbilities, uploaded: Collection[str]
    ) -> dict[str, CertificateSource]:
        """Say where each host's certificate comes from; raises `InvalidRequestError`."""
        sources: dict[str, CertificateSource] = {}
        for routes in self.owners.values():
            for route in routes:
                _add_sources(sources, route, abilities, uploaded)
        return sources

    def plan(
        self,
        slots: Mapping[str, int],
        sources: Mapping[str, CertificateSource],
        certificates: Sequence[LoadedCertificate],
    ) -> ProxyPlan:
        """Put all together in the order of trying."""
        ordered = sorted(
            (PlannedRoute(owner, route) for owner, all_ in self.owners.items() for route in all_),
            key=_most_specific_first,
        )
        used = self.pools()
        return ProxyPlan(
            tuple(ordered),
            {name: slots.get(name, 1) for name in sorted(used)},
            sources,
            tuple(certificates),
        )


def normal_route(route: Route) -> Route:
    """Return a route with its hosts and path in their one form; raises `InvalidRequestError`."""
    hosts = tuple(dict.fromkeys(normal_host(host) for host in route.hosts))
    if not hosts:
        raise InvalidRequestError("A route needs a host.", hint="Name at least one.")
    _check_target(route.target)
    rules = route.rules
    allowed = tuple(dict.fromkeys(normal_network(network) for network in rules.allow_from))
    for name, value in rules.headers.items():
        check_header(name, value)
    if rules.max_body_bytes is not None and rules.max_body_bytes < 0:
        raise InvalidRequestError("The largest body cannot be negative.", hint="Give bytes.")
    if rules.response_timeout_s is not None and rules.response_timeout_s <= 0:
        raise InvalidRequestError("A timeout is longer than nothing.", hint="Give seconds.")
    for account in rules.basic_auth:
        if not account.username or ":" in account.username or not account.username.isprintable():
            raise InvalidRequestError(
                f"{account.username!r} is no user name for basic authentication.",
                hint="It has at least one character, and no colon (RFC 7617).",
            )
        if _BCRYPT.fullmatch(account.password_hash) is None:
            raise InvalidRequestError(
                f"The password of {account.username} is not hashed by bcrypt.",
                hint="Give it as a password, which Covey hashes.",
            )
    rules = replace(rules, allow_from=allowed)
    return replace(route, hosts=hosts, path=normal_path(route.path), rules=rules)


def hosts_of(routes: Iterable[Route]) -> list[str]:
    """Return the hosts of routes, each once."""
    return list(dict.fromkeys(host for route in routes for host in route.hosts))


def pool_names(routes: Iterable[Route]) -> list[str]:
    """Return the names of the pools that routes use, each once."""
    return list(
        dict.fromkeys(
            pool.name
            for route in routes
            if isinstance(route.target, Proxied)
            for pool in route.target.pools
        )
    )


def _refuse_twins(routes: Sequence[Route]) -> None:
    seen: set[tuple[str, str]] = set()
    for route in routes:
        for host in route.hosts:
            # The proxy does not tell capital letters in paths from others.
            place = (host, route.path.lower())
            if place in seen:
                raise InvalidRequestError(
                    f"Two routes are for {host}{route.path}.", hint="Leave one of them out."
                )
            seen.add(place)


def _check_target(target: Target) -> None:
    match target:
        case Proxied():
            _check_pools(target)
        case Files():
            for name in (target.fallback, target.not_found):
                if name is not None:
                    _check_page(name)
            if not posixpath.isabs(target.root):
                raise InvalidRequestError(
                    f"{target.root!r} is no directory to serve.", hint="Give its absolute path."
                )
        case Redirect():
            check_redirect(target.target)
        case Answer():
            if not _LOWEST_STATUS <= target.status <= _HIGHEST_STATUS:
                raise InvalidRequestError(
                    f"{target.status} is no status to answer with.", hint="Such as 503."
                )
            check_header("Content-Type", target.content_type)


def _check_pools(target: Proxied) -> None:
    names = [pool.name for pool in target.pools]
    if not names or len(set(names)) < len(names):
        raise InvalidRequestError(
            "A route needs at least one pool, and each once.", hint="Name the addresses."
        )
    for pool in target.pools:
        check_pool(pool.name)
        if not 0 <= pool.weight <= _MOST_WEIGHT:
            raise InvalidRequestError(
                f"{pool.weight} is no weight.", hint=f"Give 0 to {_MOST_WEIGHT}."
            )
    if not any(pool.weight for pool in target.pools):
        raise InvalidRequestError(
            "All weights of a route are 0: no request would be answered.",
            hint="Give at least one pool a share.",
        )
    health = target.health
    if health is None:
        return
    if _CHECKED.fullmatch(health.path) is None:
        raise InvalidRequestError(f"{health.path!r} is no path to check.", hint="Such as /healthz")
    if health.interval_s <= 0 or health.timeout_s <= 0:
        raise InvalidRequestError("A health check's times are longer than nothing.", hint="2s")


def _check_page(name: str) -> None:
    parts = name.strip("/").split("/")
    if not all(parts) or ".." in parts or not name.isprintable():
        raise InvalidRequestError(
            f"{name!r} is no page below the directory.", hint="Such as index.html or /404.html"
        )


def _add_sources(
    sources: dict[str, CertificateSource],
    route: Route,
    abilities: TlsAbilities,
    uploaded: Collection[str],
) -> None:
    for host in route.hosts:
        source = choose_source(host, route.rules.tls, abilities, uploaded)
        if sources.setdefault(host, source) is not source:
            raise InvalidRequestError(
                f"The routes of {host} disagree about its TLS.",
                hint="Give all routes of a host the same tls mode.",
            )


def _most_specific_first(item: PlannedRoute) -> tuple[bool, int, str, tuple[str, ...]]:
    route = item.route
    wildcard = all(host.startswith("*.") for host in route.hosts)
    return (wildcard, -len(route.path), route.path, route.hosts)
