"""A relay: what it is given, what it tells, and what its removal changes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from covey.fleet.machine import Machine
from covey.fleet.statements import (
    BadStatementError,
    Contact,
    open_statement,
)
from covey.fleet.views import show_node
from tests.fleet.fleet_nodes import (
    Node,
    Wall,
    found,
    join,
    meet,
    trio,
)

ADDRESS = "192.0.2.1"


def run(case: Callable[[Node], Awaitable[None]]) -> None:
    async def whole() -> None:
        admin, _ = await found(Wall())
        await case(admin)
        await admin.stop()

    asyncio.run(whole())


def test_removing_a_relay_changes_no_key() -> None:
    async def case(frigg: Node) -> None:
        heimdall, _ = await join(frigg, "heimdall", relay=True)
        frigg.known_secrets = ["TOKEN"]
        before = frigg.keys.current()
        done = await frigg.fleet.remove(heimdall.id[:8])
        assert done.secrets_known == []
        assert not done.data_keys_rotated
        assert frigg.keys.current() == before

    run(case)


def test_a_relay_tells_its_addresses() -> None:
    async def case(frigg: Node) -> None:
        odin, _ = await join(frigg, "odin")
        await meet(frigg, odin)
        relay, _ = await join(frigg, "heimdall", relay=True)
        assert await relay.fleet.announce(Machine("heimdall"), ("relay:13500",)) == "heimdall"
        settled = relay.roster.digest()
        await relay.fleet.announce(Machine("heimdall"), ("relay:13500",))
        assert relay.roster.digest() == settled
        await odin.fleet.announce(Machine("odin"), ("odin:13500",))
        await meet(frigg, odin, relay)
        assert frigg.fleet.member_addresses() == {"relay:13500", "odin:13500"}
        assert show_node(frigg.fleet.core, "heimdall").node.addresses == ("relay:13500",)
        assert relay.fleet.member_addresses() == set()
        await relay.fleet.announce(Machine("heimdall"), ("moved:13500",))
        await frigg.fleet.remove("odin")
        await meet(frigg, relay)
        assert frigg.fleet.member_addresses() == {"moved:13500"}
        lie = relay.fleet.core.sign_own(Contact(frigg.id, ("elsewhere:1",)))
        with pytest.raises(BadStatementError, match="of itself"):
            open_statement(lie.raw, frigg.roster.roster.fleet_id)

    run(case)


def test_a_relay_is_given_nothing_that_opens_an_entry() -> None:
    async def case(frigg: Node) -> None:
        odin, _ = await trio(frigg)
        await frigg.set("SECRET_NAME", b"secret value")
        relay, answer = await join(frigg, "heimdall", relay=True)
        await frigg.fleet.rotate_keys()
        await frigg.set("SECOND_NAME", b"second value")
        await meet(frigg, odin, relay)
        await relay.fleet.maintain()
        renewal = await frigg.fleet.renew(relay.fleet.renewal_request(), ADDRESS)
        await relay.fleet.accept_renewal(renewal)
        assert relay.head(frigg.id) == frigg.head(frigg.id)
        secrets = frigg.keys.secrets
        hidden = [item.key for item in secrets.generations]
        hidden += [item.seed for item in secrets.authority_keys]
        hidden += [b"SECRET_NAME", b"secret value", b"SECOND_NAME", b"second value", b"frigg"]
        hidden += [secrets.fleet_name.encode(), secrets.sign_seed, secrets.seal_seed]
        held = [answer, *relay.roster.export(), *_entries(relay)]
        for place, data in enumerate(held):
            for secret in hidden:
                assert secret not in data, place
        assert not [d for d in relay.roster.roster.data_keys if d.recipient == relay.id]
        assert not relay.keys.generations()
        assert relay.keys.secrets.authority_keys == ()
        assert relay.value("SECRET_NAME") is None

    run(case)


def _entries(node: Node) -> list[bytes]:
    entries = [entry for origin in node.log.heads() for entry in node.log.read(origin, 0, 1000)]
    assert entries
    return [each.key_hash + (each.payload or b"") + each.collection.encode() for each in entries]
