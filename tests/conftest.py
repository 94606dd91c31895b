"""What tests of several parts share."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.podman import Podman


@pytest.fixture(scope="session")
def session_podman(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Podman]:
    """One isolated Podman for each worker of a session."""
    from tests.podman import new_podman

    base = tmp_path_factory.getbasetemp()
    tars = (base.parent if base.name.startswith("popen-") else base) / "podman-tars"
    tars.mkdir(exist_ok=True)
    # Podman refuses long paths for its sockets, and pytest's are long.
    with new_podman(Path(tempfile.mkdtemp(prefix="cvp-", dir="/tmp")), tars) as made:
        yield made


@pytest.fixture
def podman(session_podman: Podman) -> Iterator[Podman]:
    """The session's Podman, cleared of all but the images to start from after each test."""
    try:
        yield session_podman
    finally:
        session_podman.clear()
