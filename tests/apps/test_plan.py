"""What a release is made of: names that cannot be confused, routes that lead where they should."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from covey.apps.config.load import AppFile
from covey.apps.config.merge import effective, override
from covey.apps.health import HttpCheck
from covey.apps.layout import Naming, Places
from covey.apps.model import App, Built, Deployment, DeploymentState, Preview, Release, Trigger
from covey.apps.plan import Given, Here, plan_release, plan_routes
from covey.apps.routing.model import Answer, Proxied, Redirect, Route
from covey.apps.routing.names import check_redirect, redirect_keeps_path
from covey.apps.routing.table import RouteTable
from covey.errors import InvalidRequestError
from tests.fleet.token_store import HERE

NAMING = Naming(HERE)
PLACE = Here(NAMING, Places(Path("/work"), Path("/static")), "localhost", 1 << 20)


def app(name: str = "shop", **given: Any) -> App:
    values = {"project": name, "environment": "production", **given}
    return App(name, HERE, created=datetime(2026, 1, 1, tzinfo=UTC), **values)


def routes(of: App | None = None, static: str = "", **config: Any) -> tuple[Route, ...]:
    """The routes of an app whose file says so, as the proxy takes them."""
    found = effective(AppFile(), override({}, config)).config
    release = Release(
        Built(image="" if static else "sha256:1", static=static), 1, AppFile(), found, 1
    )
    planned = plan_routes(PLACE, of or app(), release)
    return RouteTable().with_routes("app/shop", planned).of("app/shop")


def test_projects_and_environments_never_share_a_network_by_their_names() -> None:
    one = NAMING.network(app(project="a-b", environment="c"))
    other = NAMING.network(app(project="a", environment="b-c"))
    assert one != other
    assert one == NAMING.network(app("other", project="a-b", environment="c"))


def test_apps_never_share_a_volume_by_their_names() -> None:
    assert NAMING.volume("a-b", "c") != NAMING.volume("a", "b-c")


@pytest.mark.parametrize("status, lowest, highest", [("204", 204, 204), ("200-299", 200, 299)])
def test_a_version_is_healthy_by_the_statuses_of_its_file(
    status: str, lowest: int, highest: int
) -> None:
    check = {"path": "/up", "status": status}
    config = effective(AppFile(), override({}, {"deploy": {"healthcheck": check}})).config
    release = Release(Built(image="sha256:1"), 1, AppFile(), config, 1)
    running, now = DeploymentState.RUNNING, datetime(2026, 1, 1, tzinfo=UTC)
    deployment = Deployment("shop", 1, Trigger.DEPLOY, running, now, "ada")
    [web] = plan_release(PLACE, Given(app(), deployment, release, {})).containers
    found = web.policy.check
    assert isinstance(found, HttpCheck)
    assert (found.path, found.lowest, found.highest) == ("/up", lowest, highest)


@pytest.mark.parametrize("tls, scheme", [("off", "http"), ("auto", "https")])
def test_other_names_redirect_to_the_canonical_one_as_that_is_served(tls: str, scheme: str) -> None:
    domains = [{"host": "www.example.org", "tls": tls, "canonical": True}, {"host": "example.org"}]
    main, other = routes(domains=domains)
    assert isinstance(main.target, Proxied)
    assert other.target == Redirect(f"{scheme}://www.example.org")


def test_a_name_with_several_paths_has_each_redirect_once() -> None:
    domains = [{"host": "example.org"}, {"host": "example.org", "path": "/api"}]
    moved = [{"from": "/old", "to": "/new"}]
    found = routes(domains=domains, proxy={"redirects": moved})
    assert [route.path for route in found] == ["/old", "/", "/api"]


@pytest.mark.parametrize(
    "replicas", [{"deploy": {"replicas": 0}}, {"processes": {"web": {"replicas": 0}}}]
)
def test_an_app_without_web_containers_has_no_routes(replicas: dict[str, Any]) -> None:
    assert routes(**replicas) == ()


@pytest.mark.parametrize(
    "given, title", [({"stopped": True}, "stopped"), ({"maintenance": True}, "maintenance")]
)
def test_an_app_that_rests_answers_with_its_page_behind_its_rules(given: Any, title: str) -> None:
    rules = {"allow_from": ["192.0.2.0/24"], "headers": {"X-Robots-Tag": "noindex"}}
    [route] = routes(app(**given), proxy=rules)
    assert isinstance(route.target, Answer)
    assert (route.target.status, title in route.target.body) == (503, True)
    assert route.rules.allow_from == ("192.0.2.0/24",)
    assert route.rules.headers == {"X-Robots-Tag": "noindex"}


def test_passwords_and_networks_hold_for_every_name_and_path() -> None:
    hashed = "$2b$12$" + "a" * 53
    domains = [{"host": "a.example.org"}, {"host": "b.example.org", "path": "/api"}]
    rules = {
        "basic_auth": {"ada": hashed},
        "allow_from": ["192.0.2.0/24"],
        "redirects": [{"from": "/old", "to": "/new"}],
    }
    found = routes(domains=domains, proxy=rules)
    assert len(found) == 4
    for route in found:
        assert [user.username for user in route.rules.basic_auth] == ["ada"]
        assert route.rules.allow_from == ("192.0.2.0/24",)


def test_a_preview_never_answers_at_the_names_of_its_parent() -> None:
    preview = app("shop-pr-7", preview=Preview("shop", 7))
    [route] = routes(preview, domains=[{"host": "shop.example.org"}])
    assert route.hosts == ("shop-pr-7.localhost",)


@pytest.mark.parametrize("target", ["/new", "/new?from=old", "https://example.net/new"])
def test_a_path_that_moved_leads_to_a_path_or_a_url(target: str) -> None:
    [moved, _] = routes(proxy={"redirects": [{"from": "/old", "to": target}]})
    assert moved.target == Redirect(target)
    assert not redirect_keeps_path(target)


@pytest.mark.parametrize("target", ["//example.net", "/a b", "/{http.request.header.X}", ""])
def test_a_redirect_never_leads_to_what_nobody_wrote(target: str) -> None:
    with pytest.raises(InvalidRequestError):
        check_redirect(target)
