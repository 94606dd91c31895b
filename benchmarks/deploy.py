"""Deployments while many clients ask: what fails, and how long one takes.

The peer of the first figure is Caddy whose configuration is reloaded for each switch.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Awaitable, Callable
from pathlib import Path

from benchmarks.measure import median
from benchmarks.report import Row, main, version_of
from covey.engines.caddy.process import find_program
from tests.engines.caddy.backends import Backend
from tests.engines.caddy.load import Load, Socket
from tests.podman import new_podman
from tests.ports import free_port
from tests.system.harness import eventually, new_fleet
from tests.system.hosting import Host, new_host

DEPLOYMENTS = 100
CLIENTS = 16
SOCKETS = 50
ROUNDS = 10
TARGET_OVERHEAD_S = 1.0
_TOP = '{"admin": {"listen": "127.0.0.1:%d"}, "apps": {"http": {"servers": {"edge": %s}}}}'


class Sockets:
    """WebSockets that ask all the time, and count those that were cut."""

    def __init__(self, port: int, host: str) -> None:
        self._port, self._host = port, host
        self.cut = 0
        self.said = 0
        self.stopped = False

    async def talk(self, stay_s: float) -> None:
        """Hold one WebSocket after another, each for a while, and speak now and then."""
        while not self.stopped:
            until = time.monotonic() + stay_s
            socket = await Socket.open(self._port, self._host)
            try:
                while time.monotonic() < until and not self.stopped:
                    if not await socket.say("hello"):
                        raise ConnectionError
                    self.said += 1
                    await asyncio.sleep(0.1)
            except (OSError, TimeoutError):
                self.cut += 1
            finally:
                socket.close()


async def under_load(
    port: int, host: str, work: Callable[[], Awaitable[None]], stay_s: float
) -> tuple[Load, Sockets]:
    """Do the work while all clients ask."""
    load, sockets = Load(port, host), Sockets(port, host)

    async def again(client: Callable[[], Awaitable[None]]) -> None:
        while not load.stopped:
            await client()

    tasks = [
        asyncio.create_task(again(kind))
        for kind in (load.keep_alive, load.new_each_time)
        for _ in range(CLIENTS)
    ]
    tasks += [asyncio.create_task(sockets.talk(stay_s)) for _ in range(SOCKETS)]
    try:
        await work()
    finally:
        load.stopped = sockets.stopped = True
        await asyncio.gather(*tasks, return_exceptions=True)
    return load, sockets


def deployments_under_load(host: Host) -> list[Row]:
    """Deploy a tiny app again and again."""
    config = {"domains": [{"host": "bench.localhost", "tls": "off"}], "deploy": {"drain": "30s"}}
    directory = host.server("bench", "0", **config)
    host.deploy(directory)

    async def work() -> None:
        for number in range(1, DEPLOYMENTS + 1):
            (directory / "version").write_text(str(number))
            await asyncio.to_thread(host.deploy, directory, "--quiet")

    load, sockets = asyncio.run(under_load(host.http, "bench.localhost", work, 10.0))
    note = f"{load.total:,} requests, {sockets.said:,} messages on {SOCKETS} WebSockets"
    host.remove("bench")
    return [
        Row(f"failed requests in {DEPLOYMENTS} deployments", len(load.failures), "", 0, note),
        Row(f"cut WebSockets in {DEPLOYMENTS} deployments", sockets.cut, "", 0),
    ]


def reloads_under_load() -> list[Row]:
    """Switch a bare Caddy as often, by a configuration for each switch."""
    port, admin = free_port(), free_port()

    def config(backend: Backend) -> bytes:
        route = {"handle": [{"handler": "reverse_proxy", "upstreams": [{"dial": backend.address}]}]}
        server = {"listen": [f"127.0.0.1:{port}"], "routes": [route]}
        server["automatic_https"] = {"disable": True}
        return (_TOP % (admin, json.dumps(server))).encode()

    def load_config(content: bytes) -> None:
        request = urllib.request.Request(
            f"http://127.0.0.1:{admin}/load",
            content,
            {"Content-Type": "application/json"},
        )
        urllib.request.urlopen(request, timeout=10).close()

    async def run() -> tuple[Load, Sockets]:
        first, second = Backend("first"), Backend("second")
        await first.start()
        await second.start()
        place = Path(tempfile.mkdtemp(prefix="covey-bench-"))
        (place / "caddy.json").write_bytes(config(first))
        caddy = subprocess.Popen(
            [str(find_program()), "run", "--config", str(place / "caddy.json")],
            env={"HOME": str(place), "PATH": "/usr/bin:/bin"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            await asyncio.to_thread(eventually, lambda: _answers(port))

            async def work() -> None:
                for number in range(DEPLOYMENTS):
                    backend = (second, first)[number % 2]
                    await asyncio.to_thread(load_config, config(backend))
                    await asyncio.sleep(0.3)

            return await under_load(port, "bench.localhost", work, 10.0)
        finally:
            caddy.kill()
            caddy.wait()
            await first.stop()
            await second.stop()
            shutil.rmtree(place, ignore_errors=True)

    load, sockets = asyncio.run(run())
    version = version_of(str(find_program()), "version").split()[0]
    return [
        Row(
            f"failed requests in {DEPLOYMENTS} reloads of Caddy",
            len(load.failures),
            "",
            None,
            f"Caddy {version}, {load.total:,} requests",
        ),
        Row(f"cut WebSockets in {DEPLOYMENTS} reloads of Caddy", sockets.cut, "", None),
    ]


def time_to_serve(host: Host) -> list[Row]:
    """Deploy a changed file, beside `podman build` and `podman run` of the same."""
    domains = [{"host": "quick.localhost", "tls": "off"}]
    directory = host.app("quick", "0", domains=domains)
    host.deploy(directory)
    ours, theirs = [], []
    for number in range(1, ROUNDS + 1):
        version = f"version-{number}"
        (directory / "www/index.html").write_text(version)
        started = time.perf_counter()
        command = subprocess.Popen(
            [*host.node.command, "deploy", str(directory), "--quiet"],
            env=host.node.environment,
            stdout=subprocess.DEVNULL,
        )
        while host.get("quick", tls=False) != version:
            time.sleep(0.005)
        ours.append(time.perf_counter() - started)
        command.wait()
        host.settled("quick")
        (directory / "www/index.html").write_text(version + "-podman")
        started = time.perf_counter()
        host.podman.run("build", "-q", "-t", "localhost/quick", str(directory))
        host.podman.run("run", "-d", "--name", "quick", "-p", "127.0.0.1::8080", "localhost/quick")
        host.podman.run("port", "quick")
        theirs.append(time.perf_counter() - started)
        host.podman.run("rm", "-f", "-t", "0", "quick")
    host.remove("quick")
    mine, other = median(ours), median(theirs)
    version = version_of("podman", "--version")
    return [
        Row("covey deploy of a changed file until it serves", mine, "s"),
        Row("podman build and podman run of the same", other, "s", None, version),
        Row("what Covey adds", mine - other, "s", TARGET_OVERHEAD_S),
    ]


def _answers(port: int) -> bool:
    try:
        urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=1).close()
    except OSError:
        return False
    return True


def run() -> list[Row]:
    """Measure all of it on one node."""
    root = Path(tempfile.mkdtemp(prefix="cvp-", dir="/tmp"))
    with new_podman(root) as podman, new_fleet() as fleet, new_host(fleet, podman) as host:
        rows = time_to_serve(host)
        rows += deployments_under_load(host)
        rows += reloads_under_load()
    return rows


if __name__ == "__main__":
    raise SystemExit(main("deploy", run))
