"""The configuration that is made from a plan."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from covey.apps.routing.model import (
    Answer,
    Balance,
    Files,
    HealthCheck,
    Pool,
    Proxied,
    Redirect,
    Route,
    RouteRules,
    TlsMode,
)
from covey.apps.routing.ports import ProxyPlan
from covey.apps.routing.table import RouteTable
from covey.apps.routing.tls import TlsAbilities
from covey.engines.caddy.config import CaddyOptions, Listening, render, turn_of
from covey.engines.caddy.handlers import literal, slot_weights

OPTIONS = CaddyOptions(
    Path("/r/admin.sock"), Path("/r/upstreams"), Path("/d"), Path("/l"), acme_directory="https://ca"
)
LISTENING = Listening(0, 80, 443, datagrams=True, ready=Path("/r/ready"))

hosts = st.sampled_from(
    ["a.localhost", "b.localhost", "*.c.localhost", "d.example.org", "10.0.0.1"]
)
pools = st.lists(st.sampled_from("pqrs"), min_size=1, max_size=3, unique=True)
targets = st.one_of(
    st.builds(
        Proxied,
        pools.map(lambda names: tuple(Pool(name, 1 + ord(name) % 3) for name in names)),
        st.sampled_from(Balance),
        st.none() | st.just(HealthCheck()),
        st.booleans(),
    ),
    st.builds(Files, st.just("/srv/{x}"), st.none() | st.just("a.html"), st.none() | st.just("b")),
    st.sampled_from([Redirect("https://x.org"), Redirect("https://x.org/y", permanent=False)]),
    st.builds(Answer, st.just(503), st.text(max_size=20)),
)
rules = st.builds(
    RouteRules,
    tls=st.sampled_from([TlsMode.AUTO, TlsMode.OFF, TlsMode.INTERNAL]),
    allow_from=st.sampled_from([(), ("10.0.0.0/8",)]),
    max_body_bytes=st.none() | st.integers(0, 1 << 40),
    compress=st.booleans(),
    headers=st.dictionaries(st.sampled_from(["X-A", "X-B"]), st.just("{v}")),
)
routes = st.builds(
    Route,
    st.lists(hosts, min_size=1, max_size=3, unique=True).map(tuple),
    targets,
    st.sampled_from(["/", "/a", "/a/b"]),
    st.booleans(),
    rules,
)


@st.composite
def plans(draw: st.DrawFn) -> ProxyPlan:
    """Plans that the table lets through."""
    table = RouteTable()
    for number, route in enumerate(draw(st.lists(routes, min_size=1, max_size=6))):
        taken = {host for found in table.owners.values() for item in found for host in item.hosts}
        free = tuple(host for host in route.hosts if host not in taken)
        if free:
            owner = f"app/{number}"
            fresh = Route(free, route.target, route.path, route.strip, route.rules)
            table = table.with_routes(owner, [fresh])
    slots = {name: draw(st.integers(1, 4)) for name in table.pools()}
    return table.plan(slots, table.sources(TlsAbilities(), ()), ())


def walk(value: Any) -> list[dict[str, Any]]:
    """Every object in a configuration."""
    if isinstance(value, dict):
        return [value, *(item for inner in value.values() for item in walk(inner))]
    if isinstance(value, list):
        return [item for inner in value for item in walk(inner)]
    return []


@given(plans())
def test_every_plan_becomes_a_whole_configuration(plan: ProxyPlan) -> None:
    config = render(plan, OPTIONS, LISTENING)
    assert json.loads(json.dumps(config)) == config
    objects = walk(config)
    proxies = [item for item in objects if item.get("handler") == "reverse_proxy"]
    assert all(item["stream_close_delay"] == "24h" for item in proxies)
    assert all(item["load_balancing"]["try_duration"] == "5s" for item in proxies)
    for item in proxies:
        weights = item["load_balancing"]["selection_policy"].get("weights")
        assert weights is None or len(weights) == len(item["upstreams"])
        for upstream in item["upstreams"]:
            assert upstream["dial"].startswith("{file./r/upstreams/")
    servers = config["apps"]["http"]["servers"]
    for server in (servers["http"], servers["https"]):
        assert server["routes"][-1]["handle"][0]["status_code"] == 404
        assert "http.shutting_down" in json.dumps(server["routes"][0])
    authorities = config["apps"]["pki"]["certificate_authorities"]
    assert {name: item["install_trust"] for name, item in authorities.items()} == {
        "covey": False,
        "local": False,
    }


@given(plans())
def test_each_host_is_served_where_its_tls_says(plan: ProxyPlan) -> None:
    config = render(plan, OPTIONS, LISTENING)
    servers = config["apps"]["http"]["servers"]
    plain = {host for host, source in plan.sources.items() if source == "none"}
    assert _served(servers["http"]) - _redirected(servers["http"]) == plain
    assert _redirected(servers["http"]) == _served(servers["https"]) == set(plan.sources) - plain
    automate = config["apps"].get("tls", {}).get("certificates", {}).get("automate", [])
    assert set(automate) == set(plan.sources) - plain
    logged = {name for item in plan.routes for name in [f"access {item.owner}"]}
    assert set(config["logging"]["logs"]) == {"default", *logged}


@given(plans())
def test_the_order_of_owners_makes_no_difference(plan: ProxyPlan) -> None:
    owners = {item.owner: (item.route,) for item in plan.routes}
    backwards = RouteTable(dict(reversed(owners.items())))
    again = backwards.plan(plan.slots, plan.sources, ())
    assert render(again, OPTIONS, LISTENING) == render(plan, OPTIONS, LISTENING)


def _served(server: dict[str, Any]) -> set[str]:
    return {
        host
        for route in server["routes"]
        for matcher in route.get("match", [])
        for host in matcher.get("host", [])
    }


def _redirected(server: dict[str, Any]) -> set[str]:
    return {
        host
        for route in server["routes"]
        if "https://{http.request.host}" in json.dumps(route["handle"])
        for host in route["match"][0]["host"]
    }


@given(st.lists(st.tuples(st.integers(1, 100), st.integers(1, 5)), min_size=1, max_size=4))
def test_the_slots_of_a_pool_share_its_weight(found: list[tuple[int, int]]) -> None:
    weights = slot_weights(found)
    assert len(weights) == sum(slots for _, slots in found)
    at, total, whole = 0, sum(weights), sum(weight for weight, _ in found)
    for weight, slots in found:
        assert Fraction(sum(weights[at : at + slots]), total) == Fraction(weight, whole)
        at += slots


@given(st.text(st.sampled_from("{}\\ab."), max_size=30))
def test_no_brace_stays_open_to_interpretation(text: str) -> None:
    found = literal(text)
    bare = [
        at for at, sign in enumerate(found) if sign in "{}" and (at == 0 or found[at - 1] != "\\")
    ]
    assert bare == []


def test_a_running_configuration_tells_whose_turn_it_is() -> None:
    for turn in (0, 1):
        listening = Listening(turn, 80, 443)
        assert turn_of(render(ProxyPlan(), OPTIONS, listening)) == turn
    assert turn_of({"admin": {}}) is None
    assert turn_of({"apps": {"http": {"servers": {"mine": {"listen": [":80"]}}}}}) is None
