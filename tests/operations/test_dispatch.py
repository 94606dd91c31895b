"""One call on several hosts: how many at one time, what fails, what is cancelled, shared input."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine
from contextlib import aclosing
from typing import Any

import msgspec
import pytest

from covey.errors import InvalidRequestError, UnreachableError
from covey.operations.access import Caller, CallerKind, Role
from covey.operations.audit import AuditEntry
from covey.operations.context import Context, Services
from covey.operations.dispatch import Call, HostResult, LocalPlace, fan_out
from covey.operations.registry import Operation
from covey.operations.shared_input import AHEAD_BYTES, SharedInput
from tests.operations.test_duplex import Add, read, run_sum, sum_once

HOSTS = [f"host{number}" for number in range(6)]
CONTEXT = Context(Caller(CallerKind.LOCAL, "ada", Role.ADMIN, "local"), Services(), "0" * 16)


class Sink:
    def record(self, entry: AuditEntry) -> None:
        pass


def play(work: Coroutine[Any, Any, Any]) -> Any:
    async def main() -> Any:
        async with asyncio.timeout(20):
            return await work

    return asyncio.run(main())


class Counting:
    """A place that tells how many of its kind work at one time, and waits to be let go."""

    route = "direct"

    def __init__(self) -> None:
        self.now = 0
        self.most = 0
        self.ended = 0
        self.go = asyncio.Event()

    def place(self, host: str) -> Counting:
        return self

    async def invoke(
        self,
        operation: Operation,
        arguments: msgspec.Struct,
        context: Context,
        items: AsyncIterator[Any] | None = None,
    ) -> Any:
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            await self.go.wait()
            if self.ended == 1:
                raise UnreachableError("One of them is down.")
            return self.now
        finally:
            self.now -= 1
            self.ended += 1

    async def stream(
        self,
        operation: Operation,
        arguments: msgspec.Struct,
        context: Context,
        items: AsyncIterator[Any] | None = None,
    ) -> AsyncGenerator[Any, None]:
        raise UnreachableError("This one does not stream.")
        yield


def call(function: object, items: AsyncIterator[Any] | None = None, **arguments: Any) -> Call:
    found = read(function)
    return Call(found, found.signature.arguments(**arguments), CONTEXT, items)


async def settled() -> None:
    for _ in range(50):
        await asyncio.sleep(0)


@pytest.mark.parametrize("parallel", [1, 2, 100])
def test_no_more_work_at_one_time_than_was_asked_for(parallel: int):
    async def scene() -> None:
        places = Counting()
        results = fan_out(call(sum_once), HOSTS, places.place, parallel)
        first = asyncio.ensure_future(anext(results))
        await settled()
        assert places.now == min(parallel, len(HOSTS))
        places.go.set()
        found = [await first, *[item async for item in results]]
        assert sorted(item.host for item in found) == HOSTS
        assert [item.ok for item in found].count(False) == 1
        assert places.most == min(parallel, len(HOSTS))

    play(scene())


def test_leaving_early_cancels_everything():
    async def scene() -> None:
        places = Counting()
        async with aclosing(fan_out(call(sum_once), HOSTS, places.place, 3)) as results:
            first = asyncio.ensure_future(anext(results))
            await settled()
            first.cancel()
            await asyncio.gather(first, return_exceptions=True)
        assert (places.now, places.ended) == (0, 3)

    play(scene())


async def numbers(*values: int) -> AsyncIterator[Add]:
    for value in values:
        yield Add(value)


def here(_host: str) -> LocalPlace:
    return LocalPlace(Sink())


def test_every_host_gets_all_input_even_one_after_the_other():
    async def scene() -> list[HostResult]:
        given = call(run_sum, numbers(1, 2, 3), start=0)
        return [item async for item in fan_out(given, HOSTS, here, 1)]

    found = play(scene())
    for host in HOSTS:
        mine = [item for item in found if item.host == host]
        assert [item.last for item in mine] == [False, False, False, True]
        assert [item.value.value for item in mine[:-1]] == [1, 3, 6]


class Block(msgspec.Struct, frozen=True):
    data: bytes


async def blocks(count: int, taken: list[int]) -> AsyncIterator[Block]:
    for number in range(count):
        taken.append(number)
        yield Block(bytes(100_000))


def test_the_slowest_reader_holds_the_input_back():
    async def scene() -> None:
        taken: list[int] = []
        shared = SharedInput(blocks(1000, taken), 2)
        fast, slow = shared.reader(), shared.reader()
        pulling = asyncio.ensure_future(_drain(fast))
        await settled()
        assert len(taken) * 100_000 <= AHEAD_BYTES + 200_000
        for _ in range(20):
            await anext(slow)
            await settled()
        assert 20 <= len(taken) <= 20 + AHEAD_BYTES // 100_000 + 2
        shared.leave(slow)
        assert await pulling == 1000
        await shared.close()

    play(scene())


async def _drain(reader: AsyncIterator[Any]) -> int:
    return len([item async for item in reader])


def test_much_input_for_hosts_that_take_turns_is_refused():
    async def scene() -> None:
        shared = SharedInput(blocks(1000, []), 2)
        with pytest.raises(InvalidRequestError):
            await _drain(shared.reader())
        await shared.close()

    play(scene())


def test_a_fault_in_the_input_reaches_every_reader():
    async def broken() -> AsyncIterator[Add]:
        yield Add(1)
        raise UnreachableError("The client is gone.")

    async def scene() -> None:
        shared = SharedInput(broken(), 2)
        for reader in (shared.reader(), shared.reader()):
            with pytest.raises(UnreachableError):
                await _drain(reader)
        await shared.close()

    play(scene())
