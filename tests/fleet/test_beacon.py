"""A beacon is known to members, and to nobody else."""

from __future__ import annotations

import os

from hypothesis import given
from hypothesis import strategies as st

from covey.fleet.beacon import EPOCH_S, Heard, Known, next_epoch, properties, recognise
from covey.fleet.election import Mode
from covey.store.api import NodeId

OLD, KEY, OTHER = (os.urandom(32) for _ in range(3))
MEMBERS = [NodeId(f"{n:032x}") for n in range(5)]
NOW = 1_700_000_000.0


def heard(
    *, key: bytes = KEY, me: NodeId = MEMBERS[3], mode: Mode = Mode.AUTO, at: float = NOW
) -> Heard:
    return Heard("frigg-1", 13500, ("192.0.2.1",), properties(key, me, mode, 13500, at, "1.0"))


@given(st.sampled_from(MEMBERS), st.sampled_from(Mode), st.floats(0, 2e9))
def test_members_recognise_each_other(me: NodeId, mode: Mode, now: float) -> None:
    found = recognise(heard(me=me, mode=mode, at=now), [KEY, OLD], MEMBERS, now)
    assert found == Known(me, mode)


@given(st.floats(-EPOCH_S, EPOCH_S))
def test_clocks_may_differ_by_an_epoch(skew: float) -> None:
    assert recognise(heard(at=NOW + skew), [KEY], MEMBERS, NOW) is not None


def test_a_node_that_missed_the_new_key_is_known_still() -> None:
    assert recognise(heard(key=OLD), [KEY, OLD], MEMBERS, NOW) is not None


def test_others_are_strangers() -> None:
    assert recognise(heard(key=OTHER), [KEY, OLD], MEMBERS, NOW) is None
    assert recognise(heard(), [OTHER], MEMBERS, NOW) is None
    assert recognise(heard(me=NodeId("f" * 32)), [KEY], MEMBERS, NOW) is None


def test_what_is_announced_cannot_be_altered_or_kept() -> None:
    genuine = heard()
    altered = dict(genuine.properties) | {"m": Mode.SERVER_PREFERRED.value}
    assert recognise(Heard("x", 13500, (), altered), [KEY], MEMBERS, NOW) is None
    assert recognise(Heard("x", 1, (), genuine.properties), [KEY], MEMBERS, NOW) is None
    assert recognise(genuine, [KEY], MEMBERS, NOW + 2 * EPOCH_S) is None


@given(st.dictionaries(st.sampled_from("vtmx"), st.text(max_size=40)))
def test_nonsense_is_a_stranger(found: dict[str, str]) -> None:
    assert recognise(Heard("x", 1, (), found), [KEY], MEMBERS, NOW) is None


def test_the_tag_tells_strangers_nothing_that_lasts() -> None:
    now, later = heard(), heard(at=NOW + EPOCH_S)
    assert now.properties["t"] != later.properties["t"]
    assert MEMBERS[3] not in str(now.properties)
    assert 0 < next_epoch(NOW) <= EPOCH_S
