"""Commands on another machine, and bytes through them, beside OpenSSH."""

from __future__ import annotations

import asyncio
import os
import subprocess
import time
from functools import partial
from pathlib import Path

from benchmarks.measure import MS, interleaved, median, process_seconds
from benchmarks.peers import plain_server
from benchmarks.report import Row, main, version_of
from covey import connect
from tests.system.harness import COVEY, Node, eventually, new_fleet
from tests.system.sshd import SshServer

ROUNDS = 60
COLD_ROUNDS = 15
CALLS = 300
STREAMED = 100_000_000
UNLIMITED = {"COVEY_API_RATE_LIMIT_PER_MINUTE": "10000000"}


def master(server: SshServer) -> tuple[list[str], subprocess.Popen[bytes]]:
    """Start a connection that stays, and return the command that uses it."""
    path = server.directory / "control"
    base = ["/usr/bin/ssh", "-F", str(server.config), "-p", str(server.port), "127.0.0.1"]
    shared = [*base[:1], "-o", f"ControlPath={path}", *base[1:]]
    started = subprocess.Popen(
        [*shared[:1], "-M", "-N", *shared[1:]], stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    eventually(path.exists)
    return shared, started


def through(command: list[str], environment: dict[str, str], source: Path) -> float:
    """Seconds for a file to go through a remote `cat` and back."""
    with source.open("rb") as given:
        began = time.perf_counter()
        with subprocess.Popen(
            command, stdin=given, stdout=subprocess.PIPE, env=environment
        ) as process:
            assert process.stdout is not None
            count = 0
            while data := process.stdout.read(1 << 20):
                count += len(data)
        took = time.perf_counter() - began
    if count != source.stat().st_size or process.returncode != 0:
        raise RuntimeError(f"{command} gave {count} bytes and status {process.returncode}")
    return took


def resident(node: Node) -> float:
    """MiB that a daemon occupies."""
    assert node.process is not None
    for line in Path(f"/proc/{node.process.pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError("the kernel does not say")


async def python_calls(node: Node) -> list[float]:
    """Time calls of `true` from Python."""
    found = []
    async with connect(home=str(node.home)) as fleet:
        frigg = fleet.host("frigg")
        for _ in range(CALLS):
            began = time.perf_counter()
            done = await frigg.exec("true")
            found.append(time.perf_counter() - began)
            if not done.ok:
                raise RuntimeError(f"true ended with {done.status}")
    return found


def run() -> list[Row]:
    """Time `true` and 100 MB through `cat`, each in turn with ssh."""
    with new_fleet() as fleet, plain_server(fleet) as server:
        freya = fleet.founder("freya", **UNLIMITED)
        frigg = fleet.member(freya, "frigg", **UNLIMITED)
        ours = [COVEY, "exec", "-H", "frigg", "--"]
        environment = freya.environment
        eventually(lambda: subprocess.call([*ours, "true"], env=environment) == 0)
        shared, started = master(server)
        cold = [shared[0], *shared[3:]]
        bare = {"PATH": os.environ["PATH"], "HOME": os.environ["HOME"]}
        times = interleaved(
            {
                "covey": partial(process_seconds, [*ours, "true"], environment),
                "ssh": partial(process_seconds, [*shared, "true"], bare),
            },
            ROUNDS,
        )
        colds = [process_seconds([*cold, "true"], bare) for _ in range(COLD_ROUNDS)]
        calls = asyncio.run(python_calls(freya))
        source = fleet.directory / "source"
        source.write_bytes(os.urandom(STREAMED))
        before = max(resident(freya), resident(frigg))
        streams = interleaved(
            {
                "covey": partial(through, [*ours, "cat"], environment, source),
                "ssh": partial(through, [*shared, "cat"], bare, source),
            },
            5,
            1,
        )
        grown = max(resident(freya), resident(frigg)) - before
        started.terminate()
        started.wait(10)
    version = version_of("ssh", "-V").split(",")[0]
    mine, theirs = median(times["covey"]) * MS, median(times["ssh"]) * MS
    rate, their_rate = (STREAMED / 1e6 / median(streams[name]) for name in ("covey", "ssh"))
    return [
        Row("covey exec true, warm link", mine, "ms", theirs, "whole process; two daemons here"),
        Row("ssh true, ControlMaster", theirs, "ms", None, version),
        Row("ssh true, new connection", median(colds) * MS, "ms", None, version),
        Row("exec true over a new ssh's time", mine / median(colds) / MS, "", 0.1, "at most 1/10"),
        Row("exec true from Python", median(calls) * MS, "ms", 5, f"median of {CALLS}"),
        Row("100 MB through covey exec cat", STREAMED / 1e6 / rate, "s", None, f"{rate:.0f} MB/s"),
        Row("100 MB through ssh cat", STREAMED / 1e6 / their_rate, "s", None, version),
        Row("memory of a daemon, grown by that", grown, "MiB", 30, "the larger of both"),
    ]


if __name__ == "__main__":
    raise SystemExit(main("exec", run))
