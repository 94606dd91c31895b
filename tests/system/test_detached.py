"""Detached commands over restarts of their daemon, and what is recorded of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.system.harness import Fleet, Node, eventually

SECRET = "hunter2-of-the-whole-fleet"


def listed(node: Node, identifier: str) -> dict[str, object]:
    return next(item for item in node.json("exec", "list") if item["id"] == identifier)


@pytest.mark.parametrize("way", ["stop", "kill"])
def test_it_runs_on_while_its_daemon_restarts(fleet: Fleet, tmp_path: Path, way: str) -> None:
    freya = fleet.founder("freya")
    flag = tmp_path / "flag"
    line = f"echo before; while [ ! -e {flag} ]; do sleep 0.05; done; echo after; exit 7"
    identifier = freya.out("exec", "--detach", "--shell", line).split()[0]
    eventually(lambda: freya.run("exec", "logs", identifier).stdout == "before\n")
    freya.stop() if way == "stop" else freya.kill()
    freya.start()
    assert listed(freya, identifier)["state"] == "running"
    flag.touch()
    eventually(lambda: listed(freya, identifier)["state"] == "exited")
    assert listed(freya, identifier)["status"] == 7
    assert freya.run("exec", "logs", identifier, expect=None).stdout == "before\nafter\n"


def test_the_policy_records_and_known_secrets_are_masked(fleet: Fleet) -> None:
    freya = fleet.founder("freya", COVEY_EXEC_RECORD="always")
    freya.run("env", "set", "TOKEN", stdin=SECRET)
    done = freya.run("exec", "--env", "TOKEN", "--shell", "echo it is $TOKEN")
    assert done.stdout == f"it is {SECRET}\n"
    [recording] = freya.json("audit", "recordings")
    played = freya.run("audit", "play", recording["id"], "--json").stdout
    events = [json.loads(item) for item in played.splitlines()]
    output = "".join(item["data"] for item in events if item.get("kind") == "o")
    assert output.replace("\r", "") == "it is ********\n"
    assert SECRET not in played
    trail = freya.json("audit", "--operation", "exec.run")
    assert any("echo it is $TOKEN" in item["target"] for item in trail)
    for path in freya.home.rglob("*"):
        if path.is_file() and "run" not in path.relative_to(freya.home).parts:
            assert SECRET.encode() not in path.read_bytes()
