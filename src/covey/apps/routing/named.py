"""Routes that users make by name, for what is no app of Covey's. Pure."""

from __future__ import annotations

import hashlib
import posixpath
from collections.abc import Sequence
from dataclasses import dataclass

from covey.apps.routing.model import (
    Balance,
    Files,
    HealthCheck,
    Pool,
    Proxied,
    Redirect,
    Route,
    RouteRules,
    Target,
)
from covey.apps.routing.names import check_address, normal_host, normal_path
from covey.errors import InvalidRequestError

PREFIX = "route/"
_NO_RULES = RouteRules()


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a user asked for; exactly one of `to`, `directory` and `redirect` is given."""

    name: str
    hosts: Sequence[str]
    path: str
    to: Sequence[str] = ()
    directory: str | None = None
    fallback: str | None = None
    not_found: str | None = None
    redirect: str | None = None
    temporary: bool = False
    balance: Balance = Balance.ROUND_ROBIN
    health: str | None = None
    tls_upstream: bool = False
    strip: bool = False
    rules: RouteRules = _NO_RULES


@dataclass(frozen=True, slots=True)
class Made:
    """A route, with the addresses of its pools."""

    route: Route
    pools: dict[str, tuple[str, ...]]


def owner_of(name: str) -> str:
    """Return the owner of the routes with a name."""
    return PREFIX + name


def make_route(wanted: Wanted) -> Made:
    """Make the route; raises `InvalidRequestError`."""
    given = [bool(wanted.to), wanted.directory is not None, wanted.redirect is not None]
    if sum(given) != 1:
        raise InvalidRequestError(
            "A route leads to addresses, to a directory or to a URL: to one of them.",
            hint="Give --to HOST:PORT, or --directory DIR, or --redirect URL.",
        )
    pools: dict[str, tuple[str, ...]] = {}
    target: Target
    if wanted.directory is not None:
        target = Files(posixpath.normpath(wanted.directory), wanted.fallback, wanted.not_found)
    elif wanted.redirect is not None:
        target = Redirect(wanted.redirect, permanent=not wanted.temporary)
    else:
        weights, pools = _pools(wanted)
        health = None if wanted.health is None else HealthCheck(wanted.health)
        target = Proxied(weights, wanted.balance, health, wanted.tls_upstream)
    hosts = tuple(normal_host(host) for host in wanted.hosts)
    path = normal_path(wanted.path)
    return Made(Route(hosts, target, path, wanted.strip, wanted.rules), pools)


def merge(routes: Sequence[Route], new: Route) -> tuple[Route, ...]:
    """Put a route among others: it takes the place of what they had for its hosts and path."""
    kept: list[Route] = []
    for route in routes:
        hosts = route.hosts
        if route.path == new.path:
            hosts = tuple(host for host in hosts if host not in new.hosts)
        if hosts == route.hosts:
            kept.append(route)
        elif hosts:
            kept.append(Route(hosts, route.target, route.path, route.strip, route.rules))
    return (*kept, new)


def _pools(wanted: Wanted) -> tuple[tuple[Pool, ...], dict[str, tuple[str, ...]]]:
    """Addresses without weights share one pool; with weights, each has its own."""
    parsed = [_address(item) for item in wanted.to]
    place = "\0".join([normal_path(wanted.path), *sorted(wanted.hosts)])
    name = f"{owner_of(wanted.name)}/{hashlib.blake2b(place.encode(), digest_size=6).hexdigest()}"
    if all(weight is None for _, weight in parsed):
        addresses = tuple(dict.fromkeys(address for address, _ in parsed))
        return (Pool(name),), {name: addresses}
    if any(weight is None for _, weight in parsed):
        raise InvalidRequestError(
            "Some addresses have a weight and some have none.",
            hint="Give each one, as in 127.0.0.1:8080=95 and 127.0.0.1:8081=5",
        )
    weights: list[Pool] = []
    pools: dict[str, tuple[str, ...]] = {}
    for number, (address, weight) in enumerate(parsed):
        pools[f"{name}-{number}"] = (address,)
        weights.append(Pool(f"{name}-{number}", weight or 0))
    return tuple(weights), pools


def _address(text: str) -> tuple[str, int | None]:
    address, equals, weight = text.partition("=")
    check_address(address)
    if not equals:
        return address, None
    if not weight.isascii() or not weight.isdigit():
        raise InvalidRequestError(
            f"{weight!r} is no weight.", hint="Write it like 127.0.0.1:8080=95"
        )
    return address, int(weight)
