from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from covey.errors import (
    ConflictError,
    InvalidRequestError,
    NotFoundError,
    RefusedError,
    UnauthenticatedError,
)
from covey.fleet.tokens import COLLECTION, Token, Tokens, covers
from covey.operations.access import Caller, CallerKind, Role, authorize
from covey.store.api import NodeId
from tests.fleet.token_store import HERE, FixedMakers, MemoryRecords, MemoryUses

T = TypeVar("T")
NAMES = ("env.get", "env.set", "fleet.list", "token.create")
OWNER = Caller(CallerKind.LOCAL, "owner", Role.ADMIN, "local")
DAY = timedelta(days=1)


class Bench:
    """Tokens with a clock that the test moves."""

    def __init__(self) -> None:
        self.now = datetime(2026, 1, 1, tzinfo=UTC)
        self.records, self.uses, self.makers = MemoryRecords(), MemoryUses(), FixedMakers()
        self.tokens = Tokens(self.records, self.uses, self.makers, NAMES, lambda: self.now)

    def create(
        self,
        name: str = "ci",
        role: Role = Role.DEVELOPER,
        allow: tuple[str, ...] = ("*",),
        lifetime: timedelta = DAY,
        caller: Caller = OWNER,
    ) -> tuple[Token, str]:
        return run(self.tokens.create(caller, name, role, list(allow), lifetime))

    def enter(self, text: str) -> Caller | None:
        async def work() -> Caller | None:
            found = self.tokens.authenticate(text, "192.0.2.1")
            await self.tokens.settle()
            return found

        return run(work())

    def caller(self, text: str) -> Caller:
        found = self.enter(text)
        assert found is not None
        return found


def run(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(work)


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_a_token_stands_for_its_role_and_scope(bench: Bench):
    _, text = bench.create(allow=("env.*",))
    caller = bench.caller(text)
    assert (caller.kind, caller.name, caller.role) == (CallerKind.TOKEN, "ci", Role.DEVELOPER)
    assert caller.address == "192.0.2.1"
    authorize(caller, "env.set", Role.DEVELOPER)
    with pytest.raises(RefusedError, match="not scoped"):
        authorize(caller, "fleet.list", Role.VIEWER)


def test_only_a_hash_is_kept(bench: Bench):
    made, text = bench.create()
    secret = text.rpartition("_")[2]
    (record,) = bench.records.scan(COLLECTION)
    assert text.startswith(f"covey_{made.id}_")
    assert secret.encode() not in record.value
    assert secret not in repr(bench.tokens.all())


def test_texts_are_never_the_same(bench: Bench):
    texts = {bench.create(f"t{number}")[1] for number in range(50)}
    assert len({text.rpartition("_")[2] for text in texts}) == 50


def test_a_text_that_differs_anywhere_is_nobodys(bench: Bench):
    _, text = bench.create()
    for at in range(len(text)):
        other = "a" if text[at] != "a" else "b"
        assert bench.enter(text[:at] + other + text[at + 1 :]) is None
    for wrong in ("", "covey_", text[:-1], text + "a", text.upper(), f"{text}\n", "é" * 71):
        assert bench.enter(wrong) is None


def test_an_expired_token_is_refused_with_the_reason(bench: Bench):
    _, text = bench.create()
    bench.now += DAY - timedelta(seconds=1)
    assert bench.enter(text) is not None
    bench.now += timedelta(seconds=1)
    with pytest.raises(UnauthenticatedError, match="The token ci expired on 2026-01-02"):
        bench.enter(text)
    assert [item.expired for item in bench.tokens.all()] == [True]


def test_a_wrong_secret_does_not_learn_that_a_token_has_expired(bench: Bench):
    _, text = bench.create()
    bench.now += 2 * DAY
    assert bench.enter(text[:-1] + ("a" if text[-1] != "a" else "b")) is None


def test_a_revoked_token_is_nobodys_at_once(bench: Bench):
    made, text = bench.create()
    assert [item.id for item in run(bench.tokens.revoke("ci"))] == [made.id]
    assert bench.enter(text) is None
    assert bench.tokens.all() == []
    with pytest.raises(NotFoundError):
        run(bench.tokens.revoke("ci"))


def test_an_id_revokes_as_a_name_does(bench: Bench):
    made, _ = bench.create()
    run(bench.tokens.revoke(made.id))
    assert bench.tokens.all() == []


def test_a_name_is_free_again_when_its_token_has_expired(bench: Bench):
    bench.create()
    with pytest.raises(ConflictError):
        bench.create()
    bench.now += 2 * DAY
    bench.create()


def test_nobody_gives_more_than_they_have(bench: Bench):
    _, text = bench.create("deputy", Role.OPERATOR, ("env.*", "token.create"), 2 * DAY)
    deputy = bench.caller(text)
    with pytest.raises(RefusedError, match="cannot make a token that is admin"):
        bench.create("a", Role.ADMIN, ("env.*",), caller=deputy)
    for pattern in ("*", "fleet.list"):
        with pytest.raises(RefusedError, match="cannot pass it on"):
            bench.create("b", Role.VIEWER, (pattern,), caller=deputy)
    with pytest.raises(RefusedError, match="outlive"):
        bench.create("c", Role.VIEWER, ("env.get",), 3 * DAY, caller=deputy)
    made, _ = bench.create("d", Role.OPERATOR, ("env.get", "env.*"), DAY, caller=deputy)
    assert made.created_by == "deputy"


def test_a_scope_that_means_nothing_is_a_typing_error(bench: Bench):
    with pytest.raises(InvalidRequestError, match=r"env\.gte"):
        bench.create(allow=("env.gte",))


def test_a_machine_makes_no_token_above_its_own_role(bench: Bench):
    bench.makers.roles[HERE] = Role.DEVELOPER
    with pytest.raises(RefusedError, match="own role"):
        bench.create(role=Role.OPERATOR)
    _, text = bench.create(role=Role.DEVELOPER)
    assert bench.caller(text).role is Role.DEVELOPER


def test_a_token_that_a_lesser_machine_forged_stands_for_that_machines_role(bench: Bench):
    forger = NodeId("f" * 32)
    bench.records.origin, bench.makers.roles[forger] = forger, Role.VIEWER
    _, text = bench.create(role=Role.ADMIN)
    assert bench.caller(text).role is Role.VIEWER
    assert [item.role for item in bench.tokens.all()] == ["viewer"]


def test_a_token_ends_with_the_membership_of_the_machine_that_made_it(bench: Bench):
    _, text = bench.create("old")
    del bench.makers.roles[HERE]
    with pytest.raises(UnauthenticatedError, match="has left the fleet"):
        bench.enter(text)
    assert [item.expired for item in bench.tokens.all()] == [True]


def test_the_last_use_is_kept_coarsely(bench: Bench):
    _, text = bench.create()
    for _ in range(100):
        bench.enter(text)
    assert bench.uses.writes == 1
    bench.now += timedelta(minutes=11)
    bench.enter(text)
    assert bench.uses.writes == 2
    assert [item.last_used_at for item in bench.tokens.all()] == [bench.now]
    reopened = Tokens(bench.records, bench.uses, bench.makers, NAMES, lambda: bench.now)
    assert reopened.all()[0].last_used_at == bench.now


segments = st.sampled_from(["env", "fleet", "get", "set", "x"])
names = st.lists(segments, min_size=1, max_size=3).map(".".join)
patterns = st.one_of(st.just("*"), names, names.map(lambda name: f"{name}.*"))


@given(own=patterns, asked=patterns, name=names)
def test_what_a_scope_covers_it_also_allows(own: str, asked: str, name: str):
    if not covers(own, asked):
        return
    narrow = Caller(CallerKind.TOKEN, "t", Role.ADMIN, "", (asked,))
    wide = Caller(CallerKind.TOKEN, "t", Role.ADMIN, "", (own,))
    try:
        authorize(narrow, name, Role.VIEWER)
    except RefusedError:
        return
    authorize(wide, name, Role.VIEWER)
