"""Covey's own files are nothing to serve."""

from __future__ import annotations

from pathlib import Path

import pytest

from covey.apps.routing.service import RoutesService
from covey.errors import RefusedError
from covey.paths import find_paths
from covey.settings import Settings
from covey.wiring.proxy import make_routes
from tests.engines.caddy.proxies import LocalDict


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "home" / "data").mkdir(parents=True)
    return tmp_path / "home"


@pytest.fixture
def routes(home: Path) -> RoutesService:
    paths = find_paths({"COVEY_HOME": str(home)}, "linux")
    return make_routes(paths, Settings(), LocalDict())


@pytest.mark.parametrize("asked", ["", "..", "config", "data", "data/caddy", "state/proxy", "run"])
def test_what_covey_keeps_is_not_served(routes: RoutesService, home: Path, asked: str) -> None:
    with pytest.raises(RefusedError, match="own"):
        routes.check_directory(str(home / asked))


def test_a_link_hides_nothing(routes: RoutesService, home: Path) -> None:
    link = home.parent / "innocent"
    link.symlink_to(home / "data")
    with pytest.raises(RefusedError):
        routes.check_directory(str(link))


def test_a_directory_beside_it_is_served(routes: RoutesService, home: Path) -> None:
    routes.check_directory(str(home.parent / "home-page"))
    routes.check_directory("/srv/www")
