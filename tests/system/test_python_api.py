"""The Python interface against two real daemons."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator

import pytest

import covey
from covey.client.processes import CommandFailedError
from covey.errors import NotFoundError, RefusedError, UnreachableError
from tests.system.harness import Node, eventually, new_fleet
from tests.system.test_exec import reaches, running

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def freya() -> Iterator[Node]:
    with new_fleet() as fleet:
        freya = fleet.founder("freya")
        fleet.member(freya, "frigg")
        eventually(lambda: reaches(freya, "frigg"))
        yield freya


def test_importing_the_package_loads_none_of_it() -> None:
    code = "import sys, covey; print('covey.client' in sys.modules, 'asyncio' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False False\n"


async def test_a_command_runs_to_its_end(freya: Node) -> None:
    async with covey.connect(home=str(freya.home)) as fleet:
        frigg = fleet.host("frigg")
        data = os.urandom(3_000_000)
        assert (await frigg.exec("cat", input=data)).stdout == data
        done = await frigg.exec("sh", "-c", 'echo "$A"; echo no >&2; exit 3', env={"A": "x y"})
        assert (done.status, done.text, done.stderr, done.ok) == (3, "x y\n", b"no\n", False)
        assert (await frigg.exec("kill -TERM $$", shell=True)).signal == "SIGTERM"
        with pytest.raises(CommandFailedError) as failure:
            await frigg.exec("false", check=True)
        assert failure.value.completed.status == 1


async def test_output_streams_while_input_goes_in(freya: Node) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"one\n"
        yield b"two\n"

    async with covey.connect(home=str(freya.home)) as fleet:
        frigg = fleet.host("frigg")
        assert (await frigg.exec("cat", input=pieces())).stdout == b"one\ntwo\n"
        words = ["sh", "-c", "echo out; echo err >&2"]
        found = {chunk.channel: chunk.data async for chunk in frigg.stream(*words)}
        assert found == {"stdout": b"out\n", "stderr": b"err\n"}
        async with frigg.stream("cat") as process:
            chunks = aiter(process)
            await process.write(b"ping\n")
            assert (await anext(chunks)).data == b"ping\n"
            await process.send_signal("TERM")
            async for _ in chunks:
                pass
            assert process.signal == "SIGTERM"


async def test_whoever_leaves_a_stream_ends_the_command(freya: Node) -> None:
    mark = f"8{int.from_bytes(os.urandom(4), 'big')}"
    async with covey.connect(home=str(freya.home)) as fleet:
        async with fleet.host("frigg").stream("sleep", mark):
            await asyncio.to_thread(eventually, lambda: running(mark))
        await asyncio.to_thread(eventually, lambda: not running(mark))


async def test_any_operation_is_called_by_its_name(freya: Node) -> None:
    async with covey.connect(home=str(freya.home)) as fleet:
        await fleet.call("env.set", name="FROM_PYTHON", value="1")
        assert (await fleet.call("env.get", name="FROM_PYTHON"))["value"] == "1"
        assert (await fleet.host("frigg").call("node.status"))["name"] == "frigg"
        lines = [item async for item in fleet.host("frigg").items("node.logs", lines=2)]
        assert 0 < len(lines) <= 2
        answers = {item.host: item.ok async for item in fleet.all().call("node.status")}
        assert answers == {"freya": True, "frigg": True}


async def test_several_hosts_answer_each_for_itself(freya: Node) -> None:
    async with covey.connect(home=str(freya.home)) as fleet:
        done = await fleet.hosts("freya", "frigg").exec("sh", "-c", "echo hi; exit 2")
        assert {item.host for item in done} == {"freya", "frigg"}
        assert {item.completed.text for item in done if item.completed} == {"hi\n"}
        assert not any(item.ok for item in done)
        (alone,) = await fleet.hosts("frigg").exec("true")
        assert alone.ok


async def test_errors_are_of_their_class(freya: Node) -> None:
    async with covey.connect(home=str(freya.home)) as fleet:
        with pytest.raises(NotFoundError):
            await fleet.host("nobody").exec("true")
        with pytest.raises(NotFoundError):
            await fleet.host("frigg").exec("no-such-program")
        with pytest.raises(NotFoundError):
            await fleet.call("no.operation")
    with pytest.raises(UnreachableError):
        async with covey.connect(home=str(freya.home / "nowhere")):
            pass


async def test_a_node_is_reached_by_its_url(freya: Node) -> None:
    made = freya.json("token", "create", "python", "--role", "viewer")
    authority = freya.home / "fleet.pem"
    authority.write_text(freya.out("fleet", "authority"))
    url = f"https://{freya.address}"
    async with covey.connect(url, token=made["token"], ca_file=str(authority)) as fleet:
        assert (await fleet.call("node.status"))["name"] == "freya"
        with pytest.raises(RefusedError):
            await fleet.host("frigg").exec("true")
