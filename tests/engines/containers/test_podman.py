"""What only a real Podman can show: a service that dies, hangs, and is not missed."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from pathlib import Path

import pytest

from covey.apps.containers import (
    NODE_LABEL,
    ContainerEvent,
    ContainerSpec,
    ContainerStatus,
    PortTakenError,
)
from covey.engines.containers.engine import ApiContainerEngine
from covey.engines.containers.host_limits import read_host_limits
from covey.engines.containers.podman_service import PodmanService
from covey.errors import DeadlineExceededError
from tests.engines.containers.laboratories import NODE, make_podman_engine
from tests.podman import WEB, Podman
from tests.waiting import until


async def run(engine: ApiContainerEngine, name: str, script: str, **options: object) -> str:
    image = str(options.pop("image", WEB))
    spec = ContainerSpec(name, image, NODE, shell_command=script, **options)  # type: ignore[arg-type]
    container = await engine.create(spec)
    await engine.start(container)
    return container


async def output(engine: ApiContainerEngine, container: str) -> str:
    chunks = [chunk.data async for chunk in engine.logs(container, follow=True)]
    return b"".join(chunks).decode()


def service_pid(podman: Podman) -> int:
    found = [
        pid
        for pid in podman.processes()
        if b"service" in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    ]
    assert len(found) == 1
    return found[0]


async def test_an_abandoned_command_leaves_no_monitor(podman: Podman, home: Path):
    engine = make_podman_engine(podman, home)
    container = await run(engine, "quiet", "sleep 100")
    before = set(podman.processes())
    session = await engine.exec(container, ("true",))
    assert [chunk async for chunk in session.output()] == []
    assert await session.exit_code() == 0
    await session.close()
    await until(lambda: set(podman.processes()) <= before)
    await engine.close()


async def test_the_last_lines_are_whole_where_a_program_writes_pieces(podman: Podman, home: Path):
    engine = make_podman_engine(podman, home)
    pieces = "printf %s, $i; printf ' '; printf b; echo"
    script = f"i=0; while [ $i -lt 20 ]; do {pieces}; i=$((i+1)); done"
    container = await run(engine, "pieces", script)
    assert await engine.wait(container) == 0
    lines = [f"{number}, b\n" for number in range(20)]
    for follow in (False, True):
        for tail in (0, 3, 100):
            chunks = [c.data async for c in engine.logs(container, follow=follow, tail=tail)]
            assert b"".join(chunks).decode() == "".join(lines[len(lines) - min(tail, 20) :])
    await engine.close()


async def test_outlives_the_death_of_its_service(podman: Podman, home: Path):
    engine = make_podman_engine(podman, home)
    script = "i=0; while [ $i -lt 40 ]; do echo $i; i=$((i+1)); sleep 0.1; done; exit 9"
    container = await run(engine, "steady", script)
    seen: list[ContainerEvent] = []

    async def watch() -> None:
        async for event in engine.events():
            seen.append(event)  # noqa: PERF401 - each is seen as it comes

    watching = asyncio.create_task(watch())
    waiting = asyncio.create_task(engine.wait(container))
    lines: list[bytes] = []
    async for chunk in engine.logs(container, follow=True):
        lines += chunk.data.splitlines()
        if len(lines) == 12:
            os.kill(service_pid(podman), signal.SIGKILL)
    assert lines == [b"%d" % number for number in range(40)]
    assert await waiting == 9
    await until(lambda: [one for one in seen if one.action == "die"])
    assert seen[-1].labels[NODE_LABEL] == "n1"
    watching.cancel()
    await engine.close()


async def test_a_service_that_hangs_is_replaced(
    podman: Podman, home: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("covey.engines.containers.access._PING_S", 0.3)
    monkeypatch.setattr("covey.engines.containers.podman_service._HANGS_S", 0.05)
    engine = make_podman_engine(podman, home)
    container = await run(engine, "steady", "sleep 100")
    hanging = service_pid(podman)
    os.kill(hanging, signal.SIGSTOP)
    api = await engine._access.api()
    with pytest.raises(DeadlineExceededError):
        await api.call("GET", "/info", timeout_s=0.1)
    state = await engine.inspect(container)
    assert state is not None
    assert state.status is ContainerStatus.RUNNING
    assert service_pid(podman) != hanging
    await engine.close()


async def test_the_service_of_a_killed_daemon_does_not_take_the_next_one_s_socket(
    podman: Podman, home: Path
):
    script = f"""
import asyncio
from pathlib import Path
from tests.engines.containers.laboratories import NODE, make_podman_engine
from tests.podman import Podman
podman = Podman(Path({str(podman.root)!r}), {dict(podman.environ)!r}, "")
async def live():
    await make_podman_engine(podman, Path({str(home)!r})).list_containers(NODE)
    print(flush=True)
    await asyncio.sleep(100)
asyncio.run(live())
"""
    daemon = await asyncio.create_subprocess_exec(
        sys.executable, "-c", script, stdout=asyncio.subprocess.PIPE
    )
    assert daemon.stdout is not None
    assert await daemon.stdout.readline()
    old = service_pid(podman)
    os.kill(old, signal.SIGSTOP)
    daemon.kill()
    await daemon.wait()
    engine = make_podman_engine(podman, home)
    assert await engine.list_containers(NODE) == []
    os.kill(old, signal.SIGCONT)
    await until(lambda: old not in podman.processes())
    assert await engine.list_containers(NODE) == []
    await engine.close()


async def test_a_service_that_is_slow_is_left_alone(podman: Podman, home: Path):
    engine = make_podman_engine(podman, home)
    api = await engine._access.api()
    before = service_pid(podman)
    with pytest.raises(DeadlineExceededError):
        await api.call("GET", "/info", timeout_s=0.00001)
    assert await engine.list_containers(NODE) == []
    assert service_pid(podman) == before
    await engine.close()


async def test_a_service_that_does_not_end_is_killed(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("covey.engines.containers.podman_service._END_S", 0.1)
    program = tmp_path / "podman"
    program.write_text(
        f"#!{sys.executable}\nimport signal, socket, sys, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "listener = socket.socket(socket.AF_UNIX)\n"
        "listener.bind(sys.argv[-1].removeprefix('unix://'))\nlistener.listen()\n"
        "time.sleep(999)\n"
    )
    program.chmod(0o755)
    (home / "run").mkdir()
    service = PodmanService(
        str(program), home / "run/c", home / "tmp", read_host_limits(), os.environ
    )
    await service.ready()
    process = service._process
    assert process is not None
    await service.close()
    assert process.returncode == -signal.SIGKILL
    assert list((home / "run/c").iterdir()) == []


async def test_containers_run_on_without_the_daemon(podman: Podman, home: Path):
    engine = make_podman_engine(podman, home)
    container = await run(engine, "lasting", "trap 'exit 3' TERM; sleep 100 & wait")
    await engine.close()
    assert list((home / "run/containers").glob("*.sock")) == []
    again = make_podman_engine(podman, home)
    found = await again.list_containers(NODE)
    assert [(one.id, one.status) for one in found] == [(container, ContainerStatus.RUNNING)]
    await again.stop(container, 10)
    assert await again.wait(container) == 3
    await again.close()
    await until(lambda: podman.processes() == {})


async def test_tells_which_engine_it_found(podman: Podman, home: Path):
    engine = make_podman_engine(podman, home)
    assert engine.name == "podman"
    assert podman.processes() == {}
    facts = await engine.describe()
    assert facts.engine == "podman"
    assert facts.service == "own"
    assert facts.version == await engine.version()
    assert facts.version[0].isdigit()
    assert Path(f"/proc/{service_pid(podman)}/cwd").readlink() == home / "run/containers"
    assert Path(facts.socket).stat().st_mode & 0o077 == 0 or (
        Path(facts.socket).parent.stat().st_mode & 0o077 == 0
    )
    await engine.close()
    assert not Path(facts.socket).exists()


async def test_a_port_that_was_taken_before_the_start_is_told_as_such(podman: Podman, home: Path):
    engine = make_podman_engine(podman, home)
    spec = ContainerSpec("late", WEB, NODE, ports=(8080,))
    container = await engine.create(spec)
    asked = '{{(index (index .HostConfig.PortBindings "8080/tcp") 0).HostPort}}'
    port = int(podman.run("inspect", container, "--format", asked))
    with socket.create_server(("127.0.0.1", port)), pytest.raises(PortTakenError):
        await engine.start(container)
    # Podman keeps the port that it chose, so it is free again for this one.
    await engine.start(container)
    await engine.close()
