"""Links keep exactly one session with each member, whoever called whom."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from covey.errors import UnreachableError
from covey.fleet.discovery import Source, Target
from covey.fleet.links import Direction, Links, prefers, retry_delay
from covey.fleet.pulse import Pulse
from covey.store.api import NodeId

A = NodeId("a" * 32)
B = NodeId("b" * 32)


class MemoryChannel:
    """One end of a channel that carries nothing and knows when it is closed."""

    def __init__(self, peer: NodeId) -> None:
        self._peer = peer
        self.closed = asyncio.Event()
        self.other: MemoryChannel | None = None

    @property
    def peer(self) -> NodeId:
        return self._peer

    async def send(self, frame: bytes) -> None:
        raise NotImplementedError

    async def receive(self) -> bytes:
        await self.closed.wait()
        raise UnreachableError("closed")

    async def ping(self) -> None:
        await self.closed.wait()
        raise UnreachableError("closed")

    def abort(self) -> None:
        self.closed.set()

    async def close(self) -> None:
        self.closed.set()
        if self.other is not None:
            self.other.closed.set()


class Network:
    """Addresses at which `Links` answer; an address without one cannot be reached."""

    def __init__(self) -> None:
        self.at: dict[str, tuple[NodeId, Links]] = {}
        self.tasks: list[asyncio.Task[None]] = []

    def dialer(self, me: NodeId) -> NetworkDialer:
        return NetworkDialer(self, me)


class NetworkDialer:
    def __init__(self, network: Network, me: NodeId) -> None:
        self._network = network
        self._me = me

    async def dial(self, address: str) -> MemoryChannel:
        if address not in self._network.at:
            raise UnreachableError(f"{address} is down")
        peer, links = self._network.at[address]
        here, there = MemoryChannel(peer), MemoryChannel(self._me)
        here.other, there.other = there, here
        self._network.tasks.append(asyncio.create_task(links.accept(there, "caller")))
        return here


async def run_until_closed(channel: object) -> None:
    assert isinstance(channel, Pulse)
    with pytest.raises(UnreachableError):
        await channel.receive()


async def eventually(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.001)


def scenario(body: Callable[[Network, Links, Links, set[NodeId]], Awaitable[None]]) -> None:
    async def run() -> None:
        network = Network()
        members = {A, B}

        def links_of(me: NodeId, dials: tuple[str, ...]) -> Links:
            return Links(
                me,
                network.dialer(me),
                run_until_closed,
                targets=lambda: [Target(address, Source.MANUAL) for address in dials],
                is_member=lambda peer: peer in members,
            )

        first, second = links_of(A, ("b:1", "a:1")), links_of(B, ("a:1",))
        try:
            await body(network, first, second, members)
        finally:
            await first.close()
            await second.close()

    asyncio.run(run())


def test_two_nodes_that_dial_each_other_keep_one_session() -> None:
    async def body(network: Network, a: Links, b: Links, _members: set[NodeId]) -> None:
        network.at = {"a:1": (A, a), "b:1": (B, b)}
        a.refresh()
        b.refresh()
        await eventually(lambda: len(a.open_links) == 1 and len(b.open_links) == 1)
        await eventually(lambda: a.open_links[0].direction is Direction.OUT)
        await eventually(lambda: b.open_links[0].direction is Direction.IN)

    scenario(body)


def test_a_peer_that_comes_back_is_dialled_again() -> None:
    async def body(network: Network, a: Links, b: Links, _members: set[NodeId]) -> None:
        a.refresh()
        await eventually(lambda: any(route.last_error for route in a.routes))
        network.at = {"a:1": (A, a), "b:1": (B, b)}
        a.dial_now()
        await eventually(lambda: len(a.open_links) == 1)
        await a.open_links[0].channel.close()
        await eventually(lambda: len(b.open_links) == 1 and len(a.open_links) == 1)

    scenario(body)


def test_a_peer_that_hangs_up_at_once_is_dialled_ever_less_often() -> None:
    async def body(network: Network, a: Links, b: Links, _members: set[NodeId]) -> None:
        await b.close()
        network.at = {"b:1": (B, b)}
        a.refresh()
        await eventually(lambda: any(route.failures >= 2 for route in a.routes))

    scenario(body)


def test_a_removed_member_is_dropped_at_once_and_never_accepted_again() -> None:
    async def body(network: Network, a: Links, b: Links, members: set[NodeId]) -> None:
        network.at = {"a:1": (A, a), "b:1": (B, b)}
        a.refresh()
        await eventually(lambda: len(a.open_links) == 1)
        members.discard(B)
        a.refresh()
        await eventually(lambda: a.open_links == [])
        late = MemoryChannel(B)
        await a.accept(late, "caller")
        assert late.closed.is_set()

    scenario(body)


@given(st.integers(0, 60), st.floats(0, 1, exclude_max=True))
def test_retry_delay_grows_and_stays_within_its_bounds(failures: int, draw: float) -> None:
    assert 0.1 <= retry_delay(failures, lambda: draw) <= 60
    assert retry_delay(failures, lambda: draw) <= retry_delay(failures + 1, lambda: draw)


@pytest.mark.parametrize("direction", list(Direction))
def test_both_ends_prefer_the_same_session(direction: Direction) -> None:
    other = Direction.IN if direction is Direction.OUT else Direction.OUT
    assert prefers(A, B, direction) == prefers(B, A, other)


def test_closing_ends_while_routes_are_being_woken() -> None:
    async def body(network: Network, a: Links, b: Links, _members: set[NodeId]) -> None:
        network.at = {"a:1": (A, a), "b:1": (B, b)}
        a.refresh()
        await eventually(lambda: len(a.open_links) == 1)
        await asyncio.sleep(0.01)
        a.dial_now()
        async with asyncio.timeout(5):
            await a.close()

    scenario(body)
