from __future__ import annotations

from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from covey.store.api import NodeId
from covey.store.merge import context_of, fold, is_conflict, refold, supersedes, winner
from covey.store.ports import Leaf

ORIGINS = [NodeId(letter * 32) for letter in "abc"]


History = tuple[list[Leaf], dict[tuple[str, int], set[tuple[str, int]]]]


def leaf(origin: int, seq: int, hlc: int, context: dict[NodeId, int] | None = None) -> Leaf:
    value = None if (origin + seq) % 3 == 0 else f"{origin}.{seq}".encode()
    return Leaf("env", "KEY", ORIGINS[origin], seq, hlc, context or {}, value)


@st.composite
def arbitrary_versions(draw: st.DrawFn) -> list[Leaf]:
    """Versions with any context and clock, even such as no honest writer makes."""
    dots = draw(st.sets(st.tuples(st.integers(0, 2), st.integers(1, 5)), max_size=8))
    contexts = st.dictionaries(st.sampled_from(ORIGINS), st.integers(1, 6), max_size=3)
    clocks = st.integers(0, 20)
    return [leaf(origin, seq, draw(clocks), draw(contexts)) for origin, seq in sorted(dots)]


@st.composite
def histories(draw: st.DrawFn) -> History:
    """Writes of three nodes that see each other's writes at times, and what each write had seen."""
    known: list[list[Leaf]] = [[], [], []]
    past: dict[tuple[str, int], set[tuple[str, int]]] = {}
    written: list[Leaf] = []
    seqs = [0, 0, 0]
    steps = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), max_size=14)
    for node, other in draw(steps):
        if node != other:
            known[node] += known[other]
            continue
        leaves = refold(known[node])
        seqs[node] += 1
        hlc = max([seen.hlc for seen in known[node]], default=0) + 1
        version = leaf(node, seqs[node], hlc, context_of(leaves))
        past[version.origin, version.seq] = {(seen.origin, seen.seq) for seen in known[node]}
        known[node].append(version)
        written.append(version)
    return written, past


@given(arbitrary_versions(), st.randoms(use_true_random=False))
def test_any_order_and_repetition_gives_the_same_state(versions: list[Leaf], random: Random):
    shuffled = versions + versions[: len(versions) // 2]
    random.shuffle(shuffled)
    assert refold(shuffled) == refold(versions)


@given(arbitrary_versions(), arbitrary_versions())
def test_folding_states_into_each_other_is_associative(left: list[Leaf], right: list[Leaf]):
    dots = {(version.origin, version.seq) for version in left}
    right = [version for version in right if (version.origin, version.seq) not in dots]
    assert refold([*refold(left), *refold(right)]) == refold(left + right)


@given(arbitrary_versions())
def test_something_written_is_never_folded_into_nothing(versions: list[Leaf]):
    assert bool(refold(versions)) == bool(versions)


@given(histories())
@settings(max_examples=200)
def test_current_are_exactly_the_versions_that_no_write_had_seen(history: History):
    written, past = history
    superseded = set().union(*past.values()) if past else set()
    current = {(version.origin, version.seq) for version in refold(written)}
    assert current == set(past) - superseded


@given(histories())
def test_the_context_says_what_each_write_had_seen(history: History):
    written, past = history
    for version in written:
        seen = {(o.origin, o.seq) for o in written if o is not version and supersedes(version, o)}
        assert seen == past[version.origin, version.seq]


@given(arbitrary_versions())
def test_the_winner_comes_first_and_is_the_latest(versions: list[Leaf]):
    leaves = refold(versions)
    best = winner(leaves)
    assert leaves[:1] == (() if best is None else (best,))
    assert best is None or best.hlc == max(version.hlc for version in versions)


def test_concurrent_writes_are_a_conflict_and_a_later_write_ends_it():
    both = refold([leaf(0, 1, 5), leaf(1, 1, 5)])
    assert is_conflict(both)
    assert both[0].origin == ORIGINS[1]
    after = fold(both, leaf(0, 2, 6, context_of(both)))
    assert [(each.origin, each.seq) for each in after] == [(ORIGINS[0], 2)]
    assert not is_conflict(after)
    assert fold(after, leaf(1, 1, 5)) == after


def test_nothing_written_has_no_winner():
    assert winner(()) is None
    assert context_of(()) == {}
