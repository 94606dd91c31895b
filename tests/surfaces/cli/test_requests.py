"""From words to HTTP requests."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from covey.client.request import build_request
from tests.surfaces.cli import sample
from tests.surfaces.cli.conftest import Covey
from tests.surfaces.cli.fake_daemon import FakeDaemon


def test_every_kind_of_value_reaches_its_place(daemon: FakeDaemon, covey: Covey):
    daemon.on(
        "GET",
        "/api/v1/things/a%2F%20%C3%A9?colour=red&tags=x&tags=y%26z&deep=true&wait=false"
        "&count=2&ratio=0.5",
        {"name": "a/ é"},
    )
    done = covey(
        *("thing", "get", "a/ é", "--colour", "red", "--tags", "x", "--tags", "y&z"),
        *("--deep", "--no-wait", "--count", "2", "--ratio", "0.5"),
    )
    assert (done.status, done.err) == (0, "")


def test_what_is_left_out_is_not_sent(daemon: FakeDaemon, covey: Covey):
    daemon.on("GET", "/api/v1/things/hammer", {"name": "hammer"})
    assert covey("thing", "get", "hammer").status == 0


def test_a_body_holds_mappings_json_and_secrets(
    daemon: FakeDaemon, covey: Covey, monkeypatch: pytest.MonkeyPatch
):
    daemon.on("PUT", "/api/v1/things/x", {"message": "Done."})
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"1234\nmore")))
    done = covey(
        *("thing", "set", "x", "--labels", "a=1", "--labels", "b=c=d"),
        *("--extra", '{"deep": [1]}', "--pin-stdin"),
    )
    assert (done.status, done.out) == (0, "Done.\n")
    assert daemon.bodies == [
        {"labels": {"a": "1", "b": "c=d"}, "extra": {"deep": [1]}, "pin": "1234"}
    ]


def test_json_is_read_from_a_file(
    daemon: FakeDaemon, covey: Covey, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "extra.json").write_text("[1, 2]")
    daemon.on("PUT", "/api/v1/things/x", {"message": "Done."})
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"1")))
    covey("thing", "set", "x", "--extra", f"@{tmp_path}/extra.json", "--pin-stdin")
    assert daemon.bodies == [{"extra": [1, 2], "pin": "1"}]


@pytest.mark.parametrize(
    "words, message",
    [
        (["thing", "get"], "covey thing get needs NAME."),
        (["thing", "get", "ABC"], "NAME: 'ABC' is not valid. It takes: Lower-case letters."),
        (["thing", "get", "a" * 21], f"NAME: '{'a' * 21}' is longer than 20 characters."),
        (["thing", "get", "a", "b"], "covey thing get takes fewer words: b is too much."),
        (["thing", "get", "a", "--colour", "green"], "--colour: 'green' is not one of red, blue."),
        (["thing", "get", "a", "--count", "x"], "--count: 'x' is not a whole number."),
        (["thing", "get", "a", "--count", "10"], "--count: 10 is outside 1 to 9."),
        (["thing", "get", "a", "--ratio", "nan"], "--ratio: 'nan' is not a number."),
        (["thing", "set", "a", "--labels", "b"], "--labels: 'b' is not of the form KEY=VALUE."),
        (["thing", "set", "a", "--extra", "{"], "--extra: This is not JSON:"),
        (["thing", "set", "a", "--extra", "@/no/such"], "--extra: /no/such cannot be read:"),
        (["thing", "list", "--limit", "0"], "--limit: '0' is not a whole number from 1."),
    ],
)
def test_a_mistake_is_refused_before_anything_is_sent(covey: Covey, words: list[str], message: str):
    done = covey(*words)
    assert done.status == 2
    assert done.out == ""
    assert done.err.startswith(f"error: {message}")
    assert "\nhint: " in done.err


def test_a_secret_is_not_taken_where_nobody_can_be_asked(
    covey: Covey, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"")))
    done = covey("thing", "set", "x")
    assert (done.status, done.out) == (2, "")
    assert "hint: Send it by --pin-stdin." in done.err
    assert covey("thing", "set", "x", "--pin-stdin").status == 2
    assert "no option --pin." in covey("thing", "set", "x", "--pin", "1").err


@given(st.text(min_size=1), st.lists(st.text()))
def test_no_text_can_leave_its_place(name: str, tags: list[str]):
    try:
        name.encode()
        "".join(tags).encode()
    except UnicodeEncodeError:
        return
    target = build_request(sample.GET, {"name": name, "tags": tags}).target
    assert target.isascii()
    path, _, query = target.partition("?")
    assert path.count("/") == 4
    assert query.count("&") == max(len(tags) - 1, 0)
    assert "#" not in target
