"""One server for the tests of a module, emptied before each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

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
