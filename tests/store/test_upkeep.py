"""What changes the fold besides new entries: keys, removals, clocks, faults and retention."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import msgspec

from covey.store.api import Change
from covey.store.compaction import Retention
from covey.store.ingest import Accepted, Mismatch, Rejected
from covey.store.wire import Batch, pack
from tests.store.keys import FixedKeys
from tests.store.store_nodes import DAY_MS, StoreNode, apply_listed, heal, introduce, pull

Make = Callable[..., StoreNode]
SECOND = {b"generation-two..": b"2" * 32}


async def pair(make: Make) -> tuple[StoreNode, StoreNode]:
    a, b = await make("a").start(), await make("b").start()
    introduce([a, b])
    return a, b


async def stop(*nodes: StoreNode) -> None:
    for node in nodes:
        await node.stop()


def test_entries_under_a_key_that_is_not_here_wait_for_it(make_node: Make):
    async def main() -> None:
        a, b = await pair(make_node)
        await a.set("OLD", b"1")
        a.keys.keys.update(SECOND)
        await a.set("NEW", b"2")
        await a.set("OLD", b"3")
        await pull(b, a)
        assert (b.value("OLD"), b.value("NEW")) == (b"1", None)
        assert b.store.health().undecryptable == 2
        await b.restart()
        assert b.store.health().undecryptable == 2
        b.keys.keys.update(SECOND)
        heard: list[object] = []
        b.records.subscribe(heard.append)
        assert await b.store.keys_changed() == 2
        assert heard
        assert (b.value("OLD"), b.value("NEW")) == (b"3", b"2")
        assert b.store.health().undecryptable == 0
        assert a.state() == b.state()
        assert await b.store.keys_changed() == 0
        assert [each.value for each in b.records.history("env", "OLD")] == [b"3", b"1"]
        await stop(a, b)

    asyncio.run(main())


def test_a_key_that_came_while_the_node_was_down_is_noticed(make_node: Make):
    async def main() -> None:
        a, b = await pair(make_node)
        a.keys.keys.update(SECOND)
        await a.records.write([Change("env", f"K{n}", b"v") for n in range(1500)])
        await pull(b, a)
        assert b.state() == {}
        b.keys.keys.update(SECOND)
        await b.restart()
        assert b.state() == a.state()
        await stop(a, b)

    asyncio.run(main())


def test_a_relay_that_is_given_keys_folds_all_it_holds(make_node: Make):
    async def main() -> None:
        a, relay = await make_node("a").start(), await make_node("r", relay=True).start()
        introduce([a, relay])
        await a.set("A", b"1")
        await pull(relay, a)
        relay.keys = FixedKeys()
        await relay.restart()
        assert relay.value("A") == b"1"
        await relay.set("A", b"2")
        await stop(a, relay)

    asyncio.run(main())


def test_a_removed_members_later_entries_count_nowhere(make_node: Make):
    async def main() -> None:
        a, b = await pair(make_node)
        c = await make_node("c").start()
        introduce([a, b, c])
        await a.set("KEPT", b"old")
        await pull(c, a)
        await c.set("C", b"fine")
        cutoff = c.head(c.id)
        await c.set("KEPT", b"evil")
        await c.set("EVIL", b"evil")
        await pull(b, c)
        assert b.value("KEPT") == b"evil"
        removed = c.statement(cutoff)
        a.roster.add(removed)
        b.roster.add(removed)
        assert await b.store.trust_changed() == 2
        assert await b.store.trust_changed() == 0
        await pull(a, b)
        assert a.head(c.id) == cutoff
        for node in (a, b):
            assert node.value("KEPT") == b"old"
            assert node.value("C") == b"fine"
            assert node.value("EVIL") is None
            assert [each.value for each in node.records.history("env", "KEPT")] == [b"old"]
        await b.restart()
        assert b.value("KEPT") == b"old"
        # The removal may turn out to lie later than it was first said.
        later = c.statement(cutoff + 1)
        b.roster._held[c.id] = later
        assert await b.store.trust_changed() == 2
        assert b.value("KEPT") == b"evil"
        assert b.value("EVIL") is None
        await stop(a, b, c)

    asyncio.run(main())


def test_a_removal_heard_of_while_down_counts_after_the_start(make_node: Make):
    async def main() -> None:
        a, b = await pair(make_node)
        await b.set("EVIL", b"1")
        await pull(a, b)
        a.roster.add(b.statement(cutoff=0))
        await a.restart()
        assert a.value("EVIL") is None
        await stop(a, b)

    asyncio.run(main())


def test_a_removal_counts_for_what_was_folded_before_the_clock_was_set_back(make_node: Make):
    async def main() -> None:
        a, b = await pair(make_node)
        await b.set("EVIL", b"1")
        await pull(a, b)
        a.wall.ms -= 20 * 60_000
        a.roster.add(b.statement(cutoff=0))
        await a.restart()
        assert a.value("EVIL") is None
        await stop(a, b)

    asyncio.run(main())


def test_an_absurd_clock_is_held_until_its_time(make_node: Make):
    async def main() -> None:
        a, b = await pair(make_node)
        await a.set("NAME", b"now")
        a.wall.ms += 20 * 60_000
        await a.set("NAME", b"from the future")
        await pull(b, a)
        assert b.value("NAME") == b"now"
        assert b.store.health().held == 1
        later = await b.set("OTHER", b"1")
        assert later.at_ms < a.wall.ms
        await b.restart()
        assert b.value("NAME") == b"now"
        b.wall.ms += 11 * 60_000
        await b.restart()
        assert b.value("NAME") == b"from the future"
        assert b.store.health().held == 0
        await stop(a, b)

    asyncio.run(main())


def alter(batch: Batch, place: int) -> Batch:
    payloads = list(batch.run.payloads)
    payload = payloads[place] or b""
    payloads[place] = payload[:-1] + bytes([payload[-1] ^ 1])
    return msgspec.structs.replace(batch, run=msgspec.structs.replace(batch.run, payloads=payloads))


def test_a_bad_entry_is_set_aside_and_healed_by_another_peer(make_node: Make):
    async def main() -> None:
        a, b = await pair(make_node)
        await a.records.write([Change("env", f"K{n}", b"v%d" % n) for n in range(5)])
        bad: list[Batch] = []

        def spoil(batch: Batch) -> Batch:
            bad.append(alter(batch, 2))
            return bad[0]

        assert await pull(b, a, spoil) == [Mismatch()]
        assert b.head(a.id) == 0
        outcome = await apply_listed(b, a, bad[0])
        assert isinstance(outcome, Accepted)
        assert outcome.missing == (3,)
        assert (b.value("K1"), b.value("K2"), b.value("K3")) == (b"v1", None, b"v3")
        health = b.store.health()
        assert (len(health.quarantined), health.missing) == (1, 1)
        await b.restart()
        assert b.replica.missing() == {a.id: [3]}
        await heal(b, a)
        assert b.value("K2") == b"v2"
        health = b.store.health()
        assert (len(health.quarantined), health.missing) == (0, 0)
        assert a.state() == b.state()
        assert b.replica.read(a.id, 0, 9) == a.replica.read(a.id, 0, 9)
        await stop(a, b)

    asyncio.run(main())


def test_an_entry_that_does_not_open_blocks_nothing(make_node: Make):
    async def main() -> None:
        a, b = await pair(make_node)
        await a.set("A", b"1")
        first = a.keys.keys
        a.keys.keys = dict.fromkeys(first, b"w" * 32)
        await a.restart()
        await a.set("B", b"2")
        a.keys.keys = first
        await a.restart()
        await a.set("C", b"3")
        await pull(b, a)
        assert [b.value(key) for key in "ABC"] == [b"1", None, b"3"]
        (item,) = b.store.health().quarantined
        assert (item.origin, item.seq) == (a.id, 2)
        assert "does not open" in item.reason
        assert b.replica.missing() == {}
        await stop(a, b)

    asyncio.run(main())


def test_compaction_drops_old_content_and_keeps_the_rest(make_node: Make):
    async def main() -> None:
        a, b = await pair(make_node)
        a.retention = Retention(days=90, versions=2)
        await a.restart()
        for number in range(6):
            await a.set("NAME", b"%d" % number)
        await a.set("GONE", b"x")
        await a.set("GONE", None)
        assert await a.store.compact() == 0
        a.wall.ms += 91 * DAY_MS
        await a.set("NAME", b"today")
        before = a.state()
        assert await a.store.compact() == 5
        assert await a.store.compact() == 0
        assert a.state() == before
        history = a.records.history("env", "NAME")
        assert [each.value for each in history] == [b"today", b"5", *[None] * 5]
        assert [each.compacted for each in history] == [False, False, *[True] * 5]
        assert [each.deleted for each in a.records.history("env", "GONE")] == [True, False]
        b.wall.ms = a.wall.ms
        await pull(b, a)
        assert b.state() == before
        assert b.store.health().quarantined == ()
        await stop(a, b)

    asyncio.run(main())


def test_a_fork_of_the_own_log_is_reported(make_node: Make):
    async def main() -> None:
        a, b = await pair(make_node)
        await a.set("A", b"1")
        await pull(b, a)
        twin = StoreNode("a")
        await twin.start()
        introduce([twin, b])
        for _ in range(3):
            await twin.set("A", b"other")
        entries = twin.replica.read(twin.id, 1, 9)
        batch = Batch(twin.id, 1, pack(entries), entries[-1].signature)
        assert await a.replica.apply(batch, None) == Mismatch()
        assert isinstance(await apply_listed(a, twin, batch), Rejected)
        assert a.store.health().forked
        await stop(a, b, twin)

    asyncio.run(main())


def test_thousands_are_written_and_received(make_node: Make):
    async def main() -> None:
        count = 3000
        a, b = await pair(make_node)
        await a.records.write([Change("env", f"K{n:05}", b"v") for n in range(count)])
        assert all(isinstance(each, Accepted) for each in await pull(b, a))
        assert len(b.state()) == count
        assert a.state() == b.state()
        await stop(a, b)

    asyncio.run(main())
