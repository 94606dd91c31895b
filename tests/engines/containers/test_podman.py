"""What only a real Podman can show: limits, networks, terminals, and a service that dies."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest

from covey.apps.containers import (
    NODE_LABEL,
    ContainerEvent,
    ContainerSpec,
    ContainerStatus,
    Mount,
    Resources,
)
from covey.engines.containers.engine import ApiContainerEngine
from covey.errors import NotFoundError
from tests.engines.containers.laboratories import NODE, make_podman_engine
from tests.podman import PYTHON, WEB, Podman
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


async def test_memory_is_limited(podman: Podman, home: Path):
    engine = make_podman_engine(podman, home)
    script = 'python3 -c "print(len(chr(120) * (300 << 20)))"'
    container = await run(
        engine, "hungry", script, image=PYTHON, resources=Resources(memory_bytes=64 << 20)
    )
    assert await engine.wait(container) == 137
    if Path("/sys/fs/cgroup/cgroup.controllers").exists():  # version 1 tells Podman nothing
        state = await engine.inspect(container)
        assert state is not None
        assert state.out_of_memory
    await engine.close()


async def test_cpus_and_processes_are_limited(podman: Podman, home: Path):
    engine = make_podman_engine(podman, home)
    script = "for i in $(seq 40); do sleep 3 & done; wait"
    container = await run(engine, "many", script, resources=Resources(cpus=0.5, pids=20))
    assert "fork" in await output(engine, container)
    told = podman.run("inspect", "--format", "{{.HostConfig.NanoCpus}}", container)
    assert told.strip() == "500000000"
    await engine.close()


async def test_output_is_limited_and_followed_over_its_rotation(podman: Podman, home: Path):
    engine = make_podman_engine(podman, home)
    script = (
        "i=0; while [ $i -lt 6000 ]; do echo line number $i of many; i=$((i+1)); done; echo end"
    )
    container = await run(engine, "loud", script, log_bytes=64 << 10)
    assert "end\n" in await output(engine, container)
    path = podman.run("inspect", "--format", "{{.HostConfig.LogConfig.Path}}", container).strip()
    assert Path(path).stat().st_size <= 80 << 10
    last = [chunk.data async for chunk in engine.logs(container, follow=False, tail=1)]
    assert last == [b"end\n"]
    await engine.close()


async def test_variables_reach_it_and_no_process_list(podman: Podman, home: Path):
    engine = make_podman_engine(podman, home)
    container = await run(engine, "env", 'echo "got $A"; sleep 60', env={"A": "canary-5b x=y"})

    async def said() -> bool:
        return "got canary-5b x=y\n" in [
            chunk.data.decode() async for chunk in engine.logs(container, follow=False)
        ]

    await until(said)
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                assert b"canary-5b" not in (entry / "cmdline").read_bytes()
            except OSError:
                continue
    await engine.close()


async def test_containers_know_each_other_by_alias(podman: Podman, home: Path):
    engine = make_podman_engine(podman, home)
    await engine.create_network("alias-net", NODE)
    server = await engine.create(
        ContainerSpec("server", WEB, NODE, network="alias-net", aliases=("web", "www"))
    )
    await engine.start(server)
    script = "for i in 1 2 3 4 5 6 7 8 9; do wget -qO- http://web:8080/ && exit; sleep 0.2; done"
    client = await run(engine, "client", script, network="alias-net")
    assert "hello" in await output(engine, client)
    await engine.close()


async def test_volumes_keep_their_content_and_directories_can_be_read_only(
    podman: Podman, home: Path, tmp_path: Path
):
    engine = make_podman_engine(podman, home)
    await engine.create_volume("kept", NODE)
    (tmp_path / "given.txt").write_text("given\n")
    mounts = (Mount("kept", "/data"), Mount(str(tmp_path), "/given", read_only=True))
    first = await run(engine, "first", "echo kept > /data/x; touch /given/y", mounts=mounts)
    assert "Read-only" in await output(engine, first)
    await engine.remove(first)
    second = await run(engine, "second", "cat /data/x /given/given.txt", mounts=mounts)
    assert await output(engine, second) == "kept\ngiven\n"
    await engine.close()


async def test_gains_no_privileges_and_leaves_no_zombies(podman: Podman, home: Path):
    engine = make_podman_engine(podman, home)
    script = "grep NoNewPrivs /proc/self/status; (sleep 0.1 & ) ; sleep 0.5; ps -o stat,comm"
    container = await run(engine, "safe", script)
    said = await output(engine, container)
    assert "NoNewPrivs:\t1" in said
    assert "Z" not in said
    facts = await engine.describe()
    assert facts.init is True
    await engine.close()


async def test_a_terminal_has_a_size(podman: Podman, home: Path):
    engine = make_podman_engine(podman, home)
    container = await run(engine, "term", "sleep 100")
    session = await engine.exec(
        container, ("sh", "-c", "read x; stty size; echo $x $WHO; pwd; exit 4"),
        tty=True, stdin=True, env={"WHO": "me"}, cwd="/tmp",
    )  # fmt: skip
    await session.resize(33, 99)
    await session.write(b"typed\n")
    said = b"".join([chunk.data async for chunk in session.output()])
    assert b"33 99" in said
    assert b"typed me" in said
    assert b"/tmp" in said
    assert await session.exit_code() == 4
    await session.close()
    await engine.close()


async def test_a_command_that_is_not_there_says_so(podman: Podman, home: Path):
    engine = make_podman_engine(podman, home)
    container = await run(engine, "bare", "sleep 100")
    session = await engine.exec(container, ("no-such-program",))
    said = b"".join([chunk.data async for chunk in session.output()])
    assert b"no-such-program" in said
    assert await session.exit_code() == 127
    await session.close()
    with pytest.raises(NotFoundError):
        await engine.exec("nobody", ("true",))
    await engine.close()


async def test_much_output_of_a_command_waits_for_its_reader(podman: Podman, home: Path):
    engine = make_podman_engine(podman, home)
    container = await run(engine, "much", "sleep 100")
    session = await engine.exec(
        container, ("sh", "-c", "dd if=/dev/zero bs=65536 count=160; exit 6")
    )
    size = 0
    async for chunk in session.output():
        if chunk.stream == "stdout":
            if not size:
                await asyncio.sleep(2.5)  # longer than the engine remembers an ended command
            size += len(chunk.data)
    assert size == 160 * 65536
    assert await session.exit_code() == 6
    await session.close()
    await engine.close()


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


async def test_containers_run_on_without_the_daemon(podman: Podman, home: Path):
    engine = make_podman_engine(podman, home)
    container = await run(engine, "lasting", "trap 'exit 3' TERM; sleep 100 & wait")
    await engine.close()
    assert not Path(home / "run/containers/podman.sock").exists()
    again = make_podman_engine(podman, home)
    found = await again.list_containers(NODE)
    assert [(one.id, one.status) for one in found] == [(container, ContainerStatus.RUNNING)]
    await again.stop(container, 10)
    assert await again.wait(container) == 3
    await again.close()
    await until(lambda: podman.processes() == [])


async def test_tells_which_engine_it_found(podman: Podman, home: Path):
    engine = make_podman_engine(podman, home)
    assert engine.name == "podman"
    assert podman.processes() == []
    facts = await engine.describe()
    assert facts.engine == "podman"
    assert facts.service == "own"
    assert facts.version == await engine.version()
    assert facts.version[0].isdigit()
    assert Path(facts.socket).stat().st_mode & 0o077 == 0 or (
        Path(facts.socket).parent.stat().st_mode & 0o077 == 0
    )
    await engine.close()
    assert not Path(facts.socket).exists()
