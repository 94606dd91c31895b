"""Any operation on any host: what is sent, and how the answers of several are shown."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from covey.surfaces.cli.complete import candidates
from tests.surfaces.cli.conftest import Covey
from tests.surfaces.cli.fake_daemon import FakeDaemon
from tests.surfaces.cli.keyboard import keyboard

REFUSED = {
    "code": "refused",
    "message": "You may not.",
    "hint": "Ask its owner.",
    "details": {},
    "exit_code": 4,
}
GONE = {**REFUSED, "code": "unreachable", "message": "No way leads there.", "exit_code": 6}


def answer(host: str, value: Any = None, *, last: bool = True, **more: Any) -> dict[str, Any]:
    error = more.get("error")
    return {
        "host": host,
        "ok": error is None,
        "value": value,
        "error": error,
        "route": "direct",
        "ms": 12.4,
        "last": last,
    }


def summary(err: str) -> list[list[str]]:
    """Return the rows of the table at the end of standard error."""
    _, _, table = err.rpartition("\n\n")
    return [line.split(maxsplit=1) for line in (table or err).strip().splitlines()[1:]]


def test_one_host_answers_as_if_it_were_here(daemon: FakeDaemon, covey: Covey):
    daemon.on("GET", "/api/v1/things/hammer", {"name": "hammer"})
    here = covey("thing", "get", "hammer")
    there = covey("thing", "get", "hammer", "-H", "frigg")
    assert (here.out, here.err) == (there.out, there.err) == ("name  hammer\n", "")
    covey("--host", "frigg", "thing", "get", "hammer")
    assert daemon.targets == [{"Covey-Host": "frigg"}] * 2


def test_the_error_of_one_host_has_its_own_status(daemon: FakeDaemon, covey: Covey):
    daemon.refuse("GET", "/api/v1/things/hammer", 502, "unreachable")
    done = covey("thing", "get", "hammer", "-H", "frigg")
    assert (done.status, done.out) == (6, "")
    assert done.err == "error: No: unreachable.\nhint: Do better.\n"


def test_several_hosts_are_labelled_and_summed_up(daemon: FakeDaemon, covey: Covey):
    events = [answer("odin", {"name": "hammer"}), answer("frigg", {"name": "anvil"})]
    daemon.on("GET", "/api/v1/things/x", events=events)
    done = covey("thing", "get", "x", "-H", "frigg,odin", "--parallel", "1")
    assert done.status == 0
    assert done.out == "── odin\nname  hammer\n── frigg\nname  anvil\n"
    assert summary(done.err) == [
        ["odin", "ok      direct  12 ms"],
        ["frigg", "ok      direct  12 ms"],
    ]
    assert daemon.targets == [{"Covey-Host": "frigg,odin", "Covey-Parallel": "1"}]


def test_a_message_stands_beside_its_host(daemon: FakeDaemon, covey: Covey):
    events = [answer("odin", {"message": "Gone."}), answer("frigg", {"message": "Gone."})]
    daemon.on("DELETE", "/api/v1/things/x", events=events)
    done = covey("thing", "drop", "x", "--all")
    assert done.out == "odin: Gone.\nfrigg: Gone.\n"
    assert daemon.targets == [{"Covey-All": "1"}]


def test_the_first_failure_decides_the_status(daemon: FakeDaemon, covey: Covey):
    events = [
        answer("odin", error=REFUSED),
        answer("frigg", {"name": "anvil"}),
        answer("thor", error=GONE),
    ]
    daemon.on("GET", "/api/v1/things/x", events=events)
    done = covey("thing", "get", "x", "--tag", "home")
    assert done.status == 4
    assert "error: odin: You may not.\nhint: Ask its owner.\n" in done.err
    assert [row[0] for row in summary(done.err)] == ["odin", "frigg", "thor"]
    assert daemon.targets == [{"Covey-Tag": "home"}]


def test_programs_get_every_answer(daemon: FakeDaemon, covey: Covey):
    events = [answer("odin", {"name": "hammer"}), answer("thor", error=GONE)]
    daemon.on("GET", "/api/v1/things/x", events=events)
    done = covey("thing", "get", "x", "--all", "--json")
    found = json.loads(done.out)
    assert (done.status, done.err) == (6, "")
    assert [item["ok"] for item in found] == [True, False]
    assert found[0]["value"] == {"name": "hammer"}
    assert found[1]["error"]["code"] == "unreachable"


def test_the_pages_of_each_host_are_fetched(daemon: FakeDaemon, covey: Covey):
    first = [{"name": "a", "colour": "red", "note": None}]
    second = [{"name": "b", "colour": "red", "note": None}]
    events = [
        answer("odin", {"items": first, "next_cursor": "a"}),
        answer("frigg", {"items": second, "next_cursor": None}),
    ]
    daemon.on("GET", "/api/v1/things?limit=200", events=events)
    rest = {"items": second, "next_cursor": None}
    daemon.on("GET", "/api/v1/things?cursor=a&limit=200", rest)
    done = covey("thing", "list", "-H", "odin", "-H", "frigg")
    words = done.out.split()
    assert words == [
        "──",
        "odin",
        "NAME",
        "COLOUR",
        "a",
        "red",
        "b",
        "red",
        "──",
        "frigg",
        "NAME",
        "COLOUR",
        "b",
        "red",
    ]
    assert daemon.targets == [{"Covey-Host": "odin,frigg"}, {"Covey-Host": "odin"}]


def test_the_lines_of_streams_are_labelled(daemon: FakeDaemon, covey: Covey):
    items = [
        answer("odin", {"name": "a"}, last=False),
        answer("frigg", {"name": "b"}, last=False),
        answer("odin"),
        answer("frigg", error=GONE),
    ]
    daemon.on("GET", "/api/v1/things/watch", events=items)
    done = covey("thing", "watch", "--all")
    assert (done.status, done.out) == (6, "odin: name=a\nfrigg: name=b\n")
    lines = covey("thing", "watch", "--all", "--json").out.splitlines()
    assert [json.loads(line)["host"] for line in lines] == ["odin", "frigg", "odin", "frigg"]


def test_names_alone_are_printed_on_request(daemon: FakeDaemon, covey: Covey):
    events = [answer("odin", [{"name": "a", "state": "up"}, {"name": "b", "state": "up"}])]
    daemon.on("GET", "/api/v1/peers", events=events)
    done = covey("peers", "--all", "-q")
    assert (done.out, done.err) == ("odin: a\nodin: b\n", "")


@pytest.mark.parametrize(
    "words, told",
    [
        (("thing", "get", "x", "--all", "-H", "odin"), "more than one way"),
        (("thing", "get", "x", "-H", "odin,,frigg"), "empty name"),
        (("thing", "get", "x", "--all", "--parallel", "0"), "--parallel"),
        (("agent", "status", "-H", "odin"), "no option -H"),
        (("-H", "odin", "agent", "status"), "works on this machine alone"),
    ],
)
def test_a_choice_of_hosts_that_makes_no_sense_is_refused(
    home: Path, covey: Covey, words: tuple[str, ...], told: str
):
    done = covey(*words)
    assert done.status == 2
    assert told in done.err


def test_names_of_hosts_are_completed_after_commas(daemon: FakeDaemon):
    daemon.on("GET", "/api/v1/fleet/nodes", [{"name": "odin"}, {"name": "frigg"}])
    assert [value for value, _ in candidates(["status", "-H"], "odin,")] == ["odin,frigg"]
    assert [value for value, _ in candidates(["status"], "--host=f")] == [
        "--host=odin",
        "--host=frigg",
    ]


PROGRAM = """
import sys
from covey.surfaces.cli.app import run
from covey.surfaces.cli.session import Locals
from tests.surfaces.cli.sample import DOCUMENT
sys.exit(run(sys.argv[1:], Locals(None, None), DOCUMENT))
"""


def test_destruction_on_several_hosts_is_asked_about_once(daemon: FakeDaemon):
    events = [answer("odin", {"message": "Gone."}), answer("frigg", {"message": "Gone."})]
    daemon.on("DELETE", "/api/v1/things/x", events=events)
    environ = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    words = [sys.executable, "-c", PROGRAM, "thing", "drop", "x", "-H", "odin,frigg"]
    with keyboard(words, environ) as typed:
        asked = typed.wait_for("[y/N]")
        assert "Drop one thing for good (x) on odin, frigg?" in asked
        typed.type("y\n")
        typed.wait_for("odin: Gone.", "frigg: Gone.")
