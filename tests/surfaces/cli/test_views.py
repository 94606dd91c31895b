"""What people see of a node's state and checks."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.surfaces.cli.conftest import Covey
from tests.surfaces.cli.fake_daemon import FakeDaemon

NODE: dict[str, Any] = {
    "state": "ready",
    "name": "frigg",
    "node_id": "ab" * 16,
    "fleet_id": "cd" * 16,
    "kind": "full",
    "role": "admin",
    "version": "0.1.0",
    "pid": 42,
    "started_at": "2026-01-02T03:04:05+00:00",
    "uptime_seconds": 3725,
    "listen": ["0.0.0.0:13500"],
    "socket": "/run/covey.sock",
    "home": "/home/me",
    "members": 3,
    "peers_connected": 2,
    "entries": 1,
    "conflicts": 0,
    "database_bytes": 1 << 20,
    "certificate_expires_at": (datetime.now(UTC) + timedelta(days=30, minutes=1)).isoformat(),
    "warnings": [],
}
LOCKED = {**NODE, "state": "locked"} | dict.fromkeys(
    ("name", "role", "kind", "members", "entries", "database_bytes", "certificate_expires_at")
)


def test_status_tells_what_the_node_is(daemon: FakeDaemon, covey: Covey):
    daemon.on("GET", "/api/v1/node", NODE)
    done = covey("status")
    assert done.err == ""
    for part in (
        "frigg (abababab",
        "ready, up for 1 h 2 min, pid 42",
        "3 machines, 2 connected",
        "1 entry, 1.0 MiB",
        "expires in 30 days",
        "0.0.0.0:13500",
    ):
        assert part in done.out
    assert json.loads(covey("status", "--json").out) == NODE
    assert covey("status", "-q").out == "ready\n"


def test_status_tells_the_next_step(daemon: FakeDaemon, covey: Covey):
    daemon.on("GET", "/api/v1/node", LOCKED)
    done = covey("status")
    assert done.status == 0
    assert "state       locked" in done.out
    assert "covey unlock" in done.err
    assert "None" not in done.out


def test_status_warns_of_conflicts(daemon: FakeDaemon, covey: Covey):
    daemon.on("GET", "/api/v1/node", {**NODE, "conflicts": 2, "warnings": ["Clock is off."]})
    assert covey("status").err == (
        "warning: Clock is off.\nwarning: 2 variables in conflict; see: covey env conflicts\n"
    )


@pytest.mark.parametrize(
    "states, status, summary",
    [
        (["ok", "ok"], 0, "All 2 checks passed."),
        (["ok", "warning"], 0, "0 failures, 1 warning."),
        (["failed", "warning"], 1, "1 failure, 1 warning."),
    ],
)
def test_doctor_names_each_fix_and_fails_with_a_check(
    daemon: FakeDaemon, covey: Covey, states: list[str], status: int, summary: str
):
    checks = [
        {"name": f"check{n}", "state": state, "message": "It is so.", "fix": "Do that."}
        for n, state in enumerate(states)
    ]
    daemon.on("GET", "/api/v1/node/checks", checks)
    done = covey("doctor", document=None)
    assert done.status == status
    assert done.out.endswith(f"\n{summary}\n")
    assert done.out.count("fix: Do that.") == len([state for state in states if state != "ok"])
    done = covey("doctor", "--json", document=None)
    assert (done.status, json.loads(done.out)) == (status, checks)
