from __future__ import annotations

import asyncio
from itertools import permutations
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from covey.store.compaction import Retention, plan
from covey.store.entry import Entry
from tests.store.keys import NodeSigner
from tests.store.store_nodes import DAY_MS, StoreNode, introduce, pull

A, B = NodeSigner("a").node_id, NodeSigner("b").node_id


def version(seq: int, hlc: int, *, held: bool = True) -> Entry:
    return Entry(A, seq, hlc, "env", b"", b"", b"x" if held else None, b"")


def numbered(rows: list[tuple[int, bool]]) -> list[Entry]:
    return [version(seq, hlc, held=held) for seq, (hlc, held) in enumerate(rows, 1)]


rows = st.lists(st.tuples(st.integers(0, 50), st.booleans()), min_size=1, max_size=20)
versions = rows.map(numbered)


@given(versions, st.sets(st.integers(1, 20)), st.integers(0, 60), st.integers(0, 25))
def test_the_plan_keeps_what_it_must(
    versions: list[Entry], current: set[int], before: int, keep: int
):
    places = frozenset((A, seq) for seq in current)
    drops = plan(versions, places, before, keep)
    newest = sorted(versions, key=lambda each: (each.hlc, each.seq), reverse=True)[:keep]
    dropped = [each for each in versions if (A, each.seq) in drops]
    assert len(dropped) == len(drops) == len(set(drops))
    for each in dropped:
        assert each.payload is not None
        assert each.hlc < before
        assert each.seq not in current
        assert each not in newest
    for each in versions:
        old = each.hlc < before and each.payload is not None and each.seq not in current
        if old and each not in newest[:keep] and keep > 0:
            assert each in dropped


nodes = st.integers(0, 2)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("set"), nodes, st.sampled_from("xyz")),
        st.tuples(st.just("delete"), nodes, st.sampled_from("xyz")),
        st.tuples(st.just("pull"), nodes, nodes),
        st.tuples(st.just("days"), st.integers(0, 40), st.none()),
        st.tuples(st.just("compact"), nodes, st.none()),
    ),
    max_size=40,
)


async def perform(script: list[tuple[str, int, Any]], *, compacting: bool) -> list[StoreNode]:
    members = [await StoreNode(name).start() for name in "abc"]
    introduce(members)
    for place, node in enumerate(members):
        node.store._retention = Retention(days=30, versions=1 + place)
    for number, (what, at, argument) in enumerate(script):
        match what:
            case "set":
                await members[at].set(argument, b"%d" % number)
            case "delete":
                await members[at].set(argument, None)
            case "pull" if at != argument:
                await pull(members[at], members[argument])
            case "days":
                for node in members:
                    node.wall.ms += at * DAY_MS
            case "compact" if compacting:
                before = members[at].state()
                await members[at].store.compact()
                assert members[at].state() == before
    return members


@settings(max_examples=60, deadline=None)
@given(steps)
def test_the_fold_is_the_same_with_and_without_compaction(script: list[tuple[str, int, Any]]):
    async def main() -> None:
        plain = await perform(script, compacting=False)
        packed = await perform(script, compacting=True)
        for one, other in zip(plain, packed, strict=True):
            assert one.state() == other.state()
        late = await StoreNode("late").start()
        await settle(packed, late)
        for node in (*packed[1:], late):
            assert node.state() == packed[0].state()
        # Folding the compacted log anew gives the same.
        for origin in late.replica.heads():
            entries = late.replica.read(origin, 0, 1 << 30)
            await late.store._upkeep._commit(entries, late.store._folder.again)
        assert late.state() == packed[0].state()
        for node in (*plain, *packed, late):
            await node.stop()

    asyncio.run(main())


async def settle(packed: list[StoreNode], late: StoreNode) -> None:
    """Compact all, bring all to agree, and let a new node sync from the first."""
    late.wall.ms = packed[0].wall.ms
    introduce([*packed, late])
    for node in packed:
        await node.store.compact()
    for to, of in [*permutations(packed, 2), *permutations(packed, 2)]:
        await pull(to, of)
    await pull(late, packed[0])
