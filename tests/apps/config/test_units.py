"""Durations, sizes and CPUs are read as Docker and Kubernetes users write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from covey.apps.config.units import (
    format_duration,
    format_size,
    parse_cpu,
    parse_duration,
    parse_size,
)


@pytest.mark.parametrize(
    "text, seconds",
    [("30s", 30), ("1m30s", 90), ("1h 5m", 3900), ("500ms", 0.5), ("30", 30), ("1.5s", 1.5)],
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "s", "1 year", "-1s", "1s2", "1e9s", "٣s", "1..5s", "nan"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="not a duration"):
        parse_duration(text)


@given(st.integers(0, 10**9))
def test_a_duration_comes_back_as_it_was_written(milliseconds: int) -> None:
    seconds = milliseconds / 1000
    assert parse_duration(format_duration(seconds)) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text", ["256mb", "256m", "256Mi", "256MiB", "256 MB", "268435456", "262144k"]
)
def test_sizes_of_one_meaning(text: str) -> None:
    assert parse_size(text) == 256 << 20


def test_a_fraction_of_a_size() -> None:
    assert parse_size("1.5g") == 3 << 29
    assert parse_size("2t") == 2 << 40


@pytest.mark.parametrize("text", ["", "mb", "1x", "-1m", "1 m b", "1e3", "1kk", "٣m"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(ValueError, match="not a size"):
        parse_size(text)


@given(st.integers(0, 1 << 50))
def test_a_size_comes_back_as_it_was_written(size: int) -> None:
    assert parse_size(format_size(size)) == size


@pytest.mark.parametrize("text, cpus", [("0.5", 0.5), ("500m", 0.5), ("2", 2.0), ("1500m", 1.5)])
def test_cpus(text: str, cpus: float) -> None:
    assert parse_cpu(text) == pytest.approx(cpus)


@pytest.mark.parametrize("text", ["", "half", "-1", "1.m", "0x1"])
def test_what_is_no_number_of_cpus(text: str) -> None:
    with pytest.raises(ValueError, match="not a number of CPUs"):
        parse_cpu(text)
