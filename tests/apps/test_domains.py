"""The names of an app, added and taken away one by one."""

from __future__ import annotations

import pytest

from covey.apps.config.domains import with_domain, without_domain
from covey.apps.config.load import AppFile
from covey.apps.config.merge import effective
from covey.apps.model import DeploymentState
from covey.errors import ConflictError, InvalidRequestError, NotFoundError
from tests.apps.laboratory import Laboratory

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


def test_one_that_is_there_is_changed_and_one_alone_is_canonical() -> None:
    overrides = with_domain(FILE, {}, {"host": "www.example.org", "canonical": True})
    overrides = with_domain(FILE, overrides, {"host": "www.example.org", "path": "/api"})
    assert hosts(overrides) == [
        ("shop.example.org", "/", False),
        ("www.example.org", "/", True),
        ("www.example.org", "/api", False),
    ]
    again = with_domain(FILE, overrides, {"host": "www.example.org", "tls": "off"})
    assert hosts(again)[-1] == ("www.example.org", "/", False)
    assert len(hosts(again)) == 3


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


@pytest.mark.parametrize("host", ["a b", "https://a.example.org", "a.example.org:443", "-", ""])
def test_what_is_no_name_is_refused(host: str) -> None:
    with pytest.raises(InvalidRequestError):
        with_domain(FILE, {}, {"host": host})


async def test_a_name_is_rolled_out_unless_another_app_has_it(lab: Laboratory):
    lab.version("v1", domains=["first.localhost"])
    lab.version("v2")
    await lab.deploy("first", "v1")
    await lab.deploy("second", "v2")
    file = lab.apps.file_of(lab.app("second"))

    async def add(host: str) -> DeploymentState:
        deployment = await lab.apps.configure(
            lab.app("second"), lambda known: with_domain(file, known, {"host": host}), "a test"
        )
        return (await lab.ended(deployment)).state

    with pytest.raises(ConflictError, match=r"first\.localhost belongs to app/first"):
        await add("first.localhost")
    assert await add("mine.localhost") is DeploymentState.SUCCEEDED
    assert lab.apps.urls(lab.app("second")) == ["https://mine.localhost"]
