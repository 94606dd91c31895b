"""Life in a fleet: removal, roles, names, leaving, and what a relay is given."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable

import msgspec
import pytest

from covey.errors import (
    ConflictError,
    InvalidRequestError,
    NotFoundError,
    PreconditionFailedError,
    RefusedError,
    UnauthenticatedError,
)
from covey.fleet.rings import own_ring
from covey.fleet.statements import (
    Authority,
    Removal,
    Retirement,
)
from covey.fleet.views import Standing, describe_fleet, list_nodes, show_node
from covey.operations.access import Role
from tests.fleet.fleet_nodes import (
    Node,
    Wall,
    found,
    invite,
    join,
    meet,
    redeem,
    renew,
    tell,
    trio,
    trusted_numbers,
)
from tests.fleet.statement_maker import STRANGER

ADDRESS = "192.0.2.1"


def run(case: Callable[[Node], Awaitable[None]]) -> None:
    async def whole() -> None:
        admin, _ = await found(Wall())
        await case(admin)
        await admin.stop()

    asyncio.run(whole())


def test_removal_changes_the_data_key_and_names_the_secrets() -> None:
    async def case(frigg: Node) -> None:
        odin, loki = await trio(frigg)
        await loki.set("A", b"1")
        await meet(frigg, odin, loki)
        frigg.known_secrets = ["TOKEN", "API_KEY"]
        old = frigg.keys.current()
        done = await frigg.fleet.remove("loki")
        assert done.secrets_known == ["API_KEY", "TOKEN"]
        assert (done.data_keys_rotated, done.authority_rotated) == (True, False)
        assert frigg.keys.current() != old
        await frigg.set("SECRET", b"after")
        await loki.set("A", b"late")
        await meet(frigg, odin, loki)
        assert odin.keys.current() == frigg.keys.current()
        assert odin.value("SECRET") == b"after"
        assert odin.keys_came == 1
        assert own_ring(frigg.roster.roster, loki.keys.identity).generations == (
            loki.keys.secrets.generations
        ), "nothing new is sealed to it"
        assert loki.keys.current() == old
        assert loki.value("SECRET") is None
        for node in (frigg, odin):
            assert node.value("A") == b"1", "entries after the cutoff are refused"
            assert node.roster.cutoff(loki.id) == 1
            assert node.roster.cutoff_chain(loki.id) == frigg.head(loki.id).chain
            with pytest.raises(RefusedError, match="not a member of this fleet any more"):
                node.fleet.member(loki.keys.secrets.certificate)
        with pytest.raises(RefusedError, match="not a member of the fleet any more"):
            _ = loki.fleet.core.me
        await loki.fleet.maintain()
        with pytest.raises(ConflictError, match="removed before"):
            await frigg.fleet.remove(loki.id)

    run(case)


def test_removing_an_admin_changes_the_authority_at_once() -> None:
    async def case(frigg: Node) -> None:
        odin, loki = await trio(frigg, second=Role.ADMIN)
        stolen = odin.keys.secrets.authority_keys[0].opened
        done = await frigg.fleet.remove("odin")
        assert done.authority_rotated
        await tell(frigg, loki)
        for node in (frigg, loki):
            assert trusted_numbers(node) == [1]
            assert node.certificate_is_valid()
            assert node.credentials == 1
        assert loki.fleet.member(frigg.keys.secrets.certificate) == frigg.id
        (held,) = frigg.keys.secrets.authority_keys
        assert held.seed != stolen.seed
        with pytest.raises(UnauthenticatedError, match="no authority"):
            loki.fleet.member(odin.keys.secrets.certificate)
        before = loki.roster.digest()
        forged = dataclasses.replace(frigg.fleet.core.issuer(), authority=stolen)
        attack = [
            forged.say(Removal(frigg.id, 0)),
            forged.say(dataclasses.replace(odin.roster.roster.members[odin.id]).statement),
            forged.introduce(dataclasses.replace(STRANGER, number=1)),
        ]
        await loki.roster.merge([item.raw for item in attack])
        assert loki.roster.digest() == before
        assert len(loki.roster.refused) == 3
        await tell(odin, loki)
        assert loki.roster.digest() == before
        assert not loki.roster.roster.members[odin.id].present
        thor, _ = await join(frigg, "thor")
        await meet(frigg, loki, thor)
        assert loki.fleet.member(thor.keys.secrets.certificate) == thor.id

    run(case)


@pytest.mark.parametrize("role", [Role.DEVELOPER, Role.ADMIN])
def test_a_removed_node_that_was_off_learns_of_its_removal_alone(role: Role) -> None:
    async def case(frigg: Node) -> None:
        odin, _ = await trio(frigg, second=role)
        await frigg.fleet.remove("odin")
        await frigg.fleet.rotate_keys()
        held = odin.roster.export()
        await renew(odin, frigg)
        assert not odin.fleet.core.is_member
        news = [item for item in odin.roster.statements.values() if item.raw not in held]
        assert {type(item.statement) for item in news} <= {Authority, Retirement, Removal}
        assert len(odin.keys.generations()) == 1

    run(case)


def test_a_node_that_was_off_during_an_admins_removal_catches_up_by_renewal() -> None:
    async def case(frigg: Node) -> None:
        _, loki = await trio(frigg, second=Role.ADMIN)
        await frigg.fleet.remove("odin")
        with pytest.raises(UnauthenticatedError, match="no authority"):
            frigg.fleet.member(loki.keys.secrets.certificate)
        with pytest.raises(UnauthenticatedError, match="no authority"):
            loki.fleet.member(frigg.keys.secrets.certificate)
        await renew(loki, frigg)
        assert frigg.fleet.member(loki.keys.secrets.certificate) == loki.id
        assert loki.fleet.member(frigg.keys.secrets.certificate) == frigg.id
        assert loki.keys.current() == frigg.keys.current()

    run(case)


def test_what_cannot_be_removed() -> None:
    async def case(frigg: Node) -> None:
        odin, _ = await trio(frigg)
        with pytest.raises(NotFoundError, match="No machine is called odim") as caught:
            await frigg.fleet.remove("odim")
        assert caught.value.hint == "Did you mean odin?"
        with pytest.raises(ConflictError, match="that you are on"):
            await frigg.fleet.remove("frigg")
        with pytest.raises(RefusedError, match="admin nodes") as refused:
            await odin.fleet.remove("loki")
        assert "frigg" in (refused.value.hint or "")
        assert len(odin.roster.roster.present) == 3

    run(case)


def test_roles() -> None:
    async def case(frigg: Node) -> None:
        odin, loki = await trio(frigg)
        with pytest.raises(ConflictError, match="only one"):
            await frigg.fleet.set_role("frigg", Role.VIEWER)
        await frigg.fleet.set_role("odin", Role.ADMIN)
        await tell(frigg, odin, loki)
        await redeem(odin, await invite(odin), "thor")
        await tell(frigg, odin, loki)
        await odin.fleet.set_role("frigg", Role.OPERATOR)
        await tell(frigg, odin, loki)
        assert trusted_numbers(loki) == [1]
        assert frigg.keys.secrets.authority_keys == ()
        assert frigg.certificate_is_valid()
        assert loki.roster.roster.members[frigg.id].statement.role is Role.OPERATOR
        with pytest.raises(RefusedError, match="admin nodes"):
            await invite(frigg)
        relay, _ = await join(odin, "heimdall", relay=True)
        with pytest.raises(InvalidRequestError, match="relay has no role"):
            await odin.fleet.set_role(relay.id, Role.ADMIN)

    run(case)


def test_leaving() -> None:
    async def case(frigg: Node) -> None:
        odin, loki = await trio(frigg)
        with pytest.raises(ConflictError, match="only admin"):
            await frigg.fleet.leave()
        await loki.set("LAST", b"words")
        await meet(frigg, odin, loki)
        await loki.fleet.leave()
        await tell(frigg, odin, loki)
        assert not odin.roster.roster.members[loki.id].present
        assert odin.roster.roster.members[loki.id].left
        old = frigg.keys.current()
        await frigg.fleet.maintain()
        await meet(frigg, odin, loki)
        assert odin.keys.current() == frigg.keys.current() != old
        assert loki.keys.current() == old
        assert odin.value("LAST") == b"words"
        assert not odin.roster.roster.members[loki.id].left

    run(case)


def test_names() -> None:
    async def case(frigg: Node) -> None:
        odin, loki = await trio(frigg)
        with pytest.raises(ConflictError, match="Another machine is called odin"):
            await frigg.fleet.rename("loki", "ODIN")
        version = odin.hosts.get("odin").version
        await odin.fleet.rename("odin", "allfather", version)
        assert odin.keys.secrets.name == "allfather"
        with pytest.raises(PreconditionFailedError, match="changed since"):
            await odin.fleet.rename("allfather", "odin", version)
        with pytest.raises(InvalidRequestError, match="not a name"):
            await odin.fleet.rename("allfather", "two words")
        await meet(frigg, odin, loki)
        assert frigg.fleet.core.name_of(odin.id) == "allfather"
        assert frigg.fleet.core.find_member("Allfather").node_id == odin.id

    run(case)


def test_lists_and_details() -> None:
    async def case(frigg: Node) -> None:
        odin, loki = await trio(frigg)
        relay, _ = await join(frigg, "heimdall", relay=True)
        frigg.connected = {odin.id}
        await frigg.hosts.upsert("nas", {"IP": "10.0.0.9", "backup_path": "/srv"})
        await frigg.hosts.upsert("loki", {"ip": "10.0.0.7"})
        nodes = list_nodes(frigg.fleet.core, everything=False)
        assert [(n.name, n.role, n.connected) for n in nodes] == [
            ("frigg", "admin", None),
            ("heimdall", None, False),
            ("loki", "developer", False),
            ("odin", "developer", True),
        ]
        await frigg.fleet.remove("loki")
        nodes = list_nodes(frigg.fleet.core, everything=True)
        standing = {(node.name, node.standing) for node in nodes}
        assert ("nas", Standing.RECORDED) in standing
        assert (loki.id[:8], Standing.REMOVED) in standing
        assert ("loki", Standing.RECORDED) in standing, "its fields stay on record"
        shown = show_node(frigg.fleet.core, "nas")
        assert shown.fields == {"backup_path": "/srv", "ip": "10.0.0.9"}
        details = show_node(frigg.fleet.core, "odin")
        assert (details.node.node_id, details.hostname) == (odin.id, "odin.example")
        assert (await frigg.fleet.remove("nas")).node_id is None
        info = describe_fleet(frigg.fleet.core)
        assert (info.members, info.relays, info.admins) == (3, 1, ["frigg"])
        assert info.holds_authority
        await tell(frigg, relay)
        seen = list_nodes(relay.fleet.core, everything=False)
        assert {node.name for node in seen} == {frigg.id[:8], odin.id[:8], "heimdall"}
        assert show_node(relay.fleet.core, frigg.id).fields == {}
        assert not describe_fleet(relay.fleet.core).holds_authority

    run(case)


def test_membership_survives_a_restart() -> None:
    async def case(frigg: Node) -> None:
        odin, _ = await trio(frigg)
        await frigg.fleet.rotate_keys()
        await tell(frigg, odin)
        assert odin.saved, "the keyring is saved when keys come"
        await odin.stop()
        before = odin.roster.digest()
        odin.log = odin.log.survivors()
        await odin.start()
        assert odin.roster.digest() == before
        assert odin.keys.current() == frigg.keys.current()
        odin.fleet.close()

    run(case)


def test_a_full_disk_changes_nothing() -> None:
    async def case(frigg: Node) -> None:
        await trio(frigg)
        before, key = frigg.roster.digest(), frigg.keys.current()

        async def full(_namespace: str, _key: str, _value: bytes | None) -> None:
            raise ConflictError("full")

        put, frigg.log.put_local = frigg.log.put_local, full  # type: ignore[method-assign, assignment]
        with pytest.raises(ConflictError):
            await frigg.fleet.remove("loki")
        frigg.log.put_local = put  # type: ignore[method-assign]
        assert frigg.roster.digest() == before
        assert frigg.keys.current() == key
        assert len(frigg.roster.roster.present) == 3

    run(case)


def test_boxes_cannot_be_passed_on_in_another_name() -> None:
    async def case(frigg: Node) -> None:
        odin, loki = await trio(frigg)
        issuer = frigg.fleet.core.issuer()
        roster = frigg.roster.roster
        true = next(item for item in roster.data_keys if item.recipient == odin.id)
        passed_on = msgspec.structs.replace(true, issuer=loki.id)
        await frigg.fleet.core.commit([issuer.say(passed_on)])
        alone = dataclasses.replace(frigg.roster.roster, data_keys=(passed_on,))
        assert own_ring(alone, odin.keys.identity).generations == ()
        assert own_ring(frigg.roster.roster, odin.keys.identity).generations

    run(case)
