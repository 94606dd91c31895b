"""Merging statements is a lattice, and what is forged never changes anything."""

from __future__ import annotations

from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st

from covey.fleet.authority import create_authority
from covey.fleet.roster import Roster, Statements, fold, merge
from covey.fleet.statements import (
    Authority,
    Generation,
    Leave,
    Retirement,
    Signed,
    Statement,
    open_statement,
    sign_statement,
)
from covey.operations.access import Role
from tests.fleet.statement_maker import (
    CHAIN,
    FLEET,
    NODES,
    NOW,
    NOW_MS,
    STRANGER,
    certificate,
    introduce,
    member,
    removal,
    renewal,
    retire,
    sign,
)

GENESIS = introduce(0)
RESTATED: tuple[Statement, ...] = (*(member(node) for node in NODES), removal(NODES[1], 40))
HONEST: tuple[Signed, ...] = (
    introduce(1),
    introduce(2),
    retire(0, 1, *RESTATED),
    retire(1, 2, *RESTATED),
    *(sign(CHAIN[at], member(node), 1 + at) for at in range(3) for node in NODES),
    *(sign(CHAIN[at], member(NODES[0], Role.ADMIN), 5 + at) for at in range(3)),
    *(sign(CHAIN[at], removal(NODES[1], 40 + at), 1 + at) for at in range(3)),
    *(sign(CHAIN[0], certificate(node, CHAIN[0])) for node in NODES[:2]),
    *(sign(CHAIN[1], Generation(f"{at:032x}", at)) for at in range(3)),
    *(sign(node, renewal(node, str(at)), at) for node in NODES[:2] for at in (1, 2)),
    sign(NODES[2], Leave(NODES[2].node_id, 9)),
)
FORGED: tuple[Signed, ...] = (
    sign(STRANGER, member(NODES[3], Role.ADMIN), 99),
    sign(STRANGER, removal(NODES[0], 0), 99),
    sign(STRANGER, Authority(0, STRANGER.certificate), 99),
    sign(STRANGER, Authority(1, STRANGER.certificate), 99),
    sign(STRANGER, Authority(0, CHAIN[0].certificate), 99),
    sign(STRANGER, Retirement(0), 99),
    sign(NODES[0], Retirement(2), 99),
    sign(NODES[0], member(NODES[0], Role.ADMIN), 99),
    sign(CHAIN[0], Retirement(0), 99),
    sign(CHAIN[0], Retirement(2), 99),
    sign(CHAIN[0], Authority(2, STRANGER.certificate), 99),
)


def take(*batches: Iterable[Signed]) -> Statements:
    held: Statements = merge(FLEET, {}, [GENESIS]).statements
    for batch in batches:
        held = merge(FLEET, held, batch).statements
    return held


def rosters(*batches: Iterable[Signed]) -> Roster:
    return fold(FLEET, take(*batches))


states = st.lists(st.sampled_from(HONEST), max_size=25).map(take)


@given(states, states)
def test_merge_is_commutative(left: Statements, right: Statements) -> None:
    one = merge(FLEET, left, right.values()).statements
    other = merge(FLEET, right, left.values()).statements
    assert one == other
    assert fold(FLEET, one) == fold(FLEET, other)


@given(states, states, states)
def test_merge_is_associative(a: Statements, b: Statements, c: Statements) -> None:
    left = merge(FLEET, merge(FLEET, a, b.values()).statements, c.values()).statements
    right = merge(FLEET, a, merge(FLEET, b, c.values()).statements.values()).statements
    assert left == right


@given(states)
def test_merge_is_idempotent(state: Statements) -> None:
    again = merge(FLEET, state, state.values())
    assert again.statements == state
    assert again.refused == ()


@given(states, st.lists(st.sampled_from(FORGED), min_size=1))
def test_forged_statements_change_nothing_and_are_reported(
    state: Statements, forged: list[Signed]
) -> None:
    merged = merge(FLEET, state, forged)
    assert merged.statements == state
    assert len(merged.refused) == len(forged)


@given(st.lists(st.sampled_from(HONEST)), st.lists(st.sampled_from(FORGED)))
def test_forged_statements_do_not_hold_up_the_honest_ones(
    honest: list[Signed], forged: list[Signed]
) -> None:
    assert take([*forged, *honest]) == take(honest)


@given(states, st.integers(0, 1 << 40), st.sampled_from(NODES))
def test_a_removal_is_final(state: Statements, version: int, node: object) -> None:
    before = merge(FLEET, state, take([introduce(1), introduce(2)]).values()).statements
    out = [sign(CHAIN[2], member(NODES[3])), sign(CHAIN[2], removal(NODES[3], 5))]
    removed = merge(FLEET, before, out).statements
    back = merge(FLEET, removed, [sign(CHAIN[2], member(NODES[3], Role.ADMIN), version)])
    found = fold(FLEET, back.statements).members[NODES[3].node_id]
    assert found.cutoff == 5
    assert not found.present
    assert not found.is_admin


def test_a_stolen_retired_key_cannot_change_the_fleet() -> None:
    state = take(
        [introduce(1), sign(CHAIN[1], member(NODES[0])), sign(CHAIN[1], member(NODES[1]))],
        [retire(0, 1)],
    )
    thief = create_authority(NOW, 1)
    attack = [
        sign(CHAIN[0], member(NODES[3], Role.ADMIN), 1 << 40),
        sign(CHAIN[0], removal(NODES[0], 0), 1 << 40),
        sign(CHAIN[0], Authority(1, thief.certificate), 0),
        sign(thief, Retirement(0), 1 << 40),
        sign(thief, removal(NODES[1], 0), 1 << 40),
    ]
    merged = merge(FLEET, state, attack)
    assert merged.statements == state
    assert len(merged.refused) == len(attack)


def test_a_retired_authority_can_retire_nothing() -> None:
    state = take([introduce(1), introduce(2)], [retire(1, 2)])
    merged = merge(FLEET, state, [sign(CHAIN[1], Retirement(0), 99)])
    assert merged.statements == state
    assert len(merged.refused) == 1


def test_the_chain_of_authorities() -> None:
    roster = rosters([introduce(2), introduce(1), retire(0, 1)])
    assert [item.number for item in roster.authorities] == [0, 1, 2]
    assert [item.number for item in roster.trusted] == [1, 2]
    assert roster.trusted[-1].certificate == CHAIN[2].certificate


def test_a_link_without_its_predecessor_is_refused_until_that_comes() -> None:
    alone = merge(FLEET, take(), [introduce(2), sign(CHAIN[2], member(NODES[0]))])
    assert alone.statements == take()
    assert len(alone.refused) == 2
    assert rosters([introduce(2), introduce(1)]).trusted[-1].number == 2


def test_retirement_drops_what_the_old_authority_signed() -> None:
    state = take([sign(CHAIN[0], member(NODES[0])), introduce(1), retire(0, 1)])
    assert fold(FLEET, state).members == {}
    assert {slot[0] for slot in state} == {"Authority", "Retirement"}


def test_retirement_waits_for_what_was_said_again() -> None:
    old = [sign(CHAIN[0], member(NODES[0])), sign(CHAIN[0], removal(NODES[1], 4)), introduce(1)]
    again = [sign(CHAIN[1], member(NODES[0])), sign(CHAIN[1], removal(NODES[1], 4))]
    notice = retire(0, 1, member(NODES[0]), removal(NODES[1], 4))
    part = take(old, [notice, again[0]])
    assert [item.number for item in fold(FLEET, part).trusted] == [0, 1]
    whole = merge(FLEET, part, again[1:]).statements
    assert [item.number for item in fold(FLEET, whole).trusted] == [1]
    assert whole == take([*old, notice, *again])


def test_the_latest_statement_counts() -> None:
    newer = sign(CHAIN[0], member(NODES[0], Role.ADMIN), 2)
    older = sign(CHAIN[0], member(NODES[0], Role.VIEWER), 1)
    for order in ([newer, older], [older, newer]):
        found = rosters(*[[item] for item in order]).members[NODES[0].node_id]
        assert found.statement.role is Role.ADMIN


def test_renewal_requests_need_a_present_member() -> None:
    request = sign(NODES[0], renewal(NODES[0]))
    assert merge(FLEET, take(), [request]).refused
    joined = take([sign(CHAIN[0], member(NODES[0])), request])
    assert fold(FLEET, joined).members[NODES[0].node_id].renewal == request.statement
    gone = merge(FLEET, joined, [sign(CHAIN[0], removal(NODES[0], 3))]).statements
    assert fold(FLEET, gone).members[NODES[0].node_id].renewal is None


def test_leaving_sets_the_cutoff_until_an_authority_moves_it() -> None:
    left = [sign(CHAIN[0], member(NODES[0])), sign(NODES[0], Leave(NODES[0].node_id, 12))]
    found = rosters(left).members[NODES[0].node_id]
    assert (found.cutoff, found.left) == (12, True)
    found = rosters(left, [sign(CHAIN[0], removal(NODES[0], 10))]).members[NODES[0].node_id]
    assert (found.cutoff, found.left) == (10, False)


def test_statements_survive_encoding() -> None:
    state = take(HONEST)
    again = [open_statement(item.raw, FLEET) for item in state.values()]
    assert take(again) == state


def test_issue_time_orders_equal_versions() -> None:
    def at(role: Role, when: int) -> Signed:
        statement = member(NODES[0], role)
        key = CHAIN[0].signing_key
        return sign_statement(key, FLEET, statement, version=1, issued_at=when)

    early, late = at(Role.ADMIN, NOW_MS), at(Role.VIEWER, NOW_MS + 1)
    for order in ([early, late], [late, early]):
        assert rosters(order).members[NODES[0].node_id].statement.role is Role.VIEWER
