"""A deployment in the terminal: its log, its end, and a daemon that is restarted meanwhile."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.surfaces.cli.conftest import Covey
from tests.surfaces.cli.fake_daemon import FakeDaemon

LOGS = "/api/v1/apps/shop/deployments/7/logs"
SHOW = "/api/v1/apps/shop/deployments/7"
LOCKED = {"error": {"code": "locked", "message": "The node is stopping.", "hint": None}}


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("covey.surfaces.cli.deployment_follow._LOOK_S", 0.0)


def a_deployment(**more: Any) -> dict[str, Any]:
    return {
        "app": "shop",
        "number": 7,
        "state": "queued",
        "reason": "",
        "hint": None,
        "urls": ["https://shop.localhost"],
        **more,
    }


def line(number: int, text: str, step: str = "build") -> dict[str, Any]:
    return {"number": number, "at": "2026-01-01T00:00:00Z", "step": step, "text": text}


def expect(daemon: FakeDaemon, **ended: Any) -> None:
    daemon.on("POST", "/api/v1/apps/shop/restart", a_deployment())
    daemon.on("GET", SHOW, a_deployment(**ended))


def test_its_log_and_where_it_is_served(daemon: FakeDaemon, covey: Covey):
    expect(daemon, state="succeeded")
    events = [line(1, "STEP 1/2"), line(2, "ok \x1b[31mred"), line(3, "web.0 is healthy", "start")]
    daemon.on("GET", f"{LOGS}?after=0&follow=true", events=events)
    done = covey("apps", "restart", "shop", document=None)
    assert (done.status, done.err) == (0, "")
    assert done.out.splitlines()[0] == "── build"
    assert done.out.splitlines()[-1] == "✓ shop is served: https://shop.localhost"
    assert "\x1b" not in done.out


@pytest.mark.parametrize(
    "state, told",
    [
        ("failed", "failed: no database"),
        ("rolled-back", "served, turned bad and was rolled back: no database"),
        ("cancelled", "was cancelled: no database"),
        ("superseded", "was not begun: no database"),
    ],
)
def test_one_that_does_not_serve_is_a_failure(
    daemon: FakeDaemon, covey: Covey, state: str, told: str
):
    expect(daemon, state=state, reason="no database.", hint="Start it.")
    daemon.on("GET", f"{LOGS}?after=0&follow=true", events=[])
    done = covey("apps", "restart", "shop", document=None)
    assert done.status == 1
    assert f"Deployment 7 of shop {told}." in done.err
    assert "Start it." in done.err


def test_it_is_followed_through_a_restart_of_the_daemon(daemon: FakeDaemon, covey: Covey):
    expect(daemon, state="succeeded")
    daemon.on("GET", f"{LOGS}?after=0&follow=true", events=[line(1, "one"), LOCKED])
    daemon.on("GET", f"{LOGS}?after=1&follow=true", events=[line(2, "two")], unended=True)
    daemon.on("GET", f"{LOGS}?after=2&follow=true", events=[line(3, "three")])
    done = covey("apps", "restart", "shop", document=None)
    assert (done.status, done.err) == (0, "")
    assert [word for word in ("one", "two", "three") if done.out.count(word) == 1] == [
        "one",
        "two",
        "three",
    ]


def test_other_failures_are_not_waited_out(daemon: FakeDaemon, covey: Covey):
    expect(daemon)
    daemon.refuse("GET", f"{LOGS}?after=0&follow=true", 403, "refused")
    done = covey("apps", "restart", "shop", document=None)
    assert (done.status, "No: refused." in done.err) == (4, True)


def test_nobody_waits_for_one_that_is_detached(daemon: FakeDaemon, covey: Covey):
    expect(daemon)
    done = covey("apps", "restart", "shop", "--detach", document=None)
    assert (done.status, done.out) == (0, "7\n")


def test_what_is_kept_for_later_is_no_deployment(daemon: FakeDaemon, covey: Covey):
    daemon.on("POST", "/api/v1/apps/shop/scale", None)
    done = covey("apps", "scale", "shop", "web=2", document=None)
    assert (done.status, done.out) == (0, "")
    assert "Kept." in done.err


def test_what_a_change_means_is_said_before_its_log(daemon: FakeDaemon, covey: Covey):
    hint = "shop has no domain of its own any more, so it answers at https://shop.localhost"
    daemon.on("DELETE", "/api/v1/apps/shop/domains/a.localhost", a_deployment(hint=hint))
    daemon.on("GET", SHOW, a_deployment(state="succeeded"))
    daemon.on("GET", f"{LOGS}?after=0&follow=true", events=[])
    done = covey("apps", "domains", "remove", "shop", "a.localhost", document=None)
    assert (done.status, done.err) == (0, f"{hint}\n")
    assert done.out == "✓ shop is served: https://shop.localhost\n"


def test_the_end_as_json(daemon: FakeDaemon, covey: Covey):
    expect(daemon, state="succeeded")
    daemon.on("GET", f"{LOGS}?after=0&follow=true", events=[line(1, "one")])
    done = covey("apps", "restart", "shop", "--json", document=None)
    assert json.loads(done.out) == a_deployment(state="succeeded")
