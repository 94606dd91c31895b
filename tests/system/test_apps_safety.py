"""What must never happen to apps, on real daemons: requests that are cut, secrets that are seen."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from tests.images import WEB
from tests.podman import Podman
from tests.processes import command_lines
from tests.system.harness import eventually, new_fleet
from tests.system.hosting import Host, new_host
from tests.system.test_apps import plain


@pytest.fixture(scope="module")
def host(session_podman: Podman) -> Iterator[Host]:
    with new_fleet() as fleet, new_host(fleet, session_podman) as made:
        yield made


@contextmanager
def looking_for(canary: str) -> Iterator[list[str]]:
    """Read the arguments of all processes again and again; gives those that have the canary."""
    seen: list[str] = []
    looks = 0
    over = threading.Event()

    def look() -> None:
        nonlocal looks
        while not over.is_set():
            looks += 1
            seen.extend(line for line in command_lines() if canary in line)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield seen
    finally:
        over.set()
        thread.join()
    assert looks > 1


def test_no_process_has_a_secret_among_its_arguments(host: Host):
    canary = "canary-52c1f7-never-an-argument"
    directory = host.app(
        "quiet", "v1", build={"secrets": ["TOKEN"]}, release='test -n "$TOKEN"; sleep 0.3'
    )
    (directory / "Containerfile").write_text(
        f"FROM {WEB}\nCOPY www /www\n"
        "RUN --mount=type=secret,id=TOKEN test -s /run/secrets/TOKEN && sleep 0.3\n"
    )
    host.node.run("apps", "create", "quiet")
    with looking_for(canary) as seen:
        host.node.run("apps", "env", "set", "quiet", "TOKEN", stdin=canary)
        host.deploy(directory)
        host.node.run("apps", "restart", "quiet")
        read = host.node.out("apps", "run", "quiet", "--", "sh", "-c", "sleep 0.3; echo $TOKEN")
    assert read == canary
    assert seen == []
    host.settled("quiet")
    host.remove("quiet")


def test_requests_under_way_end_when_an_app_is_stopped_or_rolled_back(host: Host):
    host.deploy(host.server("slow", "v1", domains=plain("slow")))
    watched = {"watch": "30s", "healthcheck": {"path": "/health", "interval": "200ms"}}
    bad = host.server("slow", "v2", domains=plain("slow"), deploy={**watched, "drain": "20s"})
    server = (bad / "server.py").read_text()
    # It turns bad once it has begun to answer a slow request.
    turns = 'open("/tmp/sick", "w").close(); await asyncio.sleep('
    (bad / "server.py").write_text(server.replace("await asyncio.sleep(", turns))
    with ThreadPoolExecutor() as pool:
        deploying = pool.submit(host.deploy, bad, expect=1)
        eventually(lambda: host.ask("slow", tls=False) == (200, "v2"))
        under_way = pool.submit(host.ask, "slow", "/slow=3", tls=False)
        assert "turned unhealthy after the switch" in deploying.result()
        assert host.get("slow", tls=False) == "v1"
        assert under_way.result() == (200, "v2")
        host.settled("slow")
        under_way = pool.submit(host.ask, "slow", "/slow=1.5", tls=False)
        eventually(lambda: _is_asked(host))
        host.node.run("apps", "stop", "slow")
        assert under_way.result() == (200, "v1")
    assert host.containers("slow") == []
    assert host.ask("slow", tls=False)[0] == 503
    host.remove("slow")


def _is_asked(host: Host) -> bool:
    """Whether the server of `slow` has a connection."""
    read = host.node.out("apps", "exec", "slow", "--", "cat", "/proc/net/tcp")
    port = f"{8080:04X}"
    return any(
        line.split()[1].endswith(f":{port}") and line.split()[3] == "01"
        for line in read.splitlines()[1:]
    )
