"""Keys, certificates and authorities change without anyone being lost."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable
from datetime import timedelta

import pytest

from covey.errors import (
    ConflictError,
    InvalidRequestError,
    UnauthenticatedError,
)
from covey.fleet.authority import read_certificate
from covey.fleet.identity import NodeIdentity
from covey.fleet.renewal import ask_for_renewal
from covey.fleet.roster_store import FleetRoster
from covey.fleet.statements import MAX_COUNTER, Leave, sign_statement
from covey.operations.access import Role
from tests.fleet.fleet_nodes import (
    Node,
    Wall,
    found,
    join,
    meet,
    renew,
    tell,
    trio,
    trusted_numbers,
)

ADDRESS = "192.0.2.1"


def run(case: Callable[[Node], Awaitable[None]]) -> None:
    async def whole() -> None:
        admin, _ = await found(Wall())
        await case(admin)
        await admin.stop()

    asyncio.run(whole())


def test_key_rotation_reaches_full_members_alone() -> None:
    async def case(frigg: Node) -> None:
        odin, _ = await trio(frigg)
        relay, _ = await join(frigg, "heimdall", relay=True)
        done = await frigg.fleet.rotate_keys()
        assert (done.number, done.recipients) == (1, 3)
        await meet(frigg, odin, relay)
        assert odin.keys.current() == frigg.keys.current()
        assert len(odin.keys.generations()) == 2
        assert relay.keys.generations() == ()
        await frigg.set("A", b"new")
        await meet(frigg, odin, relay)
        assert odin.value("A") == b"new"

    run(case)


def test_two_admins_that_rotate_apart_lose_no_key() -> None:
    async def case(frigg: Node) -> None:
        odin, loki = await trio(frigg, second=Role.ADMIN)
        await frigg.fleet.rotate_keys()
        await odin.fleet.rotate_keys()
        await frigg.set("A", b"frigg")
        await odin.set("B", b"odin")
        await meet(frigg, odin, loki)
        generations = [set(node.keys.generations()) for node in (frigg, odin, loki)]
        assert generations[0] == generations[1] == generations[2]
        assert len(generations[0]) == 3
        assert frigg.keys.current() == odin.keys.current() == loki.keys.current()
        assert (loki.value("A"), loki.value("B")) == (b"frigg", b"odin")

    run(case)


def test_two_admins_that_rotate_the_authority_apart_agree() -> None:
    async def case(frigg: Node) -> None:
        odin, loki = await trio(frigg, second=Role.ADMIN)
        await frigg.fleet.rotate_authority()
        frigg.wall.at += timedelta(seconds=1)
        await odin.fleet.rotate_authority()
        await meet(frigg, loki, odin)
        assert frigg.roster.digest() == odin.roster.digest() == loki.roster.digest()
        assert len({node.roster.roster.trusted for node in (frigg, odin, loki)}) == 1
        await odin.fleet.rotate_authority(finish=True)
        await meet(frigg, odin, loki)
        for node in (frigg, odin, loki):
            assert trusted_numbers(node) == [1]
            assert node.certificate_is_valid()

    run(case)


def test_an_admin_that_uses_up_the_versions_can_be_removed() -> None:
    async def case(frigg: Node) -> None:
        odin, _ = await trio(frigg, second=Role.ADMIN)
        spoiler = odin.fleet.core.issuer()
        spoiled = sign_statement(
            spoiler.authority.signing_key,
            spoiler.fleet_id,
            spoiler.roster.members[frigg.id].statement,
            version=MAX_COUNTER,
            issued_at=MAX_COUNTER,
        )
        await frigg.roster.merge([spoiled.raw])
        await frigg.fleet.remove("odin")
        again = FleetRoster(frigg.roster.roster.fleet_id, frigg.log.survivors())
        assert again.roster == frigg.roster.roster
        assert frigg.id in again.present()
        assert odin.id not in again.present()

    run(case)


def test_authority_rotation_with_overlap() -> None:
    async def case(frigg: Node) -> None:
        odin, loki = await trio(frigg, second=Role.ADMIN)
        with pytest.raises(ConflictError, match="No rotation"):
            await frigg.fleet.rotate_authority(finish=True)
        begun = await frigg.fleet.rotate_authority()
        assert begun.state == "overlap"
        with pytest.raises(ConflictError, match="under way"):
            await frigg.fleet.rotate_authority()
        await tell(frigg, odin, loki)
        thor, _ = await join(odin, "thor")
        nodes = (frigg, odin, loki, thor)
        await meet(*nodes)
        for node in nodes:
            assert trusted_numbers(node) == [0, 1]
            for other in nodes:
                assert node.fleet.member(other.keys.secrets.certificate) == other.id
        old = loki.keys.secrets.certificate
        finished = await odin.fleet.rotate_authority(finish=True)
        assert finished.fingerprint == begun.fingerprint
        await tell(*nodes)
        for node in nodes:
            assert trusted_numbers(node) == [1]
            assert node.certificate_is_valid()
            assert len(node.keys.secrets.authority_keys) == (node in (frigg, odin))
        with pytest.raises(UnauthenticatedError, match="no authority"):
            frigg.fleet.member(old)
        assert len(frigg.roster.roster.present) == 4
        await join(frigg, "sif")

    run(case)


def test_certificates_are_renewed_at_two_thirds_of_their_life() -> None:
    async def case(frigg: Node) -> None:
        odin, loki = await trio(frigg)
        first = odin.keys.secrets.certificate
        frigg.wall.at += timedelta(days=59)
        for node in (odin, frigg):
            await node.fleet.maintain()
        await tell(frigg, odin, loki)
        assert odin.keys.secrets.certificate == first
        frigg.wall.at += timedelta(days=2)
        await odin.fleet.maintain()
        asked = odin.roster.digest()
        await odin.fleet.maintain()
        assert odin.roster.digest() == asked, "one request is enough"
        await tell(odin, loki, frigg)
        await frigg.fleet.maintain()
        await tell(frigg, odin, loki)
        renewed = read_certificate(odin.keys.secrets.certificate)
        assert renewed.der != first
        assert renewed.not_after - frigg.wall.at == timedelta(days=90)
        assert odin.credentials == 1
        assert frigg.credentials == 1, "an admin renews its own"
        settled = frigg.roster.digest()
        await frigg.fleet.maintain()
        await odin.fleet.maintain()
        assert frigg.roster.digest() == settled == odin.roster.digest()

    run(case)


def test_admins_alone_have_certificates_for_what_they_advertise() -> None:
    async def case(frigg: Node) -> None:
        odin, loki = await trio(frigg, second=Role.ADMIN)
        for node in (frigg, odin, loki):
            node.fleet.core.around = dataclasses.replace(
                node.fleet.core.around, advertised=("cloud.example", "198.51.100.7")
            )
            await node.fleet.maintain()
        await tell(frigg, odin, loki)
        for node in (frigg, odin):
            found = read_certificate(node.keys.secrets.certificate)
            assert found.names >= {"cloud.example", "198.51.100.7", "localhost", "::1", node.id}
        assert "cloud.example" not in read_certificate(loki.keys.secrets.certificate).names
        settled = frigg.roster.digest()
        for node in (frigg, odin, loki):
            await node.fleet.maintain()
            assert node.roster.digest() == settled

    run(case)


def test_clocks_that_differ_cause_no_storm_of_renewals() -> None:
    async def case(frigg: Node) -> None:
        odin, loki = await trio(frigg)
        frigg.wall.at += timedelta(days=61)
        ahead, behind = Wall(), Wall()
        behind.at = frigg.wall.at - timedelta(hours=2)
        ahead.at = frigg.wall.at + timedelta(days=85)
        _set_clock(odin, behind)
        _set_clock(loki, ahead)
        for _ in range(3):
            for node in (odin, loki, frigg):
                await node.fleet.maintain()
                await tell(frigg, odin, loki)
        settled = frigg.roster.digest()
        for node in (odin, loki, frigg):
            await node.fleet.maintain()
            await tell(frigg, odin, loki)
        assert frigg.roster.digest() == settled
        issued = frigg.roster.roster.members[odin.id].certificate
        assert odin.keys.secrets.certificate != issued, "by its own clock it is not valid yet"
        behind.at += timedelta(hours=2)
        await odin.fleet.maintain()
        assert odin.keys.secrets.certificate == issued

    run(case)


def test_a_restored_older_roster_does_not_cost_an_admin_its_authority_key() -> None:
    async def case(frigg: Node) -> None:
        odin, _ = await trio(frigg)
        before = frigg.log.survivors()
        await frigg.fleet.rotate_authority()
        await frigg.fleet.rotate_authority(finish=True)
        await tell(frigg, odin)
        await frigg.stop()
        frigg.log = before
        await frigg.start()
        assert trusted_numbers(frigg) == [0]
        await renew(frigg, odin)
        assert trusted_numbers(frigg) == [1]
        assert frigg.certificate_is_valid()
        await frigg.fleet.rotate_keys()

    run(case)


def _set_clock(node: Node, wall: Wall) -> None:
    core = node.fleet.core
    core.around = dataclasses.replace(core.around, now=wall.now)


def test_an_expired_certificate_is_refused_and_renewed() -> None:
    async def case(frigg: Node) -> None:
        odin, loki = await trio(frigg)
        frigg.wall.at += timedelta(days=91)
        await frigg.fleet.maintain()
        with pytest.raises(UnauthenticatedError, match="has expired"):
            frigg.fleet.member(odin.keys.secrets.certificate)
        await renew(odin, loki)
        assert not _is_accepted(frigg, odin), "a member without the CA's key cannot issue"
        await renew(odin, frigg)
        assert _is_accepted(frigg, odin)
        frigg.wall.at += timedelta(minutes=11)
        stale = loki.fleet.renewal_request()
        frigg.wall.at += timedelta(minutes=11)
        with pytest.raises(UnauthenticatedError, match="too old"):
            await frigg.fleet.renew(stale, ADDRESS)

    run(case)


def test_a_strangers_renewal_request_lets_others_have_their_turn() -> None:
    async def case(frigg: Node) -> None:
        stranger, fleet_id = NodeIdentity.generate(), frigg.roster.roster.fleet_id
        statements = [
            sign_statement(
                stranger.signing_key,
                fleet_id,
                Leave(stranger.node_id, number),
                version=number,
                issued_at=number,
            ).raw
            for number in range(300)
        ]
        request = ask_for_renewal(stranger, fleet_id, statements, frigg.wall.now())
        answering = asyncio.ensure_future(frigg.fleet.renew(request, ADDRESS))
        turns = 0
        while not answering.done():
            turns += 1
            await asyncio.sleep(0)
        assert turns > 3
        with pytest.raises(UnauthenticatedError, match="not from a member"):
            answering.result()

    run(case)


def test_renewal_requests_of_strangers() -> None:
    async def case(frigg: Node) -> None:
        stranger, _ = await found(frigg.wall, "stranger")
        with pytest.raises(UnauthenticatedError):
            await renew(stranger, frigg)
        with pytest.raises(InvalidRequestError, match="malformed"):
            await frigg.fleet.renew(b"noise", ADDRESS)
        odin, _ = await join(frigg, "odin")
        forged = bytearray(odin.fleet.renewal_request())
        forged[-1] ^= 1
        with pytest.raises(UnauthenticatedError, match="not from a member"):
            await frigg.fleet.renew(bytes(forged), ADDRESS)
        assert len(frigg.roster.roster.present) == 2

    run(case)


def _is_accepted(by: Node, other: Node) -> bool:
    try:
        return by.fleet.member(other.keys.secrets.certificate) == other.id
    except UnauthenticatedError:
        return False
