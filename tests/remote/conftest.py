"""A fresh fleet in memory for each test that plays a scene."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from covey.remote import call_links
from tests.remote.members import DEADLINE_S, Fleet, Play, Scene


@pytest.fixture
def play(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Play:
    """Run a scene in a fresh fleet, and end every link after it."""
    monkeypatch.setattr(call_links, "_DIRECT_WAIT_S", 0.05)

    def run(scene: Scene) -> None:
        async def main() -> None:
            fleet = Fleet(tmp_path)
            try:
                async with asyncio.timeout(DEADLINE_S * 2):
                    await scene(fleet)
            finally:
                await fleet.close()

        asyncio.run(main())

    return run
