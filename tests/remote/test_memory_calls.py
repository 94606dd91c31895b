"""The calls in memory behave as those over links do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

from covey.errors import ConflictError, UnreachableError
from covey.remote.call_client import PeerPlace
from covey.remote.calls import CallHeader
from covey.testing.memory_calls import MemoryPeers, call_pair
from tests.remote.members import (
    Fleet,
    Member,
    Word,
    echo,
    eventually,
    failure,
    flood,
    get_word,
    operation_of,
    wait_word,
)


class Pair:
    """freya calls frigg without any link."""

    def __init__(self, folder: Path) -> None:
        fleet = Fleet(folder)
        self.freya, self.frigg = fleet.member("freya"), fleet.member("frigg")
        serve = partial(self.frigg.server.serve, peer=self.freya.id, address="memory")
        self.peers = MemoryPeers({self.frigg.id: serve})

    def place(self, host: Member) -> PeerPlace:
        freya = self.freya
        return PeerPlace(host.name, host.id, self.peers, freya.asserter, freya.trail)

    async def results(self, function: Any, items: Any = None, **arguments: Any) -> list[Any]:
        found = operation_of(function)
        values = found.signature.arguments(**arguments)
        stream = self.place(self.frigg).stream(found, values, self.freya.context(), items)
        return [item async for item in stream]


async def words(*texts: str) -> AsyncIterator[Word]:
    for text in texts:
        yield Word(text)


def test_results_errors_and_input(tmp_path: Path):
    async def scene() -> None:
        pair = Pair(tmp_path)
        assert await pair.results(get_word, text="a") == [Word("a by frigg")]
        assert isinstance(await failure(pair.results(get_word, text="bad")), ConflictError)
        assert len(await pair.results(flood, count=100)) == 100
        texts = [str(number) for number in range(50)]
        found = await pair.results(echo, words(*texts))
        assert [item.text for item in found] == texts
        assert await pair.results(echo, words(*texts), most=1) == [Word("0")]

    asyncio.run(scene())


def test_cancelling_ends_the_operation(tmp_path: Path):
    async def scene() -> None:
        pair = Pair(tmp_path)
        waiting = asyncio.create_task(pair.results(wait_word))
        await eventually(lambda: pair.frigg.work.running == 1)
        waiting.cancel()
        await eventually(lambda: pair.frigg.work.running == 0)

    asyncio.run(scene())


def test_a_member_that_is_not_there_cannot_be_reached(tmp_path: Path):
    async def scene() -> None:
        pair = Pair(tmp_path)
        opening = pair.peers.open(pair.freya.id, CallHeader("word.get", b"", b""))
        assert isinstance(await failure(opening), UnreachableError)

    asyncio.run(scene())


def test_a_reader_that_stops_holds_its_sender_back():
    async def scene() -> None:
        caller, server = call_pair()
        sent = 0

        async def send() -> None:
            nonlocal sent
            while True:
                await server.send(b"item")
                sent += 1

        sending = asyncio.create_task(send())
        for _ in range(100):
            await asyncio.sleep(0)
        assert 0 < sent < 20
        before = sent
        assert await caller.receive() == b"item"
        await eventually(lambda: sent > before)
        sending.cancel()

    asyncio.run(scene())
