"""A node that hosts nothing and runs no commands has nothing of either in its memory."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.system.harness import eventually, new_fleet

DAEMON = """
import sys
from pathlib import Path
from covey.wiring.process import main

status = main([])
Path(sys.argv[1]).write_text("\\n".join(sys.modules))
sys.exit(status)
"""
PARTS = (
    *("covey.apps", "covey.jobs", "covey.wiring.hosting"),
    *("covey.remote.exec", "covey.remote.files", "covey.remote.tunnels", "covey.wiring.remote"),
    "covey.engines.acme",
    "covey.engines.archives",
    "covey.engines.caddy",
    "covey.engines.containers",
    "covey.engines.forges",
    "covey.engines.git",
)
LIBRARIES = (
    *("aiohttp", "cronsim", "pathspec", "pygit2", "rich", "tomli_w", "tzdata"),
    *("sysconfig", "tarfile", "zipfile", "zoneinfo"),
)


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """The modules of a daemon that ran from its start to its end, and was asked a little."""
    found = tmp_path_factory.mktemp("plain") / "modules"
    with new_fleet() as fleet:
        node = fleet.node("freya")
        node.init()
        command = [sys.executable, "-P", "-c", DAEMON, str(found)]
        node.process = subprocess.Popen(
            command, env=node.environment, stdout=subprocess.DEVNULL, text=True
        )
        eventually(lambda: node.run("status", expect=None).returncode == 0)
        node.run("env", "set", "COLOUR=blue")
        assert node.stop() == 0
    return set(found.read_text().split("\n"))


def test_the_list_is_that_of_a_node_that_served(loaded: set[str]):
    assert {"covey.wiring.open_node", "covey.surfaces.http.serve", "uvicorn"} <= loaded


@pytest.mark.parametrize("part", [*PARTS, *LIBRARIES])
def test_a_plain_node_does_without(loaded: set[str], part: str):
    assert [name for name in loaded if name == part or name.startswith(f"{part}.")] == []
