"""What tests of several parts share."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.docker import Docker
    from tests.podman import Podman


@pytest.fixture(scope="session")
def session_podman(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Podman]:
    """One isolated Podman for each worker of a session."""
    from tests.podman import new_podman

    # Podman refuses long paths for its sockets, and pytest's are long.
    root = Path(tempfile.mkdtemp(prefix="cvp-", dir="/tmp"))
    with new_podman(root, _tars(tmp_path_factory)) as made:
        yield made


@pytest.fixture(scope="session")
def session_docker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Docker]:
    """One isolated Docker for each worker of a session."""
    from tests.docker import new_docker

    root = Path(tempfile.mkdtemp(prefix="cvd-", dir="/tmp"))
    with new_docker(root, _tars(tmp_path_factory)) as made:
        yield made


def _tars(factory: pytest.TempPathFactory) -> Path:
    """Return where all workers of a session find the base images' tars."""
    base = factory.getbasetemp()
    tars = (base.parent if base.name.startswith("popen-") else base) / "image-tars"
    tars.mkdir(exist_ok=True)
    return tars


@pytest.fixture
def docker(session_docker: Docker) -> Iterator[Docker]:
    """The session's Docker, cleared of all but the images to start from after each test."""
    try:
        yield session_docker
    finally:
        session_docker.clear()


@pytest.fixture
def podman(session_podman: Podman) -> Iterator[Podman]:
    """The session's Podman, cleared of all but the images to start from after each test."""
    try:
        yield session_podman
    finally:
        session_podman.clear()
