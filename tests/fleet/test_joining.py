"""Invitations, tokens and the join protocol, with everything that can go wrong on the way."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable
from datetime import timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from covey.errors import (
    ConflictError,
    DamagedError,
    InvalidRequestError,
    NotFoundError,
    RefusedError,
    UnauthenticatedError,
)
from covey.fleet.admission import MAX_FAILURES
from covey.fleet.identity import NodeIdentity
from covey.fleet.invitation import Invitation, read_token, write_token
from covey.fleet.issuing import Issuer
from covey.fleet.joining import (
    JoinAnswer,
    accept_join,
    answer_join,
    ask_to_join,
    read_join_request,
    request_is_proved,
)
from covey.fleet.machine import Machine
from covey.fleet.node_secrets import GenerationKey, KeyRing
from covey.operations.access import Role
from tests.fleet.fleet_nodes import Node, Wall, found, invite, join, meet, redeem

INVITATION = Invitation(b"f" * 16, b"i" * 8, b"s" * 16, b"a" * 32, 1_900_000_000, ("host:13500",))
ADDRESS = "192.0.2.1"


def run(case: Callable[[Node], Awaitable[None]]) -> None:
    async def whole() -> None:
        admin, _ = await found(Wall())
        await case(admin)
        await admin.stop()

    asyncio.run(whole())


@given(
    st.binary(min_size=16, max_size=16),
    st.integers(0, 1 << 40),
    st.lists(st.text(min_size=3, max_size=60), min_size=1, max_size=4),
)
def test_tokens_round_trip(secret: bytes, expires_at: int, addresses: list[str]) -> None:
    made = msgspec.structs.replace(
        INVITATION, secret=secret, expires_at=expires_at, addresses=tuple(addresses)
    )
    token = write_token(made)
    assert read_token(token) == made
    assert read_token(f"  {token[:30]}\n {token[30:]} \n") == made


@given(st.data())
def test_a_mistyped_token_is_told(data: st.DataObject) -> None:
    token = write_token(INVITATION)
    at = data.draw(st.integers(7, len(token) - 2))
    other = data.draw(st.sampled_from("abcXYZ019-_").filter(lambda char: char != token[at]))
    with pytest.raises(InvalidRequestError, match="not a usable invitation"):
        read_token(token[:at] + other + token[at + 1 :])


@pytest.mark.parametrize(
    "text, reason",
    [
        ("", "begins with covey1-"),
        ("hello", "begins with covey1-"),
        ("covey2-abc", "newer Covey"),
        ("covey1-", "incomplete"),
        ("covey1-a*b", "characters that no token has"),
        (write_token(INVITATION)[:-8], "incomplete|cut off"),
        ("covey1-" + "a" * 5000, "too long"),
    ],
)
def test_garbled_tokens(text: str, reason: str) -> None:
    with pytest.raises(InvalidRequestError, match=reason) as caught:
        read_token(text)
    assert "covey invite" in (caught.value.hint or "")


def test_secrets_do_not_show() -> None:
    assert repr(INVITATION) == "Invitation(6969696969696969)"


def test_a_joined_node_reads_and_writes() -> None:
    async def case(frigg: Node) -> None:
        await frigg.set("TOKEN", b"from frigg")
        odin, _ = await join(frigg, "odin")
        await meet(frigg, odin)
        assert odin.value("TOKEN") == b"from frigg"
        await odin.set("TOKEN", b"from odin")
        await meet(frigg, odin)
        assert frigg.value("TOKEN") == b"from odin"
        assert odin.certificate_is_valid()
        assert frigg.fleet.member(odin.keys.secrets.certificate) == odin.id
        assert odin.fleet.member(frigg.keys.secrets.certificate) == frigg.id
        host = odin.hosts.get("odin")
        assert (host.node_id, host.hostname) == (odin.id, "odin.example")
        assert odin.keys.secrets.name == "odin"
        assert odin.keys.secrets.fleet_name == frigg.keys.secrets.fleet_name
        assert odin.roster.roster.members[odin.id].statement.role is Role.DEVELOPER
        assert odin.first.secrets.authority_keys == (), "it was not even sealed to it"
        await odin.stop()

    run(case)


def test_a_taken_name_gets_a_number() -> None:
    async def case(frigg: Node) -> None:
        names = [(await join(frigg, name))[0].keys.secrets.name for name in ("pi", "Pi", "frigg")]
        assert names == ["pi", "Pi-2", "frigg-2"]

    run(case)


def test_a_token_is_good_once() -> None:
    async def case(frigg: Node) -> None:
        invitation = await invite(frigg)
        await redeem(frigg, invitation, "odin")
        with pytest.raises(UnauthenticatedError, match="used already"):
            await redeem(frigg, invitation, "loki")
        assert len(frigg.roster.roster.present) == 2

    run(case)


def test_of_two_at_once_one_gets_in() -> None:
    async def case(frigg: Node) -> None:
        invitation = await invite(frigg)
        tries = [redeem(frigg, invitation, name) for name in ("odin", "loki")]
        results = await asyncio.gather(*tries, return_exceptions=True)
        assert sum(isinstance(item, UnauthenticatedError) for item in results) == 1
        assert len(frigg.roster.roster.present) == 2

    run(case)


def test_a_replayed_request_is_refused() -> None:
    async def case(frigg: Node) -> None:
        invitation = await invite(frigg)
        request = ask_to_join(
            invitation, NodeIdentity.generate(), Machine("odin"), frigg.wall.now()
        )
        await frigg.fleet.admit(request, ADDRESS)
        with pytest.raises(UnauthenticatedError, match="used already"):
            await frigg.fleet.admit(request, ADDRESS)

    run(case)


def test_an_expired_token_is_refused_on_both_sides() -> None:
    async def case(frigg: Node) -> None:
        invitation = await invite(frigg, life=timedelta(hours=1))
        request = ask_to_join(
            invitation, NodeIdentity.generate(), Machine("odin"), frigg.wall.now()
        )
        frigg.wall.at += timedelta(hours=1)
        with pytest.raises(UnauthenticatedError, match="expired"):
            ask_to_join(invitation, NodeIdentity.generate(), Machine("odin"), frigg.wall.now())
        with pytest.raises(UnauthenticatedError, match="expired"):
            await frigg.fleet.admit(request, ADDRESS)
        assert frigg.fleet.invitations.open_invitations() == []
        await frigg.fleet.maintain()
        with pytest.raises(UnauthenticatedError, match="has expired"):
            await frigg.fleet.admit(request, ADDRESS)

    run(case)


@pytest.mark.parametrize("life", [timedelta(0), timedelta(days=31), timedelta(seconds=-5)])
def test_an_invitations_life_is_bounded(life: timedelta) -> None:
    async def case(frigg: Node) -> None:
        with pytest.raises(InvalidRequestError, match="at most 30 days"):
            await invite(frigg, life=life)

    run(case)


def test_wrong_proofs_end_the_invitation() -> None:
    async def case(frigg: Node) -> None:
        invitation = await invite(frigg)
        guess = msgspec.structs.replace(invitation, secret=bytes(16))
        for _ in range(MAX_FAILURES):
            with pytest.raises(UnauthenticatedError, match="secret is wrong"):
                await redeem(frigg, guess, "loki")
        with pytest.raises(UnauthenticatedError, match="revoked"):
            await redeem(frigg, invitation, "odin")
        assert len(frigg.roster.roster.present) == 1

    run(case)


def test_revoked_and_unknown_invitations() -> None:
    async def case(frigg: Node) -> None:
        invitation = await invite(frigg)
        (kept,) = frigg.fleet.invitations.open_invitations()
        assert kept.id == invitation.id.hex()
        assert kept.proof_key.hex() not in repr(kept)
        await frigg.fleet.invitations.revoke(kept.id)
        with pytest.raises(UnauthenticatedError, match="revoked"):
            await redeem(frigg, invitation, "odin")
        with pytest.raises(NotFoundError, match=kept.id):
            await frigg.fleet.invitations.revoke(kept.id)

    run(case)


def test_malformed_requests() -> None:
    async def case(frigg: Node) -> None:
        invitation = await invite(frigg)
        identity = NodeIdentity.generate()
        request = ask_to_join(invitation, identity, Machine("odin"), frigg.wall.now())
        for data in (b"", b"noise", bytes(20_000), request[:-1]):
            with pytest.raises(InvalidRequestError, match="malformed"):
                await frigg.fleet.admit(data, ADDRESS)
        read, _ = read_join_request(request)
        stolen = msgspec.structs.replace(read, signature=bytes(64))
        with pytest.raises(InvalidRequestError, match="malformed"):
            await frigg.fleet.admit(msgspec.msgpack.encode(stolen), ADDRESS)

    run(case)


@given(st.data())
def test_an_altered_request_never_gets_in(data: st.DataObject) -> None:
    request = bytearray(
        ask_to_join(INVITATION, NodeIdentity.generate(), Machine("odin"), Wall().now())
    )
    at = data.draw(st.integers(0, len(request) - 1))
    request[at] ^= 1 << data.draw(st.integers(0, 7))
    try:
        read, _ = read_join_request(bytes(request))
    except InvalidRequestError:
        return
    assert not request_is_proved(read, INVITATION.proof_key)


def test_a_key_cannot_join_twice() -> None:
    async def case(frigg: Node) -> None:
        identity = NodeIdentity.generate()
        for expected in (None, ConflictError):
            invitation = await invite(frigg)
            request = ask_to_join(invitation, identity, Machine("odin"), frigg.wall.now())
            if expected is None:
                await frigg.fleet.admit(request, ADDRESS)
            else:
                with pytest.raises(expected, match="before"):
                    await frigg.fleet.admit(request, ADDRESS)

    run(case)


def test_roles_and_relays() -> None:
    async def case(frigg: Node) -> None:
        admin, _ = await join(frigg, "odin", role=Role.ADMIN)
        assert admin.keys.secrets.authority_keys == frigg.keys.secrets.authority_keys
        relay, _ = await join(frigg, "heimdall", relay=True)
        assert not relay.keys.generations()
        assert relay.keys.secrets.authority_keys == ()
        with pytest.raises(InvalidRequestError, match="relay has no role"):
            await invite(frigg, role=Role.ADMIN, relay=True)
        with pytest.raises(RefusedError, match="admin nodes") as caught:
            await invite(relay)
        assert frigg.id[:8] in (caught.value.hint or "")
        developer, _ = await join(admin, "thor")
        await meet(frigg, admin, developer)
        with pytest.raises(RefusedError) as caught:
            await invite(developer)
        assert "frigg" in (caught.value.hint or "")
        assert "odin" in (caught.value.hint or "")

    run(case)


async def _exchange(frigg: Node) -> tuple[Invitation, NodeIdentity, bytes, bytes]:
    invitation, identity = await invite(frigg), NodeIdentity.generate()
    request = ask_to_join(invitation, identity, Machine("odin"), frigg.wall.now())
    return invitation, identity, request, await frigg.fleet.admit(request, ADDRESS)


def test_an_answer_from_someone_else_is_refused() -> None:
    async def case(frigg: Node) -> None:
        invitation, identity, request, answer = await _exchange(frigg)
        now, machine = frigg.wall.now(), Machine("odin")
        forged = answer_join(request, b"x" * 32, JoinAnswer("odin", "evil", []))
        empty = answer_join(request, invitation.proof_key, JoinAnswer("odin", "evil", []))
        for data in (forged, empty, b"noise", answer[:-1], answer[:-1] + b"\0"):
            with pytest.raises(UnauthenticatedError, match="does not come from the fleet"):
                accept_join(invitation, identity, machine, request, data, now)
        pinned = msgspec.structs.replace(invitation, authority=bytes(32))
        with pytest.raises(UnauthenticatedError, match="authority is not the one"):
            accept_join(pinned, identity, machine, request, answer, now)
        accept_join(invitation, identity, machine, request, answer, now)

    run(case)


def test_an_answer_is_good_for_its_request_alone() -> None:
    async def case(frigg: Node) -> None:
        invitation, identity, _, answer = await _exchange(frigg)
        now, machine = frigg.wall.now(), Machine("odin")
        again = ask_to_join(invitation, NodeIdentity.generate(), machine, now)
        with pytest.raises(UnauthenticatedError, match="does not know the invitation"):
            accept_join(invitation, identity, machine, again, answer, now)

    run(case)


def test_a_wrong_data_key_is_found_at_the_join(monkeypatch: pytest.MonkeyPatch) -> None:
    async def case(frigg: Node) -> None:
        wrong = KeyRing((GenerationKey.generate(0),))
        issuer = frigg.fleet.core.issuer

        def with_wrong_ring() -> Issuer:
            return dataclasses.replace(issuer(), ring=wrong)

        monkeypatch.setattr(frigg.fleet.core, "issuer", with_wrong_ring)
        with pytest.raises(DamagedError, match=r"data keys .* are not those"):
            await join(frigg, "odin")

    run(case)


def test_no_address_no_invitation() -> None:
    async def case(frigg: Node) -> None:
        core = frigg.fleet.core
        core.around = dataclasses.replace(core.around, addresses=list)
        with pytest.raises(InvalidRequestError, match="no address") as caught:
            await invite(frigg)
        assert "server.advertise" in (caught.value.hint or "")

    run(case)
