"""What an app prints: the last lines, and those that come, also of later deployments."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest

from covey.apps.containers import ContainerSpec, ContainerState, OutputChunk
from covey.apps.oneoff import lines_of
from covey.apps.output import AppLine, AppOutput
from covey.errors import LockedError, UnreachableError
from covey.testing.memory_containers import Behaviour
from tests.apps.laboratory import Laboratory


def says(*lines: str) -> Behaviour:
    return Behaviour(serves=8080, lines=lines)


async def test_the_last_lines_of_each_container(lab: Laboratory):
    lab.version("v1", says("one", "two", "three"), deploy={"replicas": 2})
    await lab.deploy("shop", "v1")
    found = lab.services.get(AppOutput).lines("shop", process=None, tail=2, follow=False)
    lines = [line async for line in found]
    assert all(line.at is not None for line in lines)
    assert [(line.source, line.text, line.deployment) for line in lines] == [
        ("web.0", "two", 1),
        ("web.0", "three", 1),
        ("web.1", "two", 1),
        ("web.1", "three", 1),
    ]


async def test_following_goes_on_with_the_next_version(lab: Laboratory):
    lab.version("v1", says("first"))
    lab.version("v2", says("second"))
    await lab.deploy("shop", "v1")
    heard: asyncio.Queue[AppLine] = asyncio.Queue()

    async def listen() -> None:
        lines = lab.services.get(AppOutput).lines("shop", process="web", tail=10, follow=True)
        async with aclosing(lines) as found:  # type: ignore[type-var]
            async for line in found:
                heard.put_nowait(line)

    listening = asyncio.create_task(listen())
    line = await asyncio.wait_for(heard.get(), 10)
    assert (line.text, line.deployment) == ("first", 1)
    await lab.deploy("shop", "v2")
    line = await asyncio.wait_for(heard.get(), 10)
    assert (line.text, line.deployment) == ("second", 2)
    listening.cancel()
    await asyncio.gather(listening, return_exceptions=True)


async def test_lines_are_put_together_of_their_pieces():
    async def pieces() -> AsyncIterator[OutputChunk]:
        for stream, data in (
            ("stdout", "grü".encode()[:3]),
            ("stderr", b"oh"),
            ("stdout", "grü".encode()[3:] + b"n\r\nand "),
            ("stdout", b"x" * 200_000),
            ("stdout", b"x" * 200_000 + b"\nlast"),
            ("stderr", b" no\n\n"),
        ):
            yield OutputChunk(stream, data)

    found = [line async for line in lines_of(pieces())]
    cut = "and " + "x" * (65_536 - 4) + " … (the rest of the line is left out)"
    assert found == ["grün", cut, "oh no", "", "last"]


async def test_following_loses_nothing_of_a_restart_and_ends_with_the_app(lab: Laboratory):
    lab.version("v1", says("first"))
    await lab.deploy("shop", "v1")
    heard: asyncio.Queue[AppLine] = asyncio.Queue()

    async def listen() -> None:
        lines = lab.services.get(AppOutput).lines("shop", process=None, tail=10, follow=True)
        async for line in lines:
            heard.put_nowait(line)

    listening = asyncio.create_task(listen())
    assert (await asyncio.wait_for(heard.get(), 10)).text == "first"
    [container] = await lab.containers("shop")
    # It ends, and prints its line again once it is started again.
    await lab.engine.kill(container.id, "SIGKILL")
    assert (await asyncio.wait_for(heard.get(), 10)).text == "first"
    assert heard.empty()
    theirs = lab.specs("shop")[0].image
    await lab.engine.create(ContainerSpec("debugging", theirs, {}))
    await lab.apps.destroy(lab.app("shop"), volumes=False)
    await asyncio.wait_for(listening, 10)
    assert heard.empty()


async def test_an_engine_that_is_away_is_told(lab: Laboratory):
    async def away(_: object) -> list[ContainerState]:
        raise UnreachableError("Podman does not answer.")

    lab.engine.list_containers = away  # type: ignore[method-assign]
    for follow in (False, True):
        lines = lab.services.get(AppOutput).lines("shop", process=None, tail=1, follow=follow)
        with pytest.raises(UnreachableError):
            await anext(lines)


async def test_following_ends_when_nobody_can_tell_whether_the_app_is_there(lab: Laboratory):
    def locked(_: str) -> bool:
        raise LockedError("The records are locked.")

    output = AppOutput(lab.engine, lab.hosting.here.naming, locked)
    lines = output.lines("shop", process=None, tail=1, follow=True)
    with pytest.raises(LockedError):
        await asyncio.wait_for(anext(lines), 10)
