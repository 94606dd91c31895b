"""The engines under test."""

from __future__ import annotations

import asyncio
import inspect
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest
import uvloop

from tests.engines.containers.laboratories import (
    Laboratory,
    RealEngine,
    open_laboratory,
    open_real_engine,
)

OpenLaboratory = Callable[[], AbstractAsyncContextManager[Laboratory]]
OpenRealEngine = Callable[[], AbstractAsyncContextManager[RealEngine]]

_MOST_S = 60


def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run coroutine tests in a loop of their own, which is the daemon's."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    names = inspect.signature(pyfuncitem.obj).parameters
    given = {name: pyfuncitem.funcargs[name] for name in names}
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(asyncio.wait_for(pyfuncitem.obj(**given), _MOST_S))
    return True


@pytest.fixture
def home() -> Iterator[Path]:
    """A directory with a path short enough for sockets."""
    made = Path(tempfile.mkdtemp(prefix="cvh-", dir="/tmp"))
    yield made
    shutil.rmtree(made, ignore_errors=True)


@pytest.fixture
def app(tmp_path: Path) -> Path:
    """An app's directory, which is empty."""
    directory = tmp_path / "app"
    directory.mkdir()
    return directory


@pytest.fixture(params=["memory", "podman", "docker"])
def laboratory(request: pytest.FixtureRequest, home: Path, tmp_path: Path) -> OpenLaboratory:
    """Opens each engine in turn."""
    real = None if request.param == "memory" else request.getfixturevalue(request.param)
    return lambda: open_laboratory(real, home, tmp_path)


@pytest.fixture(params=["podman", "docker"])
def real(request: pytest.FixtureRequest, home: Path) -> OpenRealEngine:
    """Opens each real engine in turn."""
    program = request.getfixturevalue(request.param)
    return lambda: open_real_engine(program, home)
