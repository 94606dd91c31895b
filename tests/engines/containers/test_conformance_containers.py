"""Containers behave the same in the engine in memory and in Podman."""

from __future__ import annotations

import asyncio
from contextlib import closing

import pytest

from covey.apps.containers import ContainerSpec, ContainerStatus, Mount
from covey.errors import ConflictError, NotFoundError
from covey.testing.memory_container import Behaviour, Outcome
from tests.engines.containers.conftest import OpenLaboratory
from tests.engines.containers.laboratories import NODE, Laboratory, run
from tests.waiting import until

IMAGE = "localhost/conform/app:1"
STAYS = Behaviour()


async def ask(lab: Laboratory, container: str, port: int = 8080) -> bytes:
    state = await lab.engine.inspect(container)
    assert state is not None
    reader, writer = await asyncio.open_connection(*state.ports[port])
    with closing(writer):
        writer.write(b"GET / HTTP/1.1\r\nHost: app\r\nConnection: close\r\n\r\n")
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        size = next(line for line in head.split(b"\r\n") if line.startswith(b"content-length"))
        return await reader.readexactly(int(size.split(b":")[1]))


async def answers(lab: Laboratory, container: str) -> bytes | None:
    try:
        return await ask(lab, container)
    except (OSError, asyncio.IncompleteReadError):
        return None


async def test_serves_on_ports_that_the_engine_chooses(laboratory: OpenLaboratory):
    async with laboratory() as lab:
        image = await lab.image(IMAGE, Behaviour(serves=8080, body=b"from the app\n"))
        first = await run(lab, "first", image, ports=(8080,))
        second = await run(lab, "second", image, ports=(8080,))
        for container in (first, second):
            await until(lambda one=container: answers(lab, one), within_s=30)
            assert await ask(lab, container) == b"from the app\n"
        states = await lab.engine.list_containers(NODE)
        assert len({state.ports[8080][1] for state in states}) == 2
        assert {state.ports[8080][0] for state in states} == {"127.0.0.1"}


async def test_its_life_is_told(laboratory: OpenLaboratory):
    async with laboratory() as lab:
        image = await lab.image(IMAGE, STAYS)
        made = await lab.engine.create(ContainerSpec("one", image, {**NODE, "covey.app": "a"}))
        state = await lab.engine.inspect("one")
        assert state is not None
        assert (state.id, state.name, state.status) == (made, "one", ContainerStatus.CREATED)
        assert state.labels.items() >= {**NODE, "covey.app": "a"}.items()
        described = await lab.engine.image(image)
        assert described is not None
        assert state.image_id == described.id
        assert (state.started, state.ended, state.exit_code) == (None, None, None)
        await lab.engine.start(made)
        await lab.engine.start(made)
        state = await lab.engine.inspect(made)
        assert state is not None
        assert state.status is ContainerStatus.RUNNING
        assert state.started is not None
        assert state.exit_code is None
        await lab.engine.stop(made, 10)
        state = await lab.engine.inspect(made)
        assert state is not None
        assert (state.status, state.exit_code) == (ContainerStatus.EXITED, 143)
        assert state.ended is not None
        assert state.started is not None
        assert state.ended >= state.started
        await lab.engine.start(made)
        state = await lab.engine.inspect(made)
        assert state is not None
        assert state.status is ContainerStatus.RUNNING


async def test_a_taken_name_is_a_conflict(laboratory: OpenLaboratory):
    async with laboratory() as lab:
        image = await lab.image(IMAGE, STAYS)
        await lab.engine.create(ContainerSpec("one", image, NODE))
        with pytest.raises(ConflictError):
            await lab.engine.create(ContainerSpec("one", image, NODE))


async def test_a_missing_image_is_not_found(laboratory: OpenLaboratory):
    async with laboratory() as lab:
        with pytest.raises(NotFoundError, match="nowhere"):
            await lab.engine.create(ContainerSpec("one", "localhost/nowhere:1", NODE))
        assert await lab.engine.inspect("one") is None


async def test_a_crash_is_told_with_its_status(laboratory: OpenLaboratory):
    async with laboratory() as lab:
        image = await lab.image(IMAGE, Behaviour(exits=7, lines=("cannot go on",)))
        container = await run(lab, "one", image)
        assert await lab.engine.wait(container) == 7
        state = await lab.engine.inspect(container)
        assert state is not None
        assert (state.status, state.exit_code) == (ContainerStatus.EXITED, 7)
        assert not state.out_of_memory


async def test_waits_for_one_that_runs(laboratory: OpenLaboratory):
    async with laboratory() as lab:
        image = await lab.image(IMAGE, Behaviour(exits=3, ends_s=0.3))
        container = await run(lab, "one", image)
        assert await lab.engine.wait(container) == 3
        with pytest.raises(NotFoundError):
            await lab.engine.wait("nobody")


async def test_one_that_ignores_its_end_is_killed_after_the_grace(laboratory: OpenLaboratory):
    async with laboratory() as lab:
        image = await lab.image(IMAGE, Behaviour(ignores_sigterm=True, lines=("ready",)))
        container = await run(lab, "one", image)
        await first_line(lab, container)
        await lab.engine.stop(container, 1)
        assert await lab.engine.wait(container) == 137


async def test_stopping_what_is_over_is_no_error(laboratory: OpenLaboratory):
    async with laboratory() as lab:
        image = await lab.image(IMAGE, Behaviour(exits=0))
        container = await run(lab, "one", image)
        await lab.engine.wait(container)
        await lab.engine.stop(container, 1)
        await lab.engine.remove(container)
        await lab.engine.stop(container, 1)
        await lab.engine.remove(container)
        assert await lab.engine.inspect(container) is None


async def test_removes_one_that_runs(laboratory: OpenLaboratory):
    async with laboratory() as lab:
        image = await lab.image(IMAGE, STAYS)
        container = await run(lab, "one", image)
        await lab.engine.remove(container)
        assert await lab.engine.list_containers(NODE) == []


async def test_signals_reach_it(laboratory: OpenLaboratory):
    async with laboratory() as lab:
        image = await lab.image(IMAGE, Behaviour(lines=("ready",)))
        container = await run(lab, "one", image)
        await first_line(lab, container)
        await lab.engine.kill(container, "SIGTERM")
        assert await lab.engine.wait(container) == 143
        await lab.engine.kill(container, "SIGTERM")
        with pytest.raises(NotFoundError):
            await lab.engine.kill("nobody", "SIGTERM")


async def test_lists_only_what_has_all_labels(laboratory: OpenLaboratory):
    async with laboratory() as lab:
        image = await lab.image(IMAGE, STAYS)
        labels = ({**NODE, "covey.app": "a"}, {**NODE, "covey.app": "b"}, {"covey.app": "a"})
        for number, one in enumerate(labels):
            await lab.engine.create(ContainerSpec(f"c{number}", image, one))
        found = await lab.engine.list_containers({**NODE, "covey.app": "a"})
        assert [state.name for state in found] == ["c0"]
        assert len(await lab.engine.list_containers(NODE)) == 2


async def test_output_is_kept_and_cut_to_its_tail(laboratory: OpenLaboratory):
    async with laboratory() as lab:
        lines = tuple(f"line {number}" for number in range(20))
        behaviour = Behaviour(exits=0, lines=lines, error_lines=("trouble",))
        container = await run(lab, "one", await lab.image(IMAGE, behaviour))
        await lab.engine.wait(container)
        chunks = [chunk async for chunk in lab.engine.logs(container, follow=False)]
        said = b"".join(chunk.data for chunk in chunks if chunk.stream == "stdout").decode()
        assert said.splitlines() == list(lines)
        assert b"".join(c.data for c in chunks if c.stream == "stderr") == b"trouble\n"
        assert all(chunk.at is not None for chunk in chunks)
        behaviour = Behaviour(exits=0, lines=lines)
        silent = await run(lab, "two", await lab.image(f"{IMAGE}0", behaviour))
        await lab.engine.wait(silent)
        last = [chunk.data async for chunk in lab.engine.logs(silent, follow=False, tail=3)]
        assert b"".join(last) == b"line 17\nline 18\nline 19\n"


async def test_output_is_followed_to_the_end(laboratory: OpenLaboratory):
    async with laboratory() as lab:
        behaviour = Behaviour(exits=0, ends_s=0.4, lines=("a", "b"))
        container = await run(lab, "one", await lab.image(IMAGE, behaviour))
        chunks = [chunk.data async for chunk in lab.engine.logs(container, follow=True)]
        assert b"".join(chunks) == b"a\nb\n"
        with pytest.raises(NotFoundError):
            async for _ in lab.engine.logs("nobody", follow=True):
                pass


async def test_runs_commands_in_it(laboratory: OpenLaboratory):
    async with laboratory() as lab:
        outcome = Outcome(5, b"answer", b"warning")
        image = await lab.image(IMAGE, Behaviour(commands={("ask",): outcome}))
        container = await run(lab, "one", image)
        session = await lab.engine.exec(container, ("ask",))
        chunks = [chunk async for chunk in session.output()]
        assert {chunk.stream: chunk.data for chunk in chunks} == {
            "stdout": b"answer",
            "stderr": b"warning",
        }
        assert await session.exit_code() == 5
        await session.close()


async def test_gives_a_command_input(laboratory: OpenLaboratory):
    async with laboratory() as lab:
        container = await run(lab, "one", await lab.image(IMAGE, STAYS))
        session = await lab.engine.exec(container, ("cat",), stdin=True)
        await session.write(b"over and ")
        await session.write(b"back\n")
        await session.close_input()
        assert b"".join([chunk.data async for chunk in session.output()]) == b"over and back\n"
        assert await session.exit_code() == 0
        await session.close()


async def test_runs_no_command_in_one_that_is_over(laboratory: OpenLaboratory):
    async with laboratory() as lab:
        container = await run(lab, "one", await lab.image(IMAGE, Behaviour(exits=0)))
        await lab.engine.wait(container)
        with pytest.raises(ConflictError):
            await lab.engine.exec(container, ("true",))


async def test_measures_one_that_runs(laboratory: OpenLaboratory):
    async with laboratory() as lab:
        container = await run(lab, "one", await lab.image(IMAGE, STAYS))
        usage = await lab.engine.usage(container)
        assert usage.cpu_seconds > 0
        assert 0 < usage.memory_bytes < 1 << 30
        await lab.engine.stop(container, 10)
        with pytest.raises(ConflictError):
            await lab.engine.usage(container)


async def test_events_tell_of_this_nodes_containers(laboratory: OpenLaboratory):
    async with laboratory() as lab:
        image = await lab.image(IMAGE, STAYS)
        events = lab.engine.events()
        seen: list[tuple[str, str]] = []
        ready = asyncio.Event()

        async def watch() -> None:
            async for event in events:
                if event.labels.get("covey.app") == "probe":
                    ready.set()
                elif event.action in {"start", "die", "destroy"}:
                    seen.append((event.container_id, event.action))

        watching = asyncio.create_task(watch())
        number = 0
        while not ready.is_set():  # events come "from now on": see them before counting
            probe = await lab.engine.create(
                ContainerSpec(f"p{number}", image, {**NODE, "covey.app": "probe"})
            )
            await lab.engine.start(probe)
            await lab.engine.remove(probe)
            number += 1
            await asyncio.sleep(0.05)
        foreign = await lab.engine.create(ContainerSpec("foreign", image, {"other": "x"}))
        await lab.engine.start(foreign)
        ours = await run(lab, "ours", image)
        await lab.engine.stop(ours, 10)
        await lab.engine.remove(ours)
        await lab.engine.remove(foreign)
        wanted = [(ours, "start"), (ours, "die"), (ours, "destroy")]
        await until(lambda: seen == wanted)
        watching.cancel()


async def test_volumes_are_made_once(laboratory: OpenLaboratory):
    async with laboratory() as lab:
        for _ in range(2):
            await lab.engine.create_volume("data", NODE)
        await lab.engine.create_volume("foreign", {"other": "x"})
        assert await lab.engine.list_volumes(NODE) == ["data"]
        with pytest.raises(ConflictError):
            await lab.engine.create_volume("foreign", NODE)
        image = await lab.image(IMAGE, STAYS)
        container = await run(lab, "one", image, mounts=(Mount("data", "/data"),))
        with pytest.raises(ConflictError):
            await lab.engine.remove_volume("data")
        await lab.engine.remove(container)
        for _ in range(2):
            await lab.engine.remove_volume("data")
        assert await lab.engine.list_volumes({}) == ["foreign"]


async def test_networks_are_made_once(laboratory: OpenLaboratory):
    async with laboratory() as lab:
        for _ in range(2):
            await lab.engine.create_network("conform-net", NODE)
        await lab.engine.create_network("conform-foreign", {"other": "x"})
        assert await lab.engine.list_networks(NODE) == ["conform-net"]
        with pytest.raises(ConflictError):
            await lab.engine.create_network("conform-foreign", NODE)
        image = await lab.image(IMAGE, STAYS)
        container = await run(lab, "one", image, network="conform-net", aliases=("web",))
        with pytest.raises(ConflictError):
            await lab.engine.remove_network("conform-net")
        await lab.engine.remove(container)
        for _ in range(2):
            await lab.engine.remove_network("conform-net")
        assert await lab.engine.list_networks(NODE) == []


async def first_line(lab: Laboratory, container: str) -> bytes:
    async for chunk in lab.engine.logs(container, follow=True):
        return chunk.data
    raise AssertionError("it said nothing")
