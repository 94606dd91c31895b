"""The roster of a running node: persistence, exchange, reports, listeners."""

from __future__ import annotations

import asyncio

import pytest

from covey.errors import DamagedError
from covey.fleet.roster_store import FleetRoster
from covey.store.ports import RosterPort, Trust
from covey.testing.memory_log import MemoryLog
from tests.fleet.statement_maker import (
    CHAIN,
    FLEET,
    NODES,
    STRANGER,
    introduce,
    member,
    removal,
    sign,
)

BASE = [introduce(0).raw, sign(CHAIN[0], member(NODES[0])).raw]


def ports(roster: FleetRoster) -> tuple[Trust, RosterPort]:
    return roster, roster


def test_it_keeps_statements_over_a_restart() -> None:
    log = MemoryLog()
    roster = FleetRoster(FLEET, log)
    assert asyncio.run(roster.merge(BASE))
    again = FleetRoster(FLEET, log.survivors())
    assert again.roster == roster.roster
    assert again.digest() == roster.digest()
    assert sorted(again.export()) == sorted(BASE)


def test_equal_statements_have_equal_digests_in_any_order() -> None:
    one, other = FleetRoster(FLEET, MemoryLog()), FleetRoster(FLEET, MemoryLog())
    asyncio.run(one.merge(BASE))
    for raw in BASE:
        asyncio.run(other.merge([raw]))
    assert one.digest() == other.digest()
    assert one.export() == other.export()
    assert not asyncio.run(one.merge(other.export()))


def test_trust() -> None:
    trust, port = ports(FleetRoster(FLEET, MemoryLog()))
    assert trust.public_key(NODES[0].node_id) is None
    assert trust.cutoff(NODES[0].node_id) is None
    asyncio.run(port.merge(BASE))
    key = trust.public_key(NODES[0].node_id)
    assert key is not None
    assert key.public_bytes_raw() == NODES[0].sign_public
    asyncio.run(port.merge([sign(CHAIN[0], removal(NODES[0], 17)).raw]))
    assert trust.cutoff(NODES[0].node_id) == 17
    assert trust.cutoff_chain(NODES[0].node_id) == bytes(32)
    assert trust.public_key(NODES[0].node_id) is not None


def test_forged_and_garbled_statements_are_reported_and_do_not_block_the_rest() -> None:
    roster = FleetRoster(FLEET, MemoryLog())
    forged = sign(STRANGER, member(NODES[1])).raw
    assert asyncio.run(roster.merge([b"noise", forged, *BASE]))
    assert set(roster.roster.members) == {NODES[0].node_id}
    assert len(roster.refused) == 2
    assert "authority" in roster.refused[1].reason
    for _ in range(100):
        asyncio.run(roster.merge([b"noise"]))
    assert len(roster.refused) == 50


def test_listeners_hear_changes_alone() -> None:
    roster = FleetRoster(FLEET, MemoryLog())
    heard: list[int] = []
    cancel = roster.subscribe(lambda: heard.append(len(roster.roster.members)))
    asyncio.run(roster.merge(BASE))
    asyncio.run(roster.merge(BASE))
    assert heard == [1]
    cancel()
    asyncio.run(roster.merge([sign(CHAIN[0], member(NODES[1])).raw]))
    assert heard == [1]


def test_concurrent_merges_lose_nothing() -> None:
    roster = FleetRoster(FLEET, MemoryLog())

    async def all_at_once() -> None:
        await roster.merge(BASE)
        batches = [[sign(CHAIN[0], member(node)).raw] for node in NODES]
        await asyncio.gather(*(roster.merge(batch) for batch in batches))

    asyncio.run(all_at_once())
    assert set(roster.roster.members) == {node.node_id for node in NODES}


def test_a_cancelled_caller_leaves_disk_and_memory_alike() -> None:
    log = MemoryLog()
    roster = FleetRoster(FLEET, log)
    reached, go_on = asyncio.Event(), asyncio.Event()
    put = log.put_local

    async def slow(namespace: str, key: str, value: bytes | None) -> None:
        await put(namespace, key, value)
        reached.set()
        await go_on.wait()

    async def cancel() -> None:
        log.put_local = slow  # type: ignore[method-assign]
        merging = asyncio.create_task(roster.merge(BASE))
        await reached.wait()
        merging.cancel()
        with pytest.raises(asyncio.CancelledError):
            await merging
        go_on.set()
        await roster.merge([sign(CHAIN[0], member(NODES[1])).raw])

    asyncio.run(cancel())
    assert len(roster.roster.members) == 2
    assert FleetRoster(FLEET, log.survivors()).digest() == roster.digest()


def test_damaged_state_is_told_apart_from_an_empty_one() -> None:
    log = MemoryLog()
    asyncio.run(log.put_local("fleet", "statements", b"\xc1 damaged"))
    with pytest.raises(DamagedError, match="damaged"):
        FleetRoster(FLEET, log)


def test_a_flood_of_statements_lets_others_have_their_turn() -> None:
    roster = FleetRoster(FLEET, MemoryLog())
    flood = [sign(STRANGER, member(NODES[0]), version=n).raw for n in range(1, 400)]

    async def turns() -> int:
        count = 0
        merging = asyncio.ensure_future(roster.merge([*flood, *BASE]))
        while not merging.done():
            count += 1
            await asyncio.sleep(0)
        assert merging.result()
        return count

    assert asyncio.run(turns()) > 5
