"""What a node says of the caller of a forwarded call, and what is believed."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from covey.errors import CoveyError, RefusedError, UnauthenticatedError
from covey.fleet.identity import NodeIdentity
from covey.operations.access import Caller, CallerKind, Limits, Role
from covey.remote.caller_assertion import LIFE_MS, Asserter, AssertionVerifier, Origin
from covey.store.api import NodeId

FREYA, FRIGG, ODIN = (NodeIdentity.generate() for _ in range(3))
NOW = 1_800_000_000_000
MINUTE = 60_000
POLICY = Limits(deny=("exec.*",), as_user="guest")


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> int:
        return self.now


def asserter(clock: Clock | None = None) -> Asserter:
    return Asserter(FREYA.node_id, lambda: FREYA.signing_key, clock or Clock())


def verifier(
    clock: Clock | None = None,
    me: NodeIdentity = FRIGG,
    role: Role = Role.ADMIN,
    members: tuple[NodeIdentity, ...] = (FREYA, ODIN),
) -> AssertionVerifier:
    names = {FREYA.node_id: "freya", ODIN.node_id: "odin"}
    origins = {
        item.node_id: Origin(item.sign_public, names[item.node_id], role) for item in members
    }
    return AssertionVerifier(me.node_id, origins.get, lambda *_: POLICY, clock or Clock())


def owner(role: Role = Role.ADMIN, kind: CallerKind = CallerKind.LOCAL) -> Caller:
    return Caller(kind, "root@freya", role, "local", ("env.*", "exec.run"))


def test_what_was_said_is_what_is_believed():
    proof = asserter().assertion(owner(), FRIGG.node_id)
    caller = verifier().verify(proof, FREYA.node_id, "192.0.2.1")
    assert caller == Caller(
        CallerKind.NODE,
        "root@freya",
        Role.ADMIN,
        "192.0.2.1",
        ("env.*", "exec.run"),
        FREYA.node_id,
        "freya",
        POLICY,
    )
    assert caller.label == "root@freya via freya"


@pytest.mark.parametrize("own", list(Role))
@pytest.mark.parametrize("of_member", list(Role))
def test_the_lesser_role_counts(own: Role, of_member: Role):
    proof = asserter().assertion(owner(own), FRIGG.node_id)
    caller = verifier(role=of_member).verify(proof, FREYA.node_id, "")
    assert caller.role is min(own, of_member)


def test_a_token_stays_a_token_and_nobody_becomes_the_local_owner():
    kinds = {}
    for kind in (CallerKind.LOCAL, CallerKind.TOKEN):
        proof = asserter().assertion(owner(kind=kind), FRIGG.node_id)
        kinds[kind] = verifier().verify(proof, FREYA.node_id, "").kind
    assert kinds == {
        CallerKind.LOCAL: CallerKind.NODE,
        CallerKind.TOKEN: CallerKind.TOKEN,
    }


def test_a_member_that_came_with_its_certificate_goes_no_further_under_another_name():
    with pytest.raises(RefusedError, match="goes no further"):
        asserter().assertion(owner(kind=CallerKind.NODE), FRIGG.node_id)


def test_it_is_for_one_audience_and_from_one_origin():
    proof = asserter().assertion(owner(), FRIGG.node_id)
    with pytest.raises(UnauthenticatedError):
        verifier(me=ODIN).verify(proof, FREYA.node_id, "")
    # odin shows what freya said to frigg: neither its key nor its name fits.
    with pytest.raises(UnauthenticatedError):
        verifier().verify(proof, ODIN.node_id, "")


def test_a_node_that_is_no_member_says_nothing():
    proof = asserter().assertion(owner(), FRIGG.node_id)
    with pytest.raises(RefusedError):
        verifier(members=(ODIN,)).verify(proof, FREYA.node_id, "")


@pytest.mark.parametrize(
    "later,fine",
    [(0, True), (LIFE_MS, True), (LIFE_MS + MINUTE, True), (LIFE_MS + 2 * MINUTE, False)],
)
def test_it_ends_after_minutes_also_where_it_is_known(later: int, fine: bool):
    clock = Clock()
    judge = verifier(clock)
    proof = asserter().assertion(owner(), FRIGG.node_id)
    judge.verify(proof, FREYA.node_id, "")
    clock.now += later
    if fine:
        judge.verify(proof, FREYA.node_id, "")
    else:
        with pytest.raises(UnauthenticatedError, match="not valid at this time"):
            judge.verify(proof, FREYA.node_id, "")


def test_one_from_far_in_the_future_is_refused():
    clock = Clock()
    clock.now += 10 * MINUTE
    proof = asserter(clock).assertion(owner(), FRIGG.node_id)
    with pytest.raises(UnauthenticatedError):
        verifier().verify(proof, FREYA.node_id, "")


def test_it_is_kept_for_half_its_life_and_then_made_anew():
    clock = Clock()
    maker = asserter(clock)
    first = maker.assertion(owner(), FRIGG.node_id)
    clock.now += LIFE_MS // 2 - 1
    assert maker.assertion(owner(), FRIGG.node_id) is first
    clock.now += 1
    second = maker.assertion(owner(), FRIGG.node_id)
    assert second != first
    assert maker.assertion(owner(), ODIN.node_id) != second
    assert maker.assertion(owner(Role.VIEWER), FRIGG.node_id) != second
    clock.now -= 30 * MINUTE
    assert maker.assertion(owner(), FRIGG.node_id) != second, "the clock was set back"


def test_a_call_that_came_from_elsewhere_goes_no_further():
    forwarded = Caller(CallerKind.NODE, "x", Role.ADMIN, "", via="odin")
    nobody = Caller(CallerKind.ANONYMOUS, "x", Role.ADMIN, "")
    for item in (forwarded, nobody):
        with pytest.raises(RefusedError):
            asserter().assertion(item, FRIGG.node_id)


@given(at=st.integers(0, 10_000), flip=st.integers(1, 255))
def test_no_byte_can_be_changed(at: int, flip: int):
    proof = bytearray(asserter().assertion(owner(), FRIGG.node_id))
    proof[at % len(proof)] ^= flip
    with pytest.raises(CoveyError):
        verifier().verify(bytes(proof), FREYA.node_id, "")


@given(noise=st.binary(max_size=200))
def test_noise_is_refused(noise: bytes):
    with pytest.raises(UnauthenticatedError):
        verifier().verify(noise, FREYA.node_id, "")


@pytest.mark.parametrize("field,value", [(2, "emperor"), (1, "anonymous"), (1, "ghost")])
def test_a_role_or_kind_that_is_none_is_refused(field: int, value: str):
    """Even of a node that signs it."""
    refuse_signed(field, value)


@pytest.mark.parametrize("name", ["", "x" * 257, "root\nadmin", "\x1b[2Jroot"])
def test_a_name_that_cannot_be_shown_is_refused(name: str):
    refuse_signed(0, name)


def test_one_that_would_fill_the_memory_is_refused():
    refuse_signed(3, ["x" * 1000] * 100)


def refuse_signed(field: int, value: object) -> None:
    said = ["x", "local", "admin", ["*"], FREYA.node_id, FRIGG.node_id, NOW + LIFE_MS]
    said[field] = value
    body = msgspec.msgpack.encode(said)
    signature = FREYA.signing_key.sign(b"covey caller assertion v1\0" + body)
    with pytest.raises(UnauthenticatedError):
        verifier().verify(msgspec.msgpack.encode([body, signature]), NodeId(FREYA.node_id), "")
