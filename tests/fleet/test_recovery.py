"""The recovery key: how it is written and typed, and how it regains a fleet."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from covey.errors import (
    DamagedError,
    InvalidRequestError,
    RateLimitedError,
    RefusedError,
    UnauthenticatedError,
)
from covey.fleet import renewal, upkeep
from covey.fleet.founding import regain_fleet
from covey.fleet.machine import Machine
from covey.fleet.recovery import (
    RecoverAnswer,
    RecoverRequest,
    RecoveryKey,
    ask_for_recovery,
    read_recovery_key,
)
from covey.fleet.statements import Recovery
from covey.operations.access import Role
from tests.fleet.fleet_nodes import Node, Wall, found, join, meet, recover, tell

ADDRESS = "192.0.2.1"
KEY = RecoveryKey(bytes(range(32)))
keys = st.binary(min_size=32, max_size=32).map(RecoveryKey)


def run(case: Callable[[Node, RecoveryKey], Awaitable[None]]) -> None:
    async def whole() -> None:
        admin, key = await found(Wall())
        await case(admin, key)
        await admin.stop()

    asyncio.run(whole())


@given(keys)
def test_it_is_printed_in_groups_and_read_again(key: RecoveryKey) -> None:
    groups = key.text.split("-")
    assert [len(group) for group in groups] == [5] * 11
    assert read_recovery_key(key.text) == key


@given(keys)
def test_it_is_read_as_people_type(key: RecoveryKey) -> None:
    typed = key.text.lower().replace("-", " ").replace("0", "o").replace("1", "l")
    assert read_recovery_key(f" {typed}\n") == key
    assert read_recovery_key(key.text.replace("-", "").replace("1", "I")) == key


@given(keys, st.integers(0, 54), st.sampled_from("0123456789ABCDEFGHJKMNPQRSTVWXYZ"))
def test_one_mistyped_character_is_found(key: RecoveryKey, at: int, char: str) -> None:
    plain = key.text.replace("-", "")
    typed = plain[:at] + char + plain[at + 1 :]
    if typed == plain:
        assert read_recovery_key(typed) == key
    else:
        with pytest.raises(InvalidRequestError, match="mistyped"):
            read_recovery_key(typed)


@pytest.mark.parametrize(
    "text, reason",
    [
        ("", "0 characters instead of 55"),
        (KEY.text[:-1], "54 characters"),
        (KEY.text + "0", "56 characters"),
        (KEY.text.replace("0", "U"), "no recovery key has the character 'U'"),
    ],
)
def test_what_is_no_recovery_key(text: str, reason: str) -> None:
    with pytest.raises(InvalidRequestError, match=reason):
        read_recovery_key(text)


def test_it_does_not_show() -> None:
    assert repr(KEY) == "RecoveryKey()"


def test_a_new_machine_regains_the_fleet() -> None:
    async def case(frigg: Node, key: RecoveryKey) -> None:
        odin, _ = await join(frigg, "odin")
        await frigg.set("TOKEN", b"old")
        await frigg.fleet.rotate_keys()
        await frigg.set("OTHER", b"new")
        await meet(frigg, odin)
        saga = await recover(odin, read_recovery_key(key.text), "saga")
        assert odin.fleet.member(saga.keys.secrets.certificate) == saga.id
        await meet(odin, saga)
        assert (saga.value("TOKEN"), saga.value("OTHER")) == (b"old", b"new")
        assert saga.roster.roster.members[saga.id].statement.role is Role.ADMIN
        assert await saga.fleet.announce(Machine("saga")) == "saga"
        with pytest.raises(UnauthenticatedError, match="not the recovery key"):
            await recover(odin, key, "loki")
        assert saga.new_recovery_key is not None
        sif = await recover(odin, saga.new_recovery_key, "sif")
        assert sif.keys.generations() == saga.keys.generations()
        await tell(odin, saga, sif)
        await saga.fleet.remove(sif.id)
        await tell(odin, saga)
        done = await saga.fleet.remove("frigg")
        assert done.authority_rotated
        await tell(odin, saga)
        assert odin.certificate_is_valid()
        assert not odin.roster.roster.members[frigg.id].present
        thor, _ = await join(saga, "thor")
        await meet(saga, odin, thor)
        assert thor.value("TOKEN") == b"old"

    run(case)


def test_a_relay_is_helper_enough() -> None:
    async def case(frigg: Node, key: RecoveryKey) -> None:
        await frigg.set("TOKEN", b"value")
        relay, _ = await join(frigg, "heimdall", relay=True)
        await meet(frigg, relay)
        await frigg.stop()
        saga = await recover(relay, key, "saga")
        await meet(relay, saga)
        assert saga.value("TOKEN") == b"value"

    async def whole() -> None:
        await case(*(await found(Wall())))

    asyncio.run(whole())


def test_it_works_after_rotations_by_several_admins() -> None:
    async def case(frigg: Node, key: RecoveryKey) -> None:
        odin, _ = await join(frigg, "odin", role=Role.ADMIN)
        await meet(frigg, odin)
        await frigg.fleet.rotate_keys()
        await odin.fleet.rotate_keys()
        await frigg.set("A", b"1")
        await odin.set("B", b"2")
        await meet(frigg, odin)
        await odin.fleet.rotate_authority()
        saga = await recover(odin, key, "saga")
        await meet(frigg, odin, saga)
        assert (saga.value("A"), saga.value("B")) == (b"1", b"2")
        await saga.fleet.rotate_authority(finish=True)
        await meet(frigg, odin, saga)
        assert saga.new_recovery_key is not None
        sif = await recover(frigg, saga.new_recovery_key, "sif")
        await meet(frigg, odin, saga, sif)
        for node in (frigg, odin, saga, sif):
            assert node.certificate_is_valid()
            assert len(node.roster.roster.trusted) == 1

    run(case)


def test_it_works_after_an_admin_was_removed() -> None:
    async def case(frigg: Node, key: RecoveryKey) -> None:
        odin, _ = await join(frigg, "odin", role=Role.ADMIN)
        await meet(frigg, odin)
        await frigg.set("A", b"1")
        await frigg.fleet.remove("odin")
        saga = await recover(frigg, key, "saga")
        await meet(frigg, saga)
        assert saga.value("A") == b"1"
        assert saga.keys.current() == frigg.keys.current()

    run(case)


def test_a_new_recovery_key_makes_the_old_one_useless() -> None:
    async def case(frigg: Node, key: RecoveryKey) -> None:
        odin, _ = await join(frigg, "odin", role=Role.ADMIN)
        fresh = await odin.fleet.renew_recovery_key()
        await tell(frigg, odin)
        await frigg.fleet.rotate_keys()
        await tell(frigg, odin)
        with pytest.raises(UnauthenticatedError, match="not the recovery key"):
            await recover(frigg, key, "loki")
        saga = await recover(frigg, fresh, "saga")
        assert len(saga.keys.generations()) == 2

    run(case)


def test_wrong_keys_used_and_old_challenges() -> None:
    async def case(frigg: Node, key: RecoveryKey) -> None:
        with pytest.raises(UnauthenticatedError, match="not the recovery key"):
            await recover(frigg, RecoveryKey.generate(), "loki")
        challenge = await frigg.fleet.challenge(ADDRESS)
        request = ask_for_recovery(key, challenge)
        await frigg.fleet.recover(request, ADDRESS)
        with pytest.raises(UnauthenticatedError, match="used already"):
            await frigg.fleet.recover(request, ADDRESS)
        request = ask_for_recovery(key, await frigg.fleet.challenge(ADDRESS))
        frigg.wall.at += timedelta(minutes=2)
        with pytest.raises(UnauthenticatedError, match="too old"):
            await frigg.fleet.recover(request, ADDRESS)
        made_up = ask_for_recovery(key, bytes(32))
        with pytest.raises(UnauthenticatedError, match="challenge"):
            await frigg.fleet.recover(made_up, ADDRESS)
        elsewhere = msgspec.msgpack.decode(made_up, type=RecoverRequest)
        fresh = await frigg.fleet.challenge(ADDRESS)
        replayed = msgspec.structs.replace(elsewhere, challenge=fresh)
        with pytest.raises(UnauthenticatedError, match="not the recovery key"):
            await frigg.fleet.recover(msgspec.msgpack.encode(replayed), ADDRESS)
        for noise in (b"", b"noise", made_up[:-1]):
            with pytest.raises(InvalidRequestError, match="malformed"):
                await frigg.fleet.recover(noise, ADDRESS)
        with pytest.raises(InvalidRequestError, match="wrong length"):
            ask_for_recovery(key, b"short")

    run(case)


def test_challenges_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    async def case(frigg: Node, key: RecoveryKey) -> None:
        monkeypatch.setattr(upkeep, "_MAX_CHALLENGES", 2)
        for _ in range(2):
            await frigg.fleet.challenge(ADDRESS)
        with pytest.raises(RateLimitedError):
            await frigg.fleet.challenge(ADDRESS)
        frigg.wall.at += timedelta(minutes=2)
        await frigg.fleet.challenge(ADDRESS)

    run(case)


def test_an_answer_from_a_false_fleet_is_refused() -> None:
    async def case(frigg: Node, key: RecoveryKey) -> None:
        evil, _ = await found(frigg.wall, "evil")
        now, machine = frigg.wall.now(), Machine("saga")

        def answer_of(node: Node) -> bytes:
            fleet_id = node.roster.roster.fleet_id
            return msgspec.msgpack.encode(RecoverAnswer(fleet_id, node.roster.export()))

        with pytest.raises(UnauthenticatedError, match="does not belong"):
            regain_fleet(key, answer_of(evil), machine, now)
        (true,) = frigg.roster.roster.recovery
        issuer = evil.fleet.core.issuer()
        await evil.fleet.core.commit([issuer.say(msgspec.structs.replace(true, number=9))])
        with pytest.raises(UnauthenticatedError, match="does not belong"):
            regain_fleet(key, answer_of(evil), machine, now)
        for noise in (b"", b"noise", answer_of(frigg)[:-1]):
            with pytest.raises(InvalidRequestError, match="cannot be read"):
                regain_fleet(key, noise, machine, now)
        assert regain_fleet(key, answer_of(frigg), machine, now).keys.secrets.generations

    run(case)


def test_an_outdated_box_is_told() -> None:
    async def case(frigg: Node, key: RecoveryKey) -> None:
        await frigg.fleet.rotate_keys()
        statements = [
            item.raw
            for item in frigg.roster.statements.values()
            if not isinstance(item.statement, Recovery)
        ]
        fleet_id = frigg.roster.roster.fleet_id
        old = [raw for raw in frigg.first.statements if raw not in statements]
        answer = msgspec.msgpack.encode(RecoverAnswer(fleet_id, [*statements, *old]))
        with pytest.raises(DamagedError, match="out of date"):
            regain_fleet(key, answer, Machine("saga"), frigg.wall.now())

    run(case)


def test_a_large_fleet_hears_of_the_new_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    async def case(frigg: Node, key: RecoveryKey) -> None:
        for name in ("odin", "thor", "loki"):
            await join(frigg, name)
        monkeypatch.setattr(renewal, "MAX_PUSHED_BYTES", 5000)
        challenge = await frigg.fleet.challenge(ADDRESS)
        answer = await frigg.fleet.recover(ask_for_recovery(key, challenge), ADDRESS)
        keys = regain_fleet(key, answer, Machine("saga"), frigg.wall.now()).keys
        identity, fleet_id = keys.secrets.identity, keys.secrets.fleet_id
        request = renewal.ask_for_renewal(identity, fleet_id, keys.statements, frigg.wall.now())
        assert len(request) < 5500 < sum(map(len, keys.statements))
        await frigg.fleet.renew(request, ADDRESS)
        assert frigg.fleet.member(keys.secrets.certificate) == keys.secrets.node_id

    run(case)


def test_the_recovery_key_alone_opens_the_box() -> None:
    async def case(frigg: Node, key: RecoveryKey) -> None:
        assert key.text not in repr(frigg.roster.roster)
        relay, _ = await join(frigg, "heimdall", relay=True)
        with pytest.raises(RefusedError):
            await relay.fleet.renew_recovery_key()

    run(case)
