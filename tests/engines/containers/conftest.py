"""The engines under test."""

from __future__ import annotations

import asyncio
import inspect
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest

from tests.engines.containers.laboratories import (
    DOCKER_SOCKET,
    Laboratory,
    open_docker_laboratory,
    open_laboratory,
)
from tests.podman import Podman

OpenLaboratory = Callable[[], AbstractAsyncContextManager[Laboratory]]


_MOST_S = 60


def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run coroutine tests in a loop of their own."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    names = inspect.signature(pyfuncitem.obj).parameters
    given = {name: pyfuncitem.funcargs[name] for name in names}
    asyncio.run(asyncio.wait_for(pyfuncitem.obj(**given), _MOST_S))
    return True


@pytest.fixture
def home() -> Iterator[Path]:
    """A directory with a path short enough for sockets."""
    made = Path(tempfile.mkdtemp(prefix="cvh-", dir="/tmp"))
    yield made
    shutil.rmtree(made, ignore_errors=True)


@pytest.fixture(params=["memory", "podman", *(["docker"] if DOCKER_SOCKET in os.environ else [])])
def laboratory(request: pytest.FixtureRequest, home: Path, tmp_path: Path) -> OpenLaboratory:
    """Opens each engine in turn."""
    podman: Podman | None = None
    if request.param == "docker":
        return lambda: open_docker_laboratory(os.environ[DOCKER_SOCKET], home, tmp_path)
    if request.param == "podman":
        podman = request.getfixturevalue("podman")
    return lambda: open_laboratory(request.param, podman, home, tmp_path)
