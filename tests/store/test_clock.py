from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from covey.errors import InvalidRequestError
from covey.store.clock import (
    MAX_HLC,
    HybridClock,
    format_hlc,
    from_ms,
    parse_hlc,
    to_ms,
)

NOW = 1_800_000_000_000
walls = st.lists(st.integers(NOW - 10**9, NOW + 10**9), min_size=1, max_size=50)
near_walls = st.lists(st.integers(NOW, NOW + 600_000), min_size=1, max_size=50)


class Wall:
    def __init__(self, ms: int = NOW) -> None:
        self.ms = ms

    def __call__(self) -> int:
        return self.ms


@given(near_walls)
def test_ticks_grow_however_the_wall_clock_jumps_within_the_drift(jumps: list[int]):
    wall = Wall()
    clock = HybridClock(wall)
    given_out = []
    for ms in jumps:
        wall.ms = ms
        given_out += [clock.tick(), clock.tick()]
    assert given_out == sorted(set(given_out))


@given(walls)
def test_a_tick_is_never_behind_the_wall_clock(jumps: list[int]):
    wall = Wall()
    clock = HybridClock(wall)
    for ms in jumps:
        wall.ms = ms
        assert to_ms(clock.tick()) >= ms


@given(walls)
def test_every_tick_is_one_that_others_believe(jumps: list[int]):
    wall = Wall()
    clock = HybridClock(wall)
    for ms in jumps:
        wall.ms = ms
        assert clock.admits(clock.tick())


@given(st.integers(0, from_ms(NOW + 600_000)))
def test_a_tick_follows_everything_observed(observed: int):
    clock = HybridClock(Wall())
    assert clock.observe(observed)
    assert clock.tick() > observed


@given(st.integers(from_ms(NOW + 600_001), 1 << 70) | st.integers(max_value=-1))
def test_an_absurd_timestamp_is_refused_and_changes_nothing(observed: int):
    clock = HybridClock(Wall())
    before = clock.tick()
    assert not clock.observe(observed)
    assert not clock.admits(observed)
    assert clock.last == before


def test_the_bound_moves_with_the_wall_clock():
    wall = Wall()
    clock = HybridClock(wall, drift_s=1)
    ahead = from_ms(NOW + 1001)
    assert not clock.admits(ahead)
    wall.ms += 1
    assert clock.admits(ahead)
    assert clock.horizon() == from_ms(NOW + 1001, 0xFFFF)


def test_a_full_counter_carries_into_the_milliseconds():
    clock = HybridClock(Wall(), last=from_ms(NOW, 0xFFFF))
    assert clock.tick() == from_ms(NOW + 1, 0)


def test_a_restarted_clock_goes_on_after_its_last_timestamp():
    last = from_ms(NOW + 5000, 7)
    assert HybridClock(Wall(), last=last).tick() == last + 1


def test_a_write_is_later_than_what_it_supersedes_though_the_clock_is_behind():
    seen = from_ms(NOW + 10**7)
    assert HybridClock(Wall()).tick(after=seen) == seen + 1


def test_a_wall_clock_before_the_epoch_counts_as_the_epoch():
    assert HybridClock(Wall(-5)).tick() == 1


@given(st.integers(0, MAX_HLC))
def test_text_round_trips(hlc: int):
    assert parse_hlc(format_hlc(hlc)) == hlc


def test_text_is_readable():
    assert format_hlc(from_ms(NOW + 42, 0xAB)) == "2027-01-15T08:00:00.042Z/00ab"


@pytest.mark.parametrize(
    "text",
    ["", "yesterday", "2027-13-15T08:00:00.042Z/00ab", "9999-01-15T08:00:00.042Z/00ab",
     "1969-12-31T23:59:59.999Z/0000"],
)  # fmt: skip
def test_other_text_is_refused_with_a_hint(text: str):
    with pytest.raises(InvalidRequestError) as caught:
        parse_hlc(text)
    assert caught.value.hint
