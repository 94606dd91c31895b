"""One server, or one that git pushes to, for the tests of a module; emptied before each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.surfaces.http.git_site import Site, new_site
from tests.surfaces.http.serving import Running, running


@pytest.fixture(scope="module")
def shared_server() -> Iterator[Running]:
    with running() as found:
        yield found


@pytest.fixture
def server(shared_server: Running) -> Running:
    shared_server.notes.held.clear()
    shared_server.trail.entries.clear()
    shared_server.authenticator.locked = False
    return shared_server


@pytest.fixture(scope="module")
def module_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with new_site(tmp_path_factory.mktemp("pushes")) as found:
        yield found


@pytest.fixture
def site(module_site: Site, tmp_path: Path) -> Site:
    module_site.clear(tmp_path / "work")
    return module_site
