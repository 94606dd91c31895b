"""Routes as people see them."""

from __future__ import annotations

from covey.apps.routing.model import Answer, Files, Proxied, Redirect, Route
from covey.apps.routing.route_arguments import RouteView
from covey.apps.routing.service import RoutesService


def view_routes(routes: RoutesService) -> list[RouteView]:
    """Show all routes, and what cannot be served."""
    found = [
        _view(routes, owner, route)
        for owner, all_ in sorted(routes.all().items())
        for route in all_
    ]
    problems = sorted(routes.problems.items())
    return [*found, *(RouteView(owner, problem=text) for owner, text in problems)]


def _view(routes: RoutesService, owner: str, route: Route) -> RouteView:
    host = route.hosts[0]
    path = "" if route.path == "/" else route.path
    source = routes.source(host)
    rules = route.rules
    return RouteView(
        owner,
        routes.url(host) + path,
        list(route.hosts),
        route.path,
        _leads_to(routes, route),
        "" if source is None else str(source),
        route.strip,
        [account.username for account in rules.basic_auth],
        list(rules.allow_from),
        rules.max_body_bytes,
        rules.headers,
    )


def _leads_to(routes: RoutesService, route: Route) -> list[str]:
    match route.target:
        case Proxied(pools):
            total = sum(pool.weight for pool in pools)
            return [
                address if len(pools) == 1 else f"{address}={round(100 * pool.weight / total)}%"
                for pool in pools
                for address in routes.addresses(pool.name) or ("nothing yet",)
            ]
        case Files(root):
            return [root]
        case Redirect(target):
            return [target]
        case Answer(status):
            return [f"status {status}"]
