"""Who owns a host, what makes no sense, and in which order routes are tried."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from covey.apps.routing.model import (
    Answer,
    BasicAuth,
    Files,
    HealthCheck,
    Pool,
    Proxied,
    Redirect,
    Route,
    RouteRules,
    Target,
    TlsMode,
)
from covey.apps.routing.names import covers, normal_host, normal_path
from covey.apps.routing.ports import CertificateSource
from covey.apps.routing.table import RouteTable, normal_route
from covey.apps.routing.tls import TlsAbilities, choose_source, is_public
from covey.errors import ConflictError, InvalidRequestError

OK = Answer(200, "ok")


def route(*hosts: str, path: str = "/", target: Target = OK, **rules: object) -> Route:
    return Route(hosts, target, path, rules=RouteRules(**rules))  # type: ignore[arg-type]


def test_a_host_belongs_to_one_owner_until_it_is_given_up() -> None:
    table = RouteTable().with_routes("app/a", [route("x.test", "y.test")])
    for taken in (route("x.test"), route("X.Test.", path="/other"), route("z.test", "y.test")):
        with pytest.raises(ConflictError, match="belongs to app/a") as refused:
            table.with_routes("app/b", [taken])
        assert refused.value.details["owner"] == "app/a"
    moved = table.with_routes("app/a", [route("y.test")]).with_routes("app/b", [route("x.test")])
    assert {owner: routes[0].hosts for owner, routes in moved.owners.items()} == {
        "app/a": ("y.test",),
        "app/b": ("x.test",),
    }
    assert moved.with_routes("app/b", []).owners.keys() == {"app/a"}
    assert table.of("app/a")[0].hosts == ("x.test", "y.test")


def test_a_name_below_a_wildcard_may_belong_to_another() -> None:
    table = RouteTable().with_routes("app/a", [route("*.apps.test")])
    table = table.with_routes("app/b", [route("shop.apps.test")])
    with pytest.raises(ConflictError, match=r"\*\.apps\.test belongs to app/a"):
        table.with_routes("app/c", [route("*.apps.test")])


def test_paths_of_one_owner_share_a_host_but_not_a_path() -> None:
    both = [route("x.test"), route("x.test", path="/api/")]
    assert [item.path for item in RouteTable().with_routes("a", both).of("a")] == ["/", "/api"]
    for again in ("/api", "/API"):
        with pytest.raises(InvalidRequestError, match=r"Two routes are for x\.test/(api|API)"):
            RouteTable().with_routes("a", [*both, route("x.test", path=again)])


def test_the_routes_of_a_host_agree_about_tls() -> None:
    table = RouteTable().with_routes(
        "a", [route("x.test"), route("x.test", path="/b", tls=TlsMode.OFF)]
    )
    with pytest.raises(InvalidRequestError, match="disagree"):
        table.sources(TlsAbilities(), ())


HASH = "$2a$11$" + "a" * 53
BAD: list[Callable[[], Route]] = [
    route,
    lambda: route("no host"),
    lambda: route("a.test:80"),
    lambda: route("http://a.test"),
    lambda: route("a..test"),
    lambda: route("a.*.test"),
    lambda: route("*"),
    lambda: route("{env.HOME}.test"),
    lambda: route("1.2.3.400"),
    lambda: route("a" * 64 + ".test"),
    lambda: route("straße.test"),
    lambda: route("a.test", path="api"),
    lambda: route("a.test", path="/a/../b"),
    lambda: route("a.test", path="/a*"),
    lambda: route("a.test", path="/{a}"),
    lambda: route("a.test", path="/%2e"),
    lambda: route("a.test", target=Proxied(())),
    lambda: route("a.test", target=Proxied((Pool("p", 0),))),
    lambda: route("a.test", target=Proxied((Pool("p", -1), Pool("q")))),
    lambda: route("a.test", target=Proxied((Pool("p"), Pool("p")))),
    lambda: route("a.test", target=Proxied((Pool("../p"),))),
    lambda: route("a.test", target=Proxied((Pool("p"),), health=HealthCheck("no path"))),
    lambda: route("a.test", target=Proxied((Pool("p"),), health=HealthCheck("/", 0))),
    lambda: route("a.test", target=Proxied((Pool("p"),), health=HealthCheck("/{env.HOME}"))),
    lambda: route("a.test", target=Files("relative")),
    lambda: route("a.test", target=Files("/srv", fallback="../etc/passwd")),
    lambda: route("a.test", target=Redirect("javascript:alert(1)")),
    lambda: route("a.test", target=Redirect("https://x.test\r\nSet-Cookie: a=b")),
    lambda: route("a.test", target=Redirect("https://{env.HOME}.test")),
    lambda: route("a.test", target=Answer(42, "")),
    lambda: route("a.test", allow_from=("everyone",)),
    lambda: route("a.test", allow_from=("10.0.0.0/33",)),
    lambda: route("a.test", max_body_bytes=-1),
    lambda: route("a.test", response_timeout_s=0),
    lambda: route("a.test", headers={"Connection": "close"}),
    lambda: route("a.test", headers={"X-A": "a\r\nSet-Cookie: b"}),
    lambda: route("a.test", headers={"X A": "a"}),
    lambda: route("a.test", basic_auth=(BasicAuth("ann:b", HASH),)),
    lambda: route("a.test", basic_auth=(BasicAuth("ann", "plain text"),)),
]


@pytest.mark.parametrize("make", BAD)
def test_what_makes_no_sense_is_refused_with_a_hint(make: Callable[[], Route]) -> None:
    with pytest.raises(InvalidRequestError) as refused:
        normal_route(make())
    assert refused.value.hint


def test_networks_have_one_form() -> None:
    forms = {
        "192.0.2.7": "192.0.2.7",
        "192.0.2.7/32": "192.0.2.7",
        "10.1.2.3/255.0.0.0": "10.0.0.0/8",
        "::ffff:192.0.2.7": "192.0.2.7",
        "::ffff:10.0.0.0/104": "10.0.0.0/8",
        "2001:DB8::1/32": "2001:db8::/32",
        "0.0.0.0/0": "0.0.0.0/0",
        "::/0": "::/0",
    }
    found = normal_route(route("a.test", allow_from=tuple(forms)))
    assert found.rules.allow_from == tuple(dict.fromkeys(forms.values()))
    assert normal_route(found) == found


def test_a_star_stands_for_the_whole_first_label_alone() -> None:
    with pytest.raises(InvalidRequestError, match="is no host name"):
        normal_host("a*.bücher.org")


def test_hosts_and_paths_have_one_form() -> None:
    assert normal_host("Bücher.Example.ORG.") == "xn--bcher-kva.example.org"
    assert normal_host("*.Bücher.org") == "*.xn--bcher-kva.org"
    assert normal_host("::1") == normal_host("0:0::1") == "::1"
    assert normal_host("127.0.0.1") == "127.0.0.1"
    assert normal_path("/a/b/") == "/a/b"
    assert normal_path("/") == "/"


labels = st.text("abcxyz019-", min_size=1, max_size=8).map(lambda text: f"a{text}z")
hosts = st.lists(labels, min_size=1, max_size=4).map(".".join)


@given(hosts, st.booleans())
def test_a_normal_host_stays_as_it_is(host: str, wild: bool) -> None:
    host = f"*.{host}" if wild else host
    assert normal_host(normal_host(host.upper())) == normal_host(host) == host


@given(hosts, hosts)
def test_a_wildcard_covers_one_level(host: str, label: str) -> None:
    assert covers(f"*.{host}", f"{label.split('.', 1)[0]}.{host}")
    assert not covers(f"*.{host}", host)
    assert not covers(f"*.{host}", f"a.b.{host}")
    assert covers(host, host)


paths = st.lists(st.sampled_from(["a", "b", "cc"]), max_size=4).map(lambda p: "/" + "/".join(p))


@given(st.lists(st.tuples(st.sampled_from(["x.test", "y.test", "*.test"]), paths), max_size=12))
def test_the_longest_path_is_tried_first_and_wildcards_last(found: list[tuple[str, str]]) -> None:
    unique = {(host, normal_path(path)) for host, path in found}
    table = RouteTable().with_routes("a", [route(host, path=path) for host, path in unique])
    plan = table.plan({}, table.sources(TlsAbilities(), ()), ())
    assert len(plan.routes) == len(unique)
    keys = [(item.route.hosts[0].startswith("*."), -len(item.route.path)) for item in plan.routes]
    assert keys == sorted(keys)


@pytest.mark.parametrize(
    "host",
    ["localhost", "a.localhost", "*.localhost", "nas", "a.internal", "a.local", "10.0.0.1", "::1"],
)
def test_private_names_are_signed_by_the_node(host: str) -> None:
    assert not is_public(host)
    found = choose_source(host, TlsMode.AUTO, TlsAbilities(), ())
    assert found is CertificateSource.INTERNAL


def test_certificates_come_from_where_the_settings_allow() -> None:
    both, plain = TlsAbilities(), TlsAbilities(serves_https=False)
    dns = TlsAbilities(serves_http=False, dns=True)
    choices = {
        ("a.org", TlsMode.AUTO, both): CertificateSource.ACME,
        ("a.org", TlsMode.OFF, both): CertificateSource.NONE,
        ("a.org", TlsMode.AUTO, plain): CertificateSource.NONE,
        ("a.org", TlsMode.AUTO, dns): CertificateSource.DNS,
        ("*.a.org", TlsMode.ACME, dns): CertificateSource.DNS,
        ("a.localhost", TlsMode.ACME, both): CertificateSource.ACME,
        ("a.org", TlsMode.INTERNAL, both): CertificateSource.INTERNAL,
    }
    for (host, mode, abilities), source in choices.items():
        assert choose_source(host, mode, abilities, ()) is source
    assert choose_source("a.org", TlsMode.AUTO, both, ["a.org"]) is CertificateSource.CUSTOM
    for host, mode, abilities in (
        ("*.a.org", TlsMode.AUTO, both),
        ("a.org", TlsMode.ACME, plain),
        ("a.org", TlsMode.OFF, dns),
        ("a.org", TlsMode.CUSTOM, both),
    ):
        with pytest.raises(InvalidRequestError) as refused:
            choose_source(host, mode, abilities, ())
        assert refused.value.hint
