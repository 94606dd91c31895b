"""What only real engines can show: limits, networks, volumes, terminals."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from covey.apps.containers import ContainerSpec, Mount, Resources
from covey.errors import NotFoundError
from tests.engines.containers.conftest import OpenRealEngine
from tests.engines.containers.laboratories import NODE
from tests.images import PYTHON, WEB
from tests.waiting import until


async def test_memory_is_limited(real: OpenRealEngine):
    async with real() as box:
        script = 'python3 -c "print(len(chr(120) * (300 << 20)))"'
        container = await box.run(
            "hungry", script, image=PYTHON, resources=Resources(memory_bytes=64 << 20)
        )
        assert await box.engine.wait(container) == 137
        # Version 1 tells Podman nothing.
        if box.engine.name == "docker" or Path("/sys/fs/cgroup/cgroup.controllers").exists():
            state = await box.engine.inspect(container)
            assert state is not None
            assert state.out_of_memory


async def test_cpus_and_processes_are_limited(real: OpenRealEngine):
    async with real() as box:
        script = "for i in $(seq 40); do sleep 3 & done; wait"
        container = await box.run("many", script, resources=Resources(cpus=0.5, pids=20))
        assert "fork" in await box.output(container)
        told = box.program.run("inspect", "--format", "{{.HostConfig.NanoCpus}}", container)
        assert told.strip() == "500000000"


async def test_output_is_limited_and_followed_over_its_rotation(real: OpenRealEngine):
    async with real() as box:
        script = (
            "i=0; while [ $i -lt 6000 ]; do echo line number $i of many; i=$((i+1)); done; echo end"
        )
        container = await box.run("loud", script, log_bytes=64 << 10)
        assert "end\n" in await box.output(container)
        told = "{{.HostConfig.LogConfig.Path}}" if box.engine.name == "podman" else "{{.LogPath}}"
        path = Path(box.program.run("inspect", "--format", told, container).strip())
        kept = sum(one.stat().st_size for one in path.parent.glob(f"{path.name}*"))
        assert 1 << 10 < kept <= 80 << 10
        last = [chunk.data async for chunk in box.engine.logs(container, follow=False, tail=1)]
        assert last == [b"end\n"]


async def test_variables_reach_it_and_no_process_list(real: OpenRealEngine):
    async with real() as box:
        container = await box.run("env", 'echo "got $A"; sleep 60', env={"A": "canary-5b x=y"})

        async def said() -> bool:
            return "got canary-5b x=y\n" in [
                chunk.data.decode() async for chunk in box.engine.logs(container, follow=False)
            ]

        await until(said)
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    assert b"canary-5b" not in (entry / "cmdline").read_bytes()
                except OSError:
                    continue


async def test_containers_know_each_other_by_alias(real: OpenRealEngine):
    async with real() as box:
        await box.engine.create_network("alias-net", NODE)
        server = await box.engine.create(
            ContainerSpec("server", WEB, NODE, network="alias-net", aliases=("web", "www"))
        )
        await box.engine.start(server)
        script = (
            "for i in 1 2 3 4 5 6 7 8 9; do wget -qO- http://web:8080/ && exit; sleep 0.2; done"
        )
        client = await box.run("client", script, network="alias-net")
        assert "hello" in await box.output(client)


async def test_volumes_keep_their_content_and_directories_can_be_read_only(
    real: OpenRealEngine, tmp_path: Path
):
    async with real() as box:
        await box.engine.create_volume("kept", NODE)
        (tmp_path / "given.txt").write_text("given\n")
        mounts = (Mount("kept", "/data"), Mount(str(tmp_path), "/given", read_only=True))
        first = await box.run("first", "echo kept > /data/x; touch /given/y", mounts=mounts)
        assert "Read-only" in await box.output(first)
        await box.engine.remove(first)
        second = await box.run("second", "cat /data/x /given/given.txt", mounts=mounts)
        assert await box.output(second) == "kept\ngiven\n"


async def test_gains_no_privileges_and_leaves_no_zombies(real: OpenRealEngine):
    async with real() as box:
        script = "grep NoNewPrivs /proc/self/status; (sleep 0.1 & ) ; sleep 0.5; ps -o stat,comm"
        container = await box.run("safe", script)
        said = await box.output(container)
        assert "NoNewPrivs:\t1" in said
        assert "Z" not in said
        facts = await box.engine.describe()
        assert facts.init is True


async def test_a_terminal_has_a_size(real: OpenRealEngine):
    async with real() as box:
        container = await box.run("term", "sleep 100")
        session = await box.engine.exec(
            container, ("sh", "-c", "echo ready; read x; stty size; echo $x $WHO; pwd; exit 4"),
            tty=True, stdin=True, env={"WHO": "me"}, cwd="/tmp",
        )  # fmt: skip
        said = b""
        async for chunk in session.output():
            if not said:
                await session.resize(33, 99)
                await session.write(b"typed\n")
            said += chunk.data
        assert b"33 99" in said
        assert b"typed me" in said
        assert b"/tmp" in said
        assert await session.exit_code() == 4
        await session.close()


async def test_a_command_that_is_not_there_says_so(real: OpenRealEngine):
    async with real() as box:
        container = await box.run("bare", "sleep 100")
        session = await box.engine.exec(container, ("no-such-program",))
        said = b"".join([chunk.data async for chunk in session.output()])
        assert b"no-such-program" in said
        assert await session.exit_code() in {126, 127}  # Docker before 27: 126
        await session.close()
        with pytest.raises(NotFoundError):
            await box.engine.exec("nobody", ("true",))


async def test_much_output_of_a_command_waits_for_its_reader(real: OpenRealEngine):
    async with real() as box:
        container = await box.run("much", "sleep 100")
        session = await box.engine.exec(
            container, ("sh", "-c", "dd if=/dev/zero bs=65536 count=160; exit 6")
        )
        size = 0
        async for chunk in session.output():
            if chunk.stream == "stdout":
                if not size:
                    await asyncio.sleep(2.5)  # longer than Podman remembers it
                size += len(chunk.data)
        assert size == 160 * 65536
        assert await session.exit_code() == 6
        await session.close()


async def test_images_have_whole_names(real: OpenRealEngine):
    async with real() as box:
        image = await box.engine.image(PYTHON)
        assert image is not None
        assert image.tags == (PYTHON,)
        container = await box.run("limits", "ulimit -n", image=PYTHON)
        assert (await box.output(container)).strip().isdigit()
