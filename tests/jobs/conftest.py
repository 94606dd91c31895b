from __future__ import annotations

import asyncio
import inspect
from collections.abc import Iterator
from pathlib import Path

import pytest

from covey.engines.sqlite.job_storage import SqliteJobStorage
from covey.jobs.ports import JobStorage
from covey.testing.memory_jobs import MemoryJobStorage
from tests.engines.sqlite_home import SqliteHome
from tests.jobs.jobs import Work


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run the tests that are coroutines."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    given = {name: pyfuncitem.funcargs[name] for name in pyfuncitem._fixtureinfo.argnames}
    asyncio.run(asyncio.wait_for(pyfuncitem.obj(**given), 30))
    return True


@pytest.fixture
def sqlite_home(tmp_path: Path) -> Iterator[SqliteHome]:
    home = SqliteHome(tmp_path / "covey.db")
    yield home
    home.close()


@pytest.fixture(params=["memory", "sqlite"])
def storage(request: pytest.FixtureRequest) -> JobStorage:
    """A new storage of each kind."""
    if request.param == "memory":
        return MemoryJobStorage()
    home: SqliteHome = request.getfixturevalue("sqlite_home")
    return SqliteJobStorage(home.database)


@pytest.fixture
def work(storage: JobStorage, tmp_path: Path) -> Work:
    """Kinds of jobs and their engines."""
    return Work(storage, tmp_path)
