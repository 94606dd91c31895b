from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable

import pytest

from covey.errors import (
    LockedError,
    PreconditionFailedError,
    RefusedError,
    StorageError,
    TooLargeError,
)
from covey.store.api import Change, Changed
from covey.store.entry import SIGN_EVERY, chain_next, chain_start, head_is_signed
from covey.testing.memory_log import Fault
from tests.store.store_nodes import StoreNode, introduce, pull

Make = Callable[..., StoreNode]


def test_what_was_written_is_read_here_and_after_a_restart(make_node: Make):
    async def main() -> None:
        node = await make_node("a").start()
        written = await node.set("NAME", b"\0value")
        record = node.records.get("env", "NAME")
        assert record is not None
        assert (record.value, record.version, record.rivals) == (b"\0value", written, ())
        assert node.records.get("host", "NAME") is None
        await node.set("GONE", b"1")
        await node.set("GONE", None)
        assert node.value("GONE") is None
        await node.restart()
        assert node.value("NAME") == b"\0value"
        assert node.value("GONE") is None
        assert [each.key for each in node.records.scan("env")] == ["NAME"]
        await node.stop()

    asyncio.run(main())


def test_expected_guards_against_an_edit_in_between(make_node: Make):
    async def main() -> None:
        node = await make_node("a").start()
        first = await node.set("NAME", b"1")
        second = await node.set("NAME", b"2", first)
        with pytest.raises(PreconditionFailedError):
            await node.set("NAME", b"3", first)
        with pytest.raises(PreconditionFailedError):
            await node.set("OTHER", b"3", first)
        assert node.value("NAME") == b"2"
        await node.set("NAME", None, second)
        assert node.value("NAME") is None
        await node.stop()

    asyncio.run(main())


def test_a_write_is_all_or_nothing(make_node: Make):
    async def main() -> None:
        node = await make_node("a").start()
        first = await node.set("A", b"1")
        with pytest.raises(PreconditionFailedError):
            await node.records.write(
                [Change("env", "B", b"2"), Change("env", "A", b"2", expected=first.id),
                 Change("env", "A", b"3", expected=first.id)]
            )  # fmt: skip
        with pytest.raises(TooLargeError):
            await node.records.write([Change("env", "B", b"2"), Change("env", "C", b"x" * 2**21)])
        assert (node.value("A"), node.value("B")) == (b"1", None)
        assert (await node.set("B", b"3")).seq == 2
        assert await node.records.write([]) == []
        await node.stop()

    asyncio.run(main())


def test_changes_of_one_call_build_on_each_other(make_node: Make):
    async def main() -> None:
        node = await make_node("a").start()
        changes = [Change("env", "A", b"%d" % number) for number in range(5)]
        versions = await node.records.write(changes)
        assert [each.seq for each in versions] == [1, 2, 3, 4, 5]
        assert node.value("A") == b"4"
        assert node.records.conflicts("env") == []
        history = node.records.history("env", "A")
        assert [each.value for each in history] == [b"4", b"3", b"2", b"1", b"0"]
        await node.stop()

    asyncio.run(main())


def test_writes_that_wait_share_a_commit_and_refusals_stay_alone():
    async def main() -> None:
        node = await StoreNode("a").start()
        first = await node.set("A", b"0")
        before = node.log.commits
        results = await asyncio.gather(
            *(node.set(f"K{number}", b"v") for number in range(100)),
            node.set("A", b"1", first),
            node.set("A", b"2", first),
            return_exceptions=True,
        )
        assert node.log.commits - before <= 2
        assert [type(each) for each in results if isinstance(each, Exception)] == [
            PreconditionFailedError
        ]
        assert node.value("A") == b"1"
        assert len(list(node.records.scan("env", "K"))) == 100
        assert node.head(node.id) == 102
        await node.stop()

    asyncio.run(main())


def test_a_cancelled_write_is_made_known_all_the_same(make_node: Make):
    async def main() -> None:
        node = await make_node("a").start()
        heard = asyncio.Event()
        node.records.subscribe(lambda _: heard.set())
        task = asyncio.create_task(node.set("A", b"1"))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait_for(heard.wait(), 10)
        assert node.value("A") == b"1"
        await node.stop()

    asyncio.run(main())


def test_a_full_disk_fails_the_write_and_nothing_else():
    async def main() -> None:
        node = await StoreNode("a").start()
        await node.set("A", b"1")
        node.log.before_commit = Fault(1, StorageError("full"))
        with pytest.raises(StorageError):
            await node.set("A", b"2")
        assert node.value("A") == b"1"
        assert (await node.set("A", b"3")).seq == 2
        await node.restart()
        assert node.value("A") == b"3"
        await node.stop()

    asyncio.run(main())


def test_one_jobs_defect_does_not_fail_the_others():
    async def main() -> None:
        node = await StoreNode("a").start()

        def defect(_: object) -> None:
            raise ZeroDivisionError

        results = await asyncio.gather(
            node.set("A", b"1"),
            node.store._committer.submit(defect),
            node.set("B", b"2"),
            return_exceptions=True,
        )
        assert isinstance(results[1], ZeroDivisionError)
        assert (node.value("A"), node.value("B")) == (b"1", b"2")
        await node.stop()

    asyncio.run(main())


def test_the_own_log_is_a_chain_with_signed_heads(make_node: Make):
    async def main() -> None:
        node = await make_node("a").start()
        await node.set("A", b"1")
        await node.records.write([Change("env", f"K{n}", b"v") for n in range(3 * SIGN_EVERY)])
        entries = node.replica.read(node.id, 0, 10_000)
        chain = chain_start(node.id)
        signed = []
        for entry in entries:
            chain = chain_next(chain, entry.digest)
            if entry.signature:
                key = node.signer.public_key
                assert head_is_signed(key, node.id, entry.seq, chain, entry.signature)
                signed.append(entry.seq)
        assert node.replica.heads()[node.id].chain == chain
        assert signed[-1] == len(entries) == 3 * SIGN_EVERY + 1
        assert max(b - a for a, b in itertools.pairwise(signed)) <= SIGN_EVERY
        hlcs = [entry.hlc for entry in entries]
        assert hlcs == sorted(set(hlcs))
        await node.stop()

    asyncio.run(main())


def test_the_clock_never_goes_back_over_a_restart(make_node: Make):
    async def main() -> None:
        node = await make_node("a").start()
        first = await node.set("A", b"1")
        node.wall.ms -= 300_000
        await node.restart()
        assert (await node.set("B", b"2")).hlc > first.hlc
        await node.stop()

    asyncio.run(main())


def test_a_clock_that_was_far_ahead_once_holds_back_no_later_write(make_node: Make):
    async def main() -> None:
        a, b = await make_node("a").start(), await make_node("b").start()
        introduce([a, b])
        a.wall.ms += 365 * 86_400_000
        await a.set("EARLY", b"1")
        a.wall.ms -= 365 * 86_400_000
        await a.restart()
        await a.set("LATER", b"2")
        await a.set("EARLY", b"3")
        await pull(b, a)
        assert (a.value("EARLY"), a.value("LATER")) == (b"3", b"2")
        assert (b.value("EARLY"), b.value("LATER")) == (None, b"2")
        await a.stop()
        await b.stop()

    asyncio.run(main())


def test_concurrent_edits_are_recorded_and_settled(make_node: Make):
    async def main() -> None:
        a, b = await make_node("a").start(), await make_node("b").start()
        introduce([a, b])
        b.wall.ms += 5
        await a.set("NAME", b"from a")
        await b.set("NAME", b"from b")
        await pull(a, b)
        await pull(b, a)
        assert a.value("NAME") == b.value("NAME") == b"from b"
        assert a.state() == b.state()
        (conflict,) = a.records.conflicts("env")
        assert [each.value for each in conflict.versions] == [b"from b", b"from a"]
        record = a.records.get("env", "NAME")
        assert record is not None
        assert [each.value for each in record.rivals] == [b"from a"]
        await a.set("NAME", b"settled", record.version)
        await pull(b, a)
        assert a.records.conflicts("env") == b.records.conflicts("env") == []
        assert b.value("NAME") == b"settled"
        assert len(b.records.history("env", "NAME")) == 3
        await a.stop()
        await b.stop()

    asyncio.run(main())


def test_listeners_hear_of_local_and_received_changes(make_node: Make):
    async def main() -> None:
        a, b = await make_node("a").start(), await make_node("b").start()
        introduce([a, b])
        heard: list[Changed] = []

        def broken(_: Changed) -> None:
            raise ZeroDivisionError

        b.records.subscribe(broken)
        cancel = b.records.subscribe(heard.append)
        await a.set("A", b"1")
        await b.set("B", b"2")
        await pull(b, a)
        assert heard == [Changed(frozenset({("env", "B")})), Changed(frozenset({("env", "A")}))]
        cancel()
        cancel()
        await b.set("C", b"3")
        assert len(heard) == 2
        await a.stop()
        await b.stop()

    asyncio.run(main())


def test_a_relay_keeps_entries_and_reads_none(make_node: Make):
    async def main() -> None:
        a, b = await make_node("a").start(), await make_node("b").start()
        relay = await make_node("relay", relay=True).start()
        introduce([a, b, relay])
        await a.set("NAME", b"swordfish")
        await pull(relay, a)
        await relay.restart()
        await pull(b, relay)
        assert b.value("NAME") == b"swordfish"
        assert relay.records.get("env", "NAME") is None
        assert list(relay.records.scan("env")) == []
        assert relay.store.health().relay
        with pytest.raises(RefusedError, match="relay"):
            await relay.set("X", b"1")
        for node in (a, b, relay):
            await node.stop()

    asyncio.run(main())


def test_a_removed_or_locked_node_writes_no_more(make_node: Make):
    async def main() -> None:
        node = await make_node("a").start()
        await node.set("A", b"1")
        node.roster.add(node.statement(cutoff=1))
        with pytest.raises(RefusedError, match="removed"):
            await node.set("A", b"2")
        await node.stop()
        node = await make_node("b").start()
        await node.stop()
        with pytest.raises(LockedError):
            await node.set("A", b"2")

    asyncio.run(main())
