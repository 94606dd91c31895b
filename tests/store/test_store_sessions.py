"""Whole stores that exchange over real sessions."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from covey.errors import UnreachableError
from covey.store.api import Change, NodeId
from covey.store.exchange import Exchange
from tests.store.store_nodes import StoreNode, introduce

Frames = asyncio.Queue[bytes]
Make = Callable[..., StoreNode]


class Pipe:
    """One end of a channel in memory."""

    def __init__(
        self, peer: NodeId, sends: asyncio.Queue[bytes], reads: asyncio.Queue[bytes]
    ) -> None:
        self.peer = peer
        self._sends = sends
        self._reads = reads

    async def send(self, frame: bytes) -> None:
        await self._sends.put(frame)

    async def receive(self) -> bytes:
        frame = await self._reads.get()
        if not frame:
            raise UnreachableError("The peer is gone.")
        return frame

    async def close(self) -> None:
        await self._sends.put(b"")


def connect(one: StoreNode, other: StoreNode) -> list[asyncio.Task[object]]:
    there: Frames = asyncio.Queue(8)
    back: Frames = asyncio.Queue(8)
    ends = [
        Exchange(Pipe(other.id, there, back), one.replica),
        Exchange(Pipe(one.id, back, there), other.replica),
    ]
    return [asyncio.create_task(end.run()) for end in ends]


async def until(probe: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not probe():
            await asyncio.sleep(0.005)


def test_three_nodes_and_a_relay_come_to_agree(make_node: Make):
    async def main() -> None:
        a, b, c = [await make_node(name).start() for name in "abc"]
        relay = await make_node("r", relay=True).start()
        everyone = [a, b, c, relay]
        introduce(everyone)
        await a.records.write([Change("env", f"A{n:04}", b"%d" % n) for n in range(2500)])
        await b.set("BOTH", b"from b")
        await c.set("BOTH", b"from c")
        tasks = [*connect(a, relay), *connect(relay, b), *connect(relay, c)]
        await until(lambda: len(a.state()) == 2501 and a.state() == b.state() == c.state())
        assert len(a.records.conflicts("env")) == 1
        await c.set("LIVE", b"now")
        await until(lambda: a.value("LIVE") == b.value("LIVE") == b"now")
        assert relay.state() == {}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for node in everyone:
            assert node.store.health().quarantined == ()
            await node.stop()

    asyncio.run(main())


def test_a_damaged_node_is_made_whole_by_a_session(make_node: Make):
    async def main() -> None:
        a, b = await make_node("a").start(), await make_node("b").start()
        introduce([a, b])
        await a.set("A", b"1")
        tasks = connect(a, b)
        await until(lambda: b.value("A") == b"1")
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await a.stop()
        if a.home is not None:
            (a.home / "covey.db").unlink()
        else:
            a.log = type(a.log)()
        await a.start()
        assert a.store.health().fence is not None
        tasks = connect(a, b)
        await until(lambda: a.store.health().fence is None)
        assert (await a.set("A", b"2")).seq == 2
        await until(lambda: b.value("A") == b"2")
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await a.stop()
        await b.stop()

    asyncio.run(main())
