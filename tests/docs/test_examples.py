"""The settings files that ship as examples are read as they are meant."""

from __future__ import annotations

from pathlib import Path

import pytest

from covey.fleet.election import Mode
from covey.settings import Settings, load
from tests.docs.markdown import ROOT

FILES = sorted((ROOT / "examples").glob("*.toml"))


def read(path: Path) -> Settings:
    loaded = load(str(path), {})
    assert loaded.warnings == ()
    return loaded.settings


def test_the_examples_are_those_that_the_page_names() -> None:
    page = (ROOT / "examples/README.md").read_text("utf-8")
    assert [path.name for path in FILES if f"({path.name})" not in page] == []
    assert len(FILES) >= 4


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_an_example_is_valid_and_sets_something(path: Path) -> None:
    assert read(path) != Settings()


def test_the_cloud_holds_on_to_nobody() -> None:
    found = read(ROOT / "examples/cloud-server.toml")
    assert found.server.advertise == ("cloud.example.org:13500",)
    assert (found.client.enable_cloud, found.client.enable_lan) == (False, False)


def test_a_client_has_the_cloud_first_and_serves_if_need_be() -> None:
    found = read(ROOT / "examples/client.toml")
    assert found.client.cloud_url == "cloud.example.org:13500"
    assert found.client.enable_lan
    assert Mode(found.server.mode) is Mode.AUTO


def test_a_client_only_never_serves() -> None:
    found = read(ROOT / "examples/client-only.toml")
    assert Mode(found.server.mode) is Mode.CLIENT_ONLY
    assert found.client.cloud_url


def test_without_a_cloud_the_lan_is_all() -> None:
    found = read(ROOT / "examples/lan-only.toml")
    assert not found.client.enable_cloud
    assert found.client.enable_lan
    assert found.discovery.mdns
    assert Mode(found.server.mode) is Mode.SERVER_PREFERRED
