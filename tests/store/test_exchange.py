from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from covey.errors import StorageError
from covey.store.entry import SIGN_EVERY
from covey.store.exchange import Exchange, run_session
from covey.store.ingest import Outcome
from covey.store.replicate import Ended
from covey.store.sending import WINDOW
from covey.store.wire import Batch, Digests, EndCode
from tests.store.channels import connected
from tests.store.network import Fault, Node, introduce, remove

DEADLINE_S = 20


def run(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(asyncio.wait_for(work(), DEADLINE_S))


def pair() -> tuple[Node, Node]:
    nodes = Node("a"), Node("b")
    introduce(*nodes)
    return nodes


async def until(condition: Callable[[], object]) -> None:
    while not condition():
        await asyncio.sleep(0)


class Running:
    """Two nodes with a session between them."""

    def __init__(self, a: Node, b: Node, room: int = 2) -> None:
        self.channels = connected(a.id, b.id, room)
        self.exchanges = [
            Exchange(channel, node.replica)
            for channel, node in zip(self.channels, (a, b), strict=True)
        ]
        self.tasks = [asyncio.create_task(each.run()) for each in self.exchanges]

    async def ready(self) -> None:
        await until(lambda: all(each.stats().ready for each in self.exchanges))

    async def ends(self) -> list[Ended]:
        return list(await asyncio.gather(*self.tasks))


def test_old_and_new_entries_reach_the_peer():
    async def work() -> None:
        a, b = pair()
        a.replica.write(("OLD", b"1"))
        session = Running(a, b)
        await until(lambda: b.head(a.id) == 1)
        a.replica.write(("NEW", b"2"))
        b.replica.write(("BACK", b"3"))
        await until(lambda: (b.head(a.id), a.head(b.id)) == (2, 1))
        assert a.replica.folded() == b.replica.folded()
        await until(lambda: session.exchanges[0].stats().behind == 0)
        stats = session.exchanges[0].stats()
        assert (stats.entries_sent, stats.entries_received, stats.ahead) == (2, 1, 0)
        session.exchanges[0].stop()
        ended = await session.ends()
        assert [each.code for each in ended] == [EndCode.STOPPING] * 2
        assert [each.by_peer for each in ended] == [False, True]
        assert all(channel.closed.is_set() for channel in session.channels)

    run(work)


def test_a_backlog_is_sent_as_the_receiver_keeps_up():
    async def work() -> None:
        a, b = pair()
        for _ in range(40):
            a.replica.write(*((f"K{number}", bytes(4000)) for number in range(SIGN_EVERY)))
        applying: list[Batch] = []
        gate = asyncio.Event()
        apply = b.replica.apply

        async def slowly(batch: Batch, listed: Digests | None) -> Outcome:
            applying.append(batch)
            await gate.wait()
            return await apply(batch, listed)

        b.replica.apply = slowly  # type: ignore[method-assign]
        session = Running(a, b)
        await until(lambda: session.exchanges[0].stats().entries_sent and applying)
        for _ in range(200):
            await asyncio.sleep(0)
        assert session.channels[0].sent <= 1 + WINDOW
        assert len(applying) == 1
        gate.set()
        await until(lambda: b.head(a.id) == 40 * SIGN_EVERY)
        session.exchanges[1].stop()
        await session.ends()

    run(work)


def test_both_ways_at_once_over_a_narrow_connection_never_lock_up():
    async def work() -> None:
        a, b = pair()
        for node in (a, b):
            for _ in range(30):
                changes = ((f"{node.name}{number}", bytes(2000)) for number in range(SIGN_EVERY))
                node.replica.write(*changes)
        session = Running(a, b, room=1)
        total = 30 * SIGN_EVERY
        await until(lambda: (b.head(a.id), a.head(b.id)) == (total, total))
        session.exchanges[1].stop()
        await session.ends()

    run(work)


@pytest.mark.parametrize("side", [0, 1])
def test_a_lost_connection_ends_the_session_and_a_new_one_goes_on(side: int):
    async def work() -> None:
        a, b = pair()
        session = Running(a, b)
        await session.ready()
        await session.channels[side].close()
        ended = await session.ends()
        assert {each.code for each in ended} == {EndCode.LOST}
        assert not any(each.lasting for each in ended)
        a.replica.write(("NAME", b"x"))
        session = Running(a, b)
        await until(lambda: b.head(a.id) == 1)
        session.exchanges[0].stop()
        await session.ends()

    run(work)


def test_a_full_disk_ends_the_session_with_the_reason_here_and_none_of_it_there():
    async def work() -> None:
        a, b = pair()
        b.log.before_commit = Fault(1, StorageError("The disk is full: /home/b."))
        a.replica.write(("NAME", b"x"))
        session = Running(a, b)
        there, here = await session.ends()
        assert (here.code, here.message) == (EndCode.STORAGE, "The disk is full: /home/b.")
        assert there.code == EndCode.STORAGE
        assert there.by_peer
        assert "/home/b" not in there.message
        session = Running(a, b)
        await until(lambda: b.head(a.id) == 1)
        session.exchanges[0].stop()
        await session.ends()

    run(work)


def test_a_store_that_cannot_be_read_ends_the_session():
    async def work() -> None:
        a, b = pair()
        a.replica.write(("NAME", b"x"))

        def broken(*_: object) -> list:
            raise StorageError("The disk cannot be read.")

        a.replica.read = broken  # type: ignore[method-assign]
        session = Running(a, b)
        ended = await session.ends()
        assert [each.code for each in ended] == [EndCode.STORAGE] * 2

    run(work)


def test_a_member_removed_meanwhile_is_dropped_at_once():
    async def work() -> None:
        a, b = pair()
        session = Running(a, b)
        await session.ready()
        remove(b, by=a)
        ended = await session.ends()
        assert {each.code for each in ended} == {EndCode.REMOVED}

    run(work)


def test_a_cancelled_session_lets_a_commit_finish_and_closes_the_channel():
    async def work() -> None:
        a, b = pair()
        a.replica.write(("NAME", b"x"))
        began, gate, done = asyncio.Event(), asyncio.Event(), asyncio.Event()
        apply = b.replica.apply

        async def slowly(batch: Batch, listed: Digests | None) -> Outcome:
            began.set()
            await gate.wait()
            outcome = await apply(batch, listed)
            done.set()
            return outcome

        b.replica.apply = slowly  # type: ignore[method-assign]
        session = Running(a, b)
        await began.wait()
        session.tasks[1].cancel()
        for _ in range(20):
            await asyncio.sleep(0)
        gate.set()
        with pytest.raises(asyncio.CancelledError):
            await session.tasks[1]
        assert done.is_set()
        assert b.head(a.id) == 1
        assert session.channels[1].closed.is_set()
        assert (await session.tasks[0]).code == EndCode.LOST

    run(work)


def test_a_peer_that_never_reads_holds_up_nobody_s_end():
    async def work() -> None:
        a, b = pair()
        for _ in range(20):
            a.replica.write(*((f"K{number}", bytes(4000)) for number in range(SIGN_EVERY)))
        here, _ = connected(a.id, b.id, room=1)
        exchange = Exchange(here, a.replica)
        task = asyncio.create_task(exchange.run())
        await until(lambda: here.sent)
        exchange.stop()
        assert (await task).code == EndCode.STOPPING

    run(work)


def test_garbage_from_the_peer_ends_the_session():
    async def work() -> None:
        a, b = pair()
        here, there = connected(a.id, b.id)
        task = asyncio.create_task(run_session(here, a.replica))
        await there.send(b"\x00" * 7 + b"\x01garbage")
        assert (await task).code == EndCode.PROTOCOL

    run(work)


def test_nothing_is_left_behind_after_a_session():
    async def work() -> None:
        a, b = pair()
        listeners = len(a.roster._listeners)
        tasks = asyncio.all_tasks()
        session = Running(a, b)
        await session.ready()
        session.exchanges[0].stop()
        await session.ends()
        assert not a.replica._listeners
        assert len(a.roster._listeners) == listeners
        await until(lambda: asyncio.all_tasks() == tasks)

    run(work)
