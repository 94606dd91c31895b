"""A peer that answers late is doubted, and one that answers no more is cut off."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from covey.errors import UnreachableError
from covey.fleet import pulse
from covey.fleet.pulse import Pulse
from covey.store.api import NodeId


class Line:
    """A channel whose other end answers while `alive` is set, and which is cut by `abort`."""

    def __init__(self) -> None:
        self.alive = asyncio.Event()
        self.alive.set()
        self.cut = asyncio.Event()
        self.frames: asyncio.Queue[bytes] = asyncio.Queue()

    @property
    def peer(self) -> NodeId:
        return NodeId("a" * 32)

    async def send(self, frame: bytes) -> None:
        self.frames.put_nowait(frame)

    async def receive(self) -> bytes:
        return await self.frames.get()

    async def close(self) -> None:
        self.cut.set()

    async def ping(self) -> None:
        if self.cut.is_set():
            raise UnreachableError("cut")
        await self.alive.wait()

    def abort(self) -> None:
        self.cut.set()


@pytest.fixture(autouse=True)
def _in_less_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pulse, "FAST_S", 0.01)
    monkeypatch.setattr(pulse, "DOUBT_S", 0.03)
    monkeypatch.setattr(pulse, "GIVE_UP_S", 0.3)


def beating(body: Callable[[Line, Pulse, list[bool]], Awaitable[None]], *, reads: bool) -> None:
    async def run() -> None:
        line = Line()
        made = Pulse(line)
        told: list[bool] = []
        made.quicken(fast=True)
        tasks = [asyncio.create_task(made.beat(lambda: told.append(made.doubted)))]
        if reads:
            tasks.append(asyncio.create_task(made.receive()))  # type: ignore[arg-type]
        try:
            async with asyncio.timeout(5):
                await body(line, made, told)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    asyncio.run(run())


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.001)


def test_a_peer_that_answers_late_is_doubted_and_trusted_again() -> None:
    async def body(line: Line, made: Pulse, told: list[bool]) -> None:
        await until(lambda: made.round_trip_s is not None)
        line.alive.clear()
        await until(lambda: made.doubted)
        line.alive.set()
        await until(lambda: not made.doubted)
        assert told == [True, False]
        assert not line.cut.is_set()

    beating(body, reads=True)


def test_a_peer_that_answers_no_more_is_cut_off() -> None:
    async def body(line: Line, made: Pulse, _told: list[bool]) -> None:
        line.alive.clear()
        await line.cut.wait()
        assert made.doubted

    beating(body, reads=True)


def test_silence_counts_only_while_somebody_listens_here() -> None:
    async def body(line: Line, made: Pulse, told: list[bool]) -> None:
        line.alive.clear()
        await asyncio.sleep(2 * pulse.GIVE_UP_S)
        assert not line.cut.is_set()
        assert told == []

    beating(body, reads=False)


def test_what_is_heard_is_an_answer() -> None:
    async def body(line: Line, made: Pulse, _told: list[bool]) -> None:
        line.alive.clear()
        for _ in range(20):
            await line.send(b"still here")
            assert await made.receive() == b"still here"
            await asyncio.sleep(pulse.GIVE_UP_S / 10)
        assert not line.cut.is_set()

    beating(body, reads=False)


def test_asking_once() -> None:
    async def run() -> None:
        line = Line()
        made = Pulse(line)
        assert await made.answers()
        line.abort()
        assert not await made.answers()

    asyncio.run(run())
