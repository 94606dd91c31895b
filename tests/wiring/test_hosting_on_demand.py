"""Hosting begins with its first use, once, and from then on with the node."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, cast

import pytest

from covey.errors import LockedError, StorageError, UnauthenticatedError
from covey.operations.context import Services
from covey.operations.packaged import packaged_operations
from covey.wiring.hosting import NodeHosting
from covey.wiring.hosting_on_demand import HostingOnDemand
from tests.fleet.token_store import MemoryUses

OPERATIONS = packaged_operations()
LIST, CREATE = OPERATIONS["apps.list"], OPERATIONS["apps.create"]


class Hosting:
    """Stands for a node's hosting; `begin` waits or fails."""

    def __init__(self, node: Node) -> None:
        self._node = node

    async def start(self) -> None:
        self._node.told.append("start")
        await self._node.begin()
        self._node.told.append("started")

    async def stop(self) -> None:
        self._node.told.append("stop")


async def at_once() -> None:
    """Begin without a wait."""


class Node:
    """A node that may be started again on what it kept."""

    def __init__(self, begin: Callable[[], Awaitable[None]] = at_once) -> None:
        self.begin = begin
        self.told: list[str] = []
        self.local = MemoryUses()

    def hosting(self, *, always: bool = False) -> HostingOnDemand:
        def make() -> NodeHosting:
            return cast("NodeHosting", Hosting(self))

        return HostingOnDemand(make, Services(), cast("Any", self.local), always=always)


def test_a_node_that_hosts_nothing_never_begins():
    node = Node()

    async def run() -> None:
        hosting = node.hosting()
        await hosting.start()
        assert hosting.begun is None
        await hosting.stop()

    asyncio.run(run())
    assert node.told == []


@pytest.mark.parametrize("way", ["to_forge", "to_integration"])
def test_a_delivery_to_a_node_that_hosts_nothing_begins_nothing(way: str):
    node = Node()

    async def run() -> None:
        hosting = node.hosting()
        with pytest.raises(UnauthenticatedError):
            await getattr(hosting, way)("github", {}, b"{}")
        assert hosting.begun is None

    asyncio.run(run())
    assert node.told == []


def test_settings_make_it_begin_with_the_node():
    node = Node()

    async def run() -> None:
        hosting = node.hosting(always=True)
        await hosting.start()
        assert hosting.begun is not None

    asyncio.run(run())
    assert node.told == ["start", "started"]


@pytest.mark.parametrize("operation, told", [(LIST, []), (CREATE, ["start", "started"])])
def test_only_a_change_makes_it_begin_with_the_next_start(operation: Any, told: list[str]):
    node = Node()

    async def use() -> None:
        hosting = node.hosting()
        await hosting.prepare(operation)
        await hosting.prepare(operation)
        await hosting.stop()

    asyncio.run(use())
    assert node.told == ["start", "started", "stop"]
    node.told.clear()
    asyncio.run(node.hosting().start())
    assert node.told == told


def test_callers_at_the_same_time_wait_for_the_same_beginning():
    async def run() -> None:
        gate = asyncio.Event()

        async def wait() -> None:
            await gate.wait()

        node = Node(wait)
        hosting = node.hosting()
        callers = [asyncio.create_task(hosting.prepare(LIST)) for _ in range(3)]
        await asyncio.sleep(0)
        callers[0].cancel()
        await asyncio.sleep(0)
        assert hosting.begun is None
        gate.set()
        outcomes = await asyncio.gather(*callers, return_exceptions=True)
        assert isinstance(outcomes[0], asyncio.CancelledError)
        assert outcomes[1:] == [None, None]
        assert node.told == ["start", "started"]

    asyncio.run(run())


def test_a_beginning_that_fails_is_undone_and_tried_again():
    async def fail() -> None:
        raise StorageError("The disk is full.")

    async def run() -> None:
        node = Node(fail)
        hosting = node.hosting()
        with pytest.raises(StorageError):
            await hosting.prepare(CREATE)
        assert node.told == ["start", "stop"]
        assert hosting.begun is None
        node.begin = at_once
        await hosting.prepare(CREATE)
        assert node.told == ["start", "stop", "start", "started"]

    asyncio.run(run())


def test_a_node_that_closes_waits_for_the_beginning_and_ends_it():
    async def run() -> None:
        gate = asyncio.Event()

        async def wait() -> None:
            await gate.wait()

        node = Node(wait)
        hosting = node.hosting()
        caller = asyncio.create_task(hosting.prepare(LIST))
        await asyncio.sleep(0)
        closing = asyncio.create_task(hosting.stop())
        await asyncio.sleep(0)
        gate.set()
        await closing
        await caller
        assert node.told == ["start", "started", "stop"]

    asyncio.run(run())


def test_a_closed_node_begins_nothing():
    node = Node()

    async def run() -> None:
        hosting = node.hosting()
        await hosting.stop()
        with pytest.raises(LockedError):
            await hosting.prepare(LIST)

    asyncio.run(run())
    assert node.told == []
