"""The daemon in the background: started, unlocked, locked, stopped, and refused with a reason."""

from __future__ import annotations

import json
import os
import signal
import socket
from pathlib import Path

from tests.system.harness import Fleet, Node, eventually

PASSWORD = "correct horse battery"


def stopped(node: Node) -> bool:
    return node.run("agent", "status", "--json", expect=None).returncode == 6


def test_it_starts_once_and_stops(fleet: Fleet) -> None:
    freya = fleet.node("freya")
    freya.run("agent", "start", expect=3)
    freya.init()
    assert stopped(freya)
    try:
        assert "is running (pid " in freya.out("agent", "start")
        status = freya.json("agent", "status")
        assert status["running"] is True
        assert status["state"] == "ready"
        assert "was running already" in freya.out("agent", "start")
        assert "ready" in freya.out("agent", "logs")
        freya.run("up", expect=5)
    finally:
        freya.run("agent", "stop")
    assert stopped(freya)
    assert "is not running" in freya.out("agent", "stop")
    assert freya.run("env", "list", expect=6).stderr.startswith("error: No Covey daemon")


def test_a_master_password_opens_and_locks_it(fleet: Fleet) -> None:
    freya = fleet.node("freya")
    freya.run("init", "--name", "freya", "--password-stdin", stdin=PASSWORD)
    try:
        wrong = freya.run("agent", "start", "--password-stdin", stdin="a wrong one", expect=4)
        assert "a wrong one" not in wrong.stdout + wrong.stderr
        assert freya.json("status")["state"] == "locked"
        freya.run("env", "set", "A=1", expect=4)
        freya.run("agent", "start", "--password-stdin", stdin=PASSWORD)
        freya.run("env", "set", "A=1")
        freya.run("lock")
        assert freya.json("status")["state"] == "locked"
        freya.run("env", "get", "A", expect=4)
        freya.run("unlock", "--password-stdin", stdin="a wrong one", expect=4)
        freya.run("unlock", "--password-stdin", stdin=PASSWORD)
        assert freya.out("env", "get", "A") == "1"
    finally:
        freya.run("agent", "stop")


def test_what_keeps_it_from_starting_is_told(fleet: Fleet) -> None:
    freya = fleet.node("freya")
    freya.init()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", freya.port))
        taken.listen()
        done = freya.run("agent", "start", expect=None)
    assert done.returncode != 0
    assert str(freya.port) in done.stderr
    assert "Traceback" not in done.stderr
    freya.settings["COVEY_SERVER_LISEN"] = "x"
    assert "COVEY_SERVER_LISTEN" in freya.run("agent", "start", expect=2).stderr


def test_it_starts_again_after_being_killed(fleet: Fleet) -> None:
    freya = fleet.node("freya")
    freya.init()
    freya.run("agent", "start")
    try:
        freya.run("env", "set", "KEPT=yes")
        os.kill(json.loads(freya.out("agent", "status", "--json"))["pid"], signal.SIGKILL)
        eventually(lambda: stopped(freya))
        freya.run("agent", "start")
        assert freya.out("env", "get", "KEPT") == "yes"
    finally:
        freya.run("agent", "stop")


def test_a_node_is_reached_from_elsewhere_by_url_and_token(fleet: Fleet, tmp_path: Path) -> None:
    freya = fleet.founder("freya")
    freya.run("env", "set", "A=1")
    elsewhere = fleet.node("elsewhere")
    url = f"https://{freya.address}"
    token = freya.out("token", "create", "reader", "--role", "developer")
    assert elsewhere.run("env", "get", "A", "--url", url, expect=2).stderr.count("COVEY_TOKEN") == 1
    elsewhere.settings["COVEY_TOKEN"] = token
    untrusted = elsewhere.run("env", "get", "A", "--url", url, expect=6)
    assert "covey fleet authority" in untrusted.stderr
    authority = tmp_path / "fleet.pem"
    authority.write_text(freya.out("fleet", "authority"))
    elsewhere.settings["COVEY_CA_FILE"] = str(authority)
    assert elsewhere.out("env", "get", "A", "--url", url) == "1"
    elsewhere.settings["COVEY_URL"] = url
    assert elsewhere.json("env", "list")[0]["name"] == "A"
    assert elsewhere.run("token", "list", expect=4).stderr.startswith("error: ")
    elsewhere.settings["COVEY_TOKEN"] = token[:-1] + ("a" if token[-1] != "a" else "b")
    refused = elsewhere.run("env", "list", expect=4)
    assert token[:-1] not in refused.stderr
    done = elsewhere.run("env", "list", "--url", "http://192.0.2.1:13500", expect=2)
    assert "unencrypted" in done.stderr
    done = elsewhere.run("env", "list", "--url", "https://127.0.0.1:1", expect=6)
    assert "cannot be reached" in done.stderr
