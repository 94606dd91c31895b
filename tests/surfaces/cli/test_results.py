"""Results as people and programs read them."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from covey.surfaces.cli.humanize import ago, duration, human, size
from covey.surfaces.cli.tables import Table, hidden_columns, render_table
from covey.surfaces.cli.terminal import display_width, fit, one_line, printable
from tests.surfaces.cli.conftest import Covey
from tests.surfaces.cli.fake_daemon import FakeDaemon

NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)


def test_a_record_is_shown_for_people_and_given_to_programs(daemon: FakeDaemon, covey: Covey):
    made = datetime.now(UTC) - timedelta(minutes=3, seconds=5)
    result = {"name": "hammer", "made_at": made.isoformat(), "size_bytes": 2048, "lost": None}
    daemon.on("GET", "/api/v1/things/hammer", result)
    done = covey("thing", "get", "hammer")
    assert done.out == "name  hammer\nmade  3 min ago\nsize  2.0 KiB\n"
    assert json.loads(covey("thing", "get", "hammer", "--json").out) == result
    assert covey("thing", "get", "hammer", "--quiet").out == "hammer\n"


def test_every_page_is_fetched(daemon: FakeDaemon, covey: Covey):
    rows = [{"name": f"t{n}", "colour": "red", "note": None} for n in range(5)]
    daemon.on("GET", "/api/v1/things?limit=200", {"items": rows[:3], "next_cursor": "t2"})
    daemon.on("GET", "/api/v1/things?cursor=t2&limit=200", {"items": rows[3:], "next_cursor": None})
    assert json.loads(covey("thing", "list", "--json").out) == rows
    lines = covey("thing", "list").out.splitlines()
    assert lines[0].split() == ["NAME", "COLOUR"]
    assert [line.split()[0] for line in lines[1:]] == ["t0", "t1", "t2", "t3", "t4"]
    assert covey("thing", "list", "--quiet").out == "t0\nt1\nt2\nt3\nt4\n"


def test_limit_stops_the_pages_and_says_how_to_go_on(daemon: FakeDaemon, covey: Covey):
    daemon.on("GET", "/api/v1/things?limit=2", {"items": [{"name": "a"}] * 2, "next_cursor": "a"})
    done = covey("thing", "list", "--limit", "2")
    assert len(done.out.splitlines()) == 3
    assert done.err == "There are more: --cursor a\n"


def test_an_empty_list_is_said_to_people_alone(daemon: FakeDaemon, covey: Covey):
    daemon.on("GET", "/api/v1/peers", [])
    assert (covey("peers").out, covey("peers").err) == (
        "",
        "This fleet has no other machine. Let one in: covey invite\n",
    )
    assert (covey("peers", "--json").out, covey("peers", "--json").err) == ("[]\n", "")


def test_a_stream_is_printed_line_by_line(daemon: FakeDaemon, covey: Covey):
    items = [{"name": "a", "at": None}, {"name": "two\nlines", "at": "x"}]
    daemon.on("GET", "/api/v1/things/watch", events=items)
    assert covey("thing", "watch").out == "name=a\nname=two\\nlines  at=x\n"
    lines = covey("thing", "watch", "--json").out.splitlines()
    assert [json.loads(line) for line in lines] == items


def test_a_stream_that_fails_or_breaks_off_is_an_error(daemon: FakeDaemon, covey: Covey):
    error = {"error": {"code": "locked", "message": "Locked.", "hint": None, "details": {}}}
    daemon.on("GET", "/api/v1/things/watch", events=[{"name": "a"}, error])
    daemon.on("GET", "/api/v1/things/watch", events=[{"name": "a"}], unended=True)
    done = covey("thing", "watch")
    assert (done.status, done.out, done.err) == (4, "name=a\n", "error: Locked.\n")
    done = covey("thing", "watch")
    assert (done.status, done.out) == (6, "name=a\n")
    assert "broke off" in done.err


def test_the_default_command_of_a_group_takes_its_options(daemon: FakeDaemon, covey: Covey):
    daemon.on("GET", "/api/v1/peers?state=up", [{"name": "frigg", "state": "up"}])
    for words in (["peers", "--state", "up", "-q"], ["peers", "list", "-q", "--state", "up"]):
        assert covey(*words).out == "frigg\n"
    assert covey("-q", "peers", "--state", "up").out == "frigg\n"


def test_nothing_that_a_name_contains_reaches_the_terminal_as_a_command(
    daemon: FakeDaemon, covey: Covey
):
    daemon.on("GET", "/api/v1/peers", [{"name": "\x1b]0;owned\x07\x9b", "state": "a\nb"}])
    out = covey("peers").out
    assert "\x1b" not in out
    assert "\x07" not in out
    assert "\x9b" not in out
    assert len(out.splitlines()) == 2


@pytest.mark.parametrize(
    "delta, text",
    [
        (timedelta(0), "now"),
        (timedelta(seconds=40), "40 s ago"),
        (timedelta(minutes=3), "3 min ago"),
        (timedelta(hours=-2), "in 2 h"),
        (timedelta(days=1), "1 day ago"),
        (timedelta(days=-59), "in 59 days"),
        (timedelta(days=400), "2025-01-28"),
    ],
)
def test_times_are_told_from_now(delta: timedelta, text: str):
    assert ago(NOW - delta, NOW) == text


@pytest.mark.parametrize(
    "seconds, text",
    [(0, "0 s"), (59, "59 s"), (61, "1 min 1 s"), (7260, "2 h 1 min"), (90_000, "1 d 1 h")],
)
def test_durations_have_two_units(seconds: int, text: str):
    assert duration(seconds) == text


@pytest.mark.parametrize(
    "count, text", [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (1 << 50, "1024.0 TiB")]
)
def test_sizes_have_binary_units(count: int, text: str):
    assert size(count) == text


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists))
def test_any_value_can_be_shown(value: object):
    assert isinstance(human("x", value, NOW), str)


@given(st.text(), st.integers(min_value=1, max_value=20))
def test_fitted_text_never_takes_more_room(text: str, columns: int):
    cleaned = one_line(text)
    assert display_width(fit(cleaned, columns)) <= columns


@given(st.text())
def test_printable_text_moves_no_cursor(text: str):
    shown = printable(text)
    assert not any(ord(char) < 32 and char not in "\n\t" for char in shown)
    assert printable(shown) == shown
    assert printable("plain é 字 \t\n") == "plain é 字 \t\n"


CELLS = st.text(alphabet=st.characters(codec="utf-8"), max_size=60)


@given(
    st.integers(min_value=1, max_value=7).flatmap(
        lambda columns: st.lists(st.tuples(*[CELLS] * columns), max_size=5)
    ),
    st.integers(min_value=20, max_value=120),
)
def test_a_table_fits_the_terminal(rows: list[tuple[str, ...]], width: int):
    columns = len(rows[0]) if rows else 3
    table = Table(tuple(f"column {n}" for n in range(columns)), tuple(rows))
    lines = render_table(table, width, colour=False)
    assert len(lines) == len(rows) + 1
    assert all(display_width(line) <= width for line in lines)
    assert "COLUMN 0"[: width - 1] in lines[0]


def test_columns_without_room_are_named():
    table = Table(tuple("abcdefgh"), (("x" * 40,) * 8,))
    assert hidden_columns(table, 40) == ["e", "f", "g", "h"]
    assert hidden_columns(table, None) == []
