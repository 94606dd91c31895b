"""The names of an app, added and taken away one by one."""

from __future__ import annotations

from typing import Any

import pytest

from covey.apps import domain_operations
from covey.apps.config.domains import with_domain, without_domain
from covey.apps.config.load import AppFile
from covey.apps.config.merge import effective
from covey.apps.model import DeploymentState
from covey.errors import ConflictError, InvalidRequestError, NotFoundError
from covey.operations.access import Caller, CallerKind, Role
from covey.operations.audit import AuditEntry
from covey.operations.codec import convert
from covey.operations.context import Context
from covey.operations.invoke import invoke
from covey.operations.registry import Registry
from tests.apps.laboratory import Laboratory

REGISTRY = Registry.from_modules([domain_operations])
FILE = AppFile(tables={"domains": [{"host": "shop.example.org", "canonical": True}]})


def hosts(overrides: dict[str, object], file: AppFile = FILE) -> list[tuple[str, str, bool]]:
    found = effective(file, overrides).config.domains
    return [(item.host, item.path, item.canonical) for item in found]


def test_a_name_joins_those_of_the_file() -> None:
    overrides = with_domain(FILE, {"env": {"A": "b"}}, {"host": "WWW.example.org.", "path": "/"})
    assert hosts(overrides) == [
        ("shop.example.org", "/", True),
        ("www.example.org", "/", False),
    ]
    assert overrides["env"] == {"A": "b"}


def test_one_alone_is_canonical() -> None:
    overrides = with_domain(FILE, {}, {"host": "www.example.org", "canonical": True})
    overrides = with_domain(FILE, overrides, {"host": "www.example.org", "path": "/api"})
    assert hosts(overrides) == [
        ("shop.example.org", "/", False),
        ("www.example.org", "/", True),
        ("www.example.org", "/api", False),
    ]


def test_one_that_is_there_is_not_added_again() -> None:
    with pytest.raises(ConflictError) as raised:
        with_domain(FILE, {}, {"host": "Shop.Example.org.", "path": "/"})
    assert raised.value.message == "The app has the domain shop.example.org already."
    assert str(raised.value.hint).endswith("covey apps domains remove APP shop.example.org")
    overrides = with_domain(FILE, {}, {"host": "shop.example.org", "path": "/api"})
    with pytest.raises(ConflictError) as raised:
        with_domain(FILE, overrides, {"host": "shop.example.org", "path": "/api/"})
    assert str(raised.value.hint).endswith("remove APP shop.example.org --path /api")


def test_an_empty_list_is_kept_only_over_names_of_the_file() -> None:
    bare = AppFile()
    kept = {"env": {"A": "b"}, "port": None}
    overrides = with_domain(bare, kept, {"host": "a.example.org"})
    assert without_domain(bare, overrides, "a.example.org", None) == kept
    gone = without_domain(FILE, kept, "shop.example.org", None)
    assert gone == {**kept, "domains": []}


def test_a_name_goes_with_its_paths_or_only_with_one() -> None:
    overrides = with_domain(FILE, {}, {"host": "a.example.org"})
    overrides = with_domain(FILE, overrides, {"host": "a.example.org", "path": "/api"})
    one = without_domain(FILE, overrides, "a.example.org", "/api/")
    assert hosts(one)[1:] == [("a.example.org", "/", False)]
    assert hosts(without_domain(FILE, overrides, "A.example.org", None))[1:] == []
    assert hosts(without_domain(FILE, {}, "shop.example.org", None)) == []
    with pytest.raises(NotFoundError) as raised:
        without_domain(FILE, overrides, "b.example.org", None)
    assert raised.value.hint == "It has: shop.example.org, a.example.org, a.example.org/api."


HOSTILE = [
    "a b",
    "https://a.example.org",
    "a.example.org:443",
    "-",
    "",
    "..",
    "a..example.org",
    "../../etc/passwd",
    "a.example.org/..",
    "*",
    "*.*.example.org",
    "a.*.example.org",
    "a.example.org\nb.example.org",
    "a.example.org\0",
    "{env.HOME}.example.org",
    "a.example.org, b.example.org",
    "stra\u00dfe.example.org",
    "x" * 64 + ".example.org",
]


@pytest.mark.parametrize("host", HOSTILE)
def test_what_is_no_name_is_refused(host: str) -> None:
    with pytest.raises(InvalidRequestError):
        with_domain(FILE, {}, {"host": host})
    with pytest.raises(InvalidRequestError):
        without_domain(FILE, {}, host, None)


class Calls:
    """Calls the operations on a node's apps as a surface does."""

    def __init__(self, lab: Laboratory) -> None:
        self._lab = lab

    def record(self, entry: AuditEntry) -> None:
        assert entry.operation.startswith("apps.domains.")

    async def __call__(self, name: str, /, **given: object) -> Any:
        found = REGISTRY[f"apps.domains.{name}"]
        caller = Caller(CallerKind.LOCAL, "ada", Role.DEVELOPER, "local")
        context = Context(caller, self._lab.services, "0" * 16)
        arguments = convert({"app": "shop", **given}, found.signature.arguments)
        return await invoke(found, arguments, context, self)

    async def rolled_out(self, name: str, host: str, **more: object) -> list[str]:
        """Change a name, wait for its deployment, and return where the app answers then."""
        view = await self(name, host=host, **more)
        ended = await self._lab.ended(self._lab.deployments.get("shop", view.number))
        assert ended.state is DeploymentState.SUCCEEDED
        return list(await self("list"))


async def test_names_are_added_and_removed_until_the_default_is_back(lab: Laboratory):
    lab.version("v1", domains=["shop.localhost"])
    await lab.deploy("shop", "v1")
    call = Calls(lab)
    assert await call("list") == ["https://shop.localhost"]
    added = await call.rolled_out("add", "www.localhost", path="/api", tls="off")
    assert added == ["https://shop.localhost", "http://www.localhost/api"]
    with pytest.raises(ConflictError):
        await call("add", host="www.localhost", path="/api")
    with pytest.raises(NotFoundError):
        await call("remove", host="www.localhost", path="/other")
    assert await call.rolled_out("remove", "shop.localhost") == ["http://www.localhost/api"]
    default = lab.apps.hosting.routes.url(f"shop.{lab.hosting.here.domain}")
    last = await call("remove", host="www.localhost")
    assert last.hint == f"shop has no domain of its own any more, so it answers at {default}"
    await lab.ended(lab.deployments.get("shop", last.number))
    assert await call("list") == [default]
    with pytest.raises(NotFoundError):
        await call("remove", host="www.localhost")


async def test_a_name_of_another_app_is_refused_and_nothing_is_kept(lab: Laboratory):
    lab.version("v1", domains=["first.localhost"])
    lab.version("v2")
    await lab.deploy("first", "v1")
    await lab.deploy("shop", "v2")
    call = Calls(lab)
    with pytest.raises(ConflictError, match=r"first\.localhost belongs to app/first"):
        await call("add", host="first.localhost")
    assert lab.app("shop").overrides == {}
    assert await call.rolled_out("add", "mine.localhost") == ["https://mine.localhost"]


async def test_a_name_waits_for_an_app_that_does_not_run(lab: Laboratory):
    await lab.apps.create("shop")
    call = Calls(lab)
    assert await call("add", host="shop.localhost") is None
    assert lab.app("shop").overrides["domains"]
    assert await call("list") == []
    lab.version("v1")
    await lab.deploy("shop", "v1")
    assert await call("list") == ["https://shop.localhost"]


@pytest.mark.parametrize("host", HOSTILE)
async def test_an_operation_refuses_what_is_no_name(lab: Laboratory, host: str):
    await lab.apps.create("shop")
    for name in ("add", "remove"):
        with pytest.raises(InvalidRequestError):
            await Calls(lab)(name, host=host)
    assert lab.app("shop").overrides == {}
