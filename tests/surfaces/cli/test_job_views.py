"""What people see of jobs."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.surfaces.cli.conftest import Covey
from tests.surfaces.cli.fake_daemon import FakeDaemon


def at(seconds: float) -> str:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()


def a_job(**more: Any) -> dict[str, Any]:
    return {
        "id": "52ohg4x2mt",
        "kind": "deploy",
        "title": "Deploy shop",
        "subject": "app/shop",
        "state": "running",
        "priority": "high",
        "caller": "freya",
        "created": at(-200),
        "not_before": None,
        "started": at(-190),
        "ended": None,
        "attempt": 1,
        "max_attempts": 1,
        "progress": 0.42,
        "doing": "building layer 3 of 7",
        "cancelling": False,
        "failure": None,
        "steps": [
            {
                "name": "fetch",
                "state": "succeeded",
                "started": at(-190),
                "ended": at(-187.5),
                "attempts": 1,
            },
            {
                "name": "build",
                "state": "running",
                "started": at(-187),
                "ended": None,
                "attempts": 2,
            },
        ],
    } | more


def failed_job() -> dict[str, Any]:
    failure = {"code": "conflict", "message": "The build failed.", "hint": "Read the log."}
    return a_job(state="failed", ended=at(-100), failure=failure)


def test_a_job_is_shown_with_its_steps(daemon: FakeDaemon, covey: Covey):
    job = a_job()
    daemon.on("GET", "/api/v1/jobs/52oh", job)
    done = covey("jobs", "show", "52oh", document=None)
    assert done.err == ""
    lines = done.out.splitlines()
    assert all(len(line) <= 80 for line in lines)
    for part in (
        "job       52ohg4x2mt",
        "about     app/shop",
        "state     running, 42 %",
        "doing     building layer 3 of 7",
        "asked by  freya, 3 min ago",
        "✓ fetch  2.5 s",
    ):
        assert part in lines
    assert any(line.startswith("… build  3 min") for line in lines)
    assert any(line.startswith("took      3 min") for line in lines)
    assert lines[-1].endswith("running, attempt 2")
    assert json.loads(covey("jobs", "show", "52oh", "--json", document=None).out) == job
    assert covey("jobs", "show", "52oh", "-q", document=None).out == "running\n"


def test_a_failed_job_tells_why_and_what_to_do(daemon: FakeDaemon, covey: Covey):
    daemon.on("GET", "/api/v1/jobs/52oh", failed_job())
    lines = covey("jobs", "show", "52oh", document=None).out.splitlines()
    assert lines[-2:] == ["failed: The build failed.", "hint: Read the log."]
    assert not any("building layer" in line for line in lines)


def test_jobs_are_listed_in_eighty_columns(
    daemon: FakeDaemon, covey: Covey, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("covey.surfaces.cli.output.width_of", lambda _stream: 80)
    daemon.on(
        "GET", "/api/v1/jobs?limit=500", {"items": [a_job(), failed_job()], "next_cursor": None}
    )
    lines = covey("jobs", "list", document=None).out.splitlines()
    assert lines[0].split()[:4] == ["ID", "STATE", "TITLE", "CREATED"]
    assert lines[1].split()[:4] == ["52ohg4x2mt", "running", "Deploy", "shop"]
    assert all(len(line) <= 80 for line in lines)


def test_no_jobs_is_not_an_error(daemon: FakeDaemon, covey: Covey):
    daemon.on("GET", "/api/v1/jobs?state=running&limit=500", {"items": [], "next_cursor": None})
    done = covey("jobs", "list", "--state", "running", document=None)
    assert (done.status, done.out) == (0, "")
    assert "no jobs" in done.err


def test_the_lines_of_a_log_stand_behind_their_step(daemon: FakeDaemon, covey: Covey):
    lines = [
        {"number": 1, "at": at(-190), "step": "", "text": "begins"},
        {"number": 2, "at": at(-180), "step": "build", "text": "STEP 1/3: FROM \x1b[31malpine"},
    ]
    daemon.on("GET", "/api/v1/jobs/52oh/logs?follow=true", events=lines)
    done = covey("jobs", "logs", "52oh", "-f", document=None)
    assert done.err == ""
    assert done.out.splitlines()[0] == "           begins"
    assert done.out.splitlines()[1].startswith("build      STEP 1/3: FROM ")
    assert "\x1b" not in done.out


def test_a_job_is_watched_line_by_line(daemon: FakeDaemon, covey: Covey):
    states = [a_job(), a_job(state="succeeded", progress=1.0, doing="", steps=[])]
    daemon.on("GET", "/api/v1/jobs/52oh/watch", events=states)
    done = covey("jobs", "watch", "52oh", document=None)
    assert done.out.splitlines() == [
        "running, 42 %  build  building layer 3 of 7",
        "succeeded",
    ]


@pytest.mark.parametrize(
    "words,route,result,said",
    [
        (("cancel", "52oh"), "52oh/cancel", a_job(state="cancelled"), "Cancelled 52ohg4x2mt"),
        (("cancel", "52oh"), "52oh/cancel", a_job(cancelling=True), "cleans up"),
        (("cancel", "52oh"), "52oh/cancel", failed_job(), "had ended before: it failed"),
        (("retry", "52oh"), "52oh/retry", a_job(state="queued"), "runs again"),
    ],
)
def test_a_change_is_told(
    daemon: FakeDaemon,
    covey: Covey,
    words: tuple[str, str],
    route: str,
    result: dict[str, Any],
    said: str,
):
    daemon.on("POST", f"/api/v1/jobs/{route}", result)
    done = covey("jobs", *words, document=None)
    assert done.status == 0
    assert said in done.err


def test_pruning_says_how_many(daemon: FakeDaemon, covey: Covey):
    daemon.on("POST", "/api/v1/jobs:prune", {"removed": 1})
    assert "Removed one job." in covey("jobs", "prune", document=None).err
