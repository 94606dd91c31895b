"""What starts the program stays light: modules that cost time are imported when they are used."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.surfaces.cli.fake_daemon import FakeDaemon

BANNED = ("asyncio", "aiohttp", "cryptography", "rich", "starlette", "uvicorn", "covey.wiring")


def imported_by(home: Path, *words: str) -> tuple[int, set[str]]:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "covey", *words],
        env={**os.environ, "COVEY_HOME": str(home)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    lines = [line for line in done.stderr.splitlines() if line.startswith("import time:")]
    return done.returncode, {line.rsplit("|", 1)[1].strip() for line in lines}


@pytest.mark.parametrize(
    "words, status, unneeded",
    [
        (["--help"], 0, ("click", "json", "socket", "http.client")),
        (["__complete", ""], 0, ("click", "json", "socket", "http.client")),
        (["agent", "--help"], 0, ("http.client", "ssl")),
        (["agent", "status"], 6, ("http.client", "ssl")),
    ],
)
def test_a_command_imports_no_more_than_it_uses(
    home: Path, words: list[str], status: int, unneeded: tuple[str, ...]
):
    done, found = imported_by(home, *words)
    assert done == status
    assert "covey.surfaces.cli.tree" in found
    assert found.isdisjoint({*BANNED, *unneeded})


def test_status_imports_no_more_than_it_uses(daemon: FakeDaemon):
    node = {
        "state": "ready",
        "uptime_seconds": 60,
        "pid": 1,
        "node_id": "ab" * 16,
        "fleet_id": "cd" * 16,
        "listen": ["127.0.0.1:1"],
        "home": "/home",
        "version": "1",
    }
    daemon.on("GET", "/api/v1/node", node)
    done, found = imported_by(daemon.home, "status")
    assert done == 0
    assert found.isdisjoint({*BANNED, "http.client", "ssl"})


def test_paths_need_the_system_modules_alone():
    code = (
        "import sys; before = set(sys.modules); import covey.paths; "
        "print(set(sys.modules) - before)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert eval(done.stdout) <= {"covey", "covey.paths", "__future__"}
