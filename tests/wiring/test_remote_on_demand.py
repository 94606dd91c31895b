"""Commands and files begin with the node only where something of them is left."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from covey.paths import Paths
from covey.wiring.remote import RemoteServices
from covey.wiring.remote_on_demand import RemoteOnDemand


class Remote:
    """Stands for the services; it notes what is asked of it."""

    def __init__(self, told: list[str]) -> None:
        self._told = told

    async def start(self) -> None:
        self._told.append("start")

    async def stop(self) -> None:
        self._told.append("stop")


def after_start(state: Path, *, used: bool = False) -> list[str]:
    told: list[str] = []

    async def run() -> None:
        paths = cast("Paths", SimpleNamespace(state_dir=str(state)))
        remote = RemoteOnDemand(lambda: cast("RemoteServices", Remote(told)), paths)
        await remote.start()
        if used:
            await remote.prepare()
            await remote.prepare()
        await remote.stop()

    asyncio.run(run())
    return told


def test_they_wait_for_their_first_use(tmp_path: Path):
    (tmp_path / "transfers").mkdir()
    (tmp_path / "transfers" / "key").touch()
    (tmp_path / "exec").mkdir()
    assert after_start(tmp_path) == []
    assert after_start(tmp_path, used=True) == ["start", "stop"]


@pytest.mark.parametrize("left", ["exec/0123456789ab", "recordings/a.cast", "transfers/ab.place"])
def test_they_begin_with_what_is_left_from_before(tmp_path: Path, left: str):
    path = tmp_path / left
    path.parent.mkdir()
    path.touch()
    assert after_start(tmp_path) == ["start", "stop"]
