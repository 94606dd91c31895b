from __future__ import annotations

import asyncio
import inspect
from pathlib import Path

import pytest

from tests.apps.laboratory import Laboratory


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run the tests that are coroutines."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    given = {name: pyfuncitem.funcargs[name] for name in pyfuncitem._fixtureinfo.argnames}
    lab = next((one for one in given.values() if isinstance(one, Laboratory)), None)

    async def run() -> None:
        if lab is None:
            await pyfuncitem.obj(**given)
            return
        await lab.start()
        try:
            await pyfuncitem.obj(**given)
        finally:
            await lab.close()

    asyncio.run(asyncio.wait_for(run(), 30))
    return True


@pytest.fixture
def lab(tmp_path: Path) -> Laboratory:
    """A node with apps, whose containers are in memory."""
    return Laboratory(tmp_path)
