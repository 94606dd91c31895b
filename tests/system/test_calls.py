"""Operations on other hosts: real daemons, asked on the Unix socket of one for another."""

from __future__ import annotations

import http.client
import json
import os
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from tests.ports import free_port
from tests.system.harness import DEADLINE_S, Fleet, Node, eventually, new_fleet


class Reply:
    """A response with its whole body."""

    def __init__(self, status: int, body: bytes) -> None:
        self.status = status
        self.body = body

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def results(self) -> dict[str, Any]:
        """The results of several hosts, by host."""
        found = {}
        for block in self.body.decode().strip().split("\n\n"):
            fields = dict(line.split(": ", 1) for line in block.splitlines())
            if fields.get("event") == "item":
                item = json.loads(fields["data"])
                found[item["host"]] = item
        return found


def connect(node: Node) -> http.client.HTTPConnection:
    """Connect to a node's Unix socket."""
    connection = http.client.HTTPConnection("covey", timeout=DEADLINE_S)
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.settimeout(DEADLINE_S)
    connection.sock.connect(os.path.realpath(node.home / "run" / "covey.sock"))
    return connection


def ask(
    node: Node,
    method: str,
    path: str,
    body: Any = None,
    *,
    token: str | None = None,
    **headers: str,
) -> Reply:
    """Send a request to a node's Unix socket."""
    connection = connect(node)
    sent = {f"Covey-{name.capitalize()}": value for name, value in headers.items()}
    if token is not None:
        sent["Authorization"] = f"Bearer {token}"
    if body is not None:
        sent["Content-Type"] = "application/json"
    try:
        data = None if body is None else json.dumps(body).encode()
        connection.request(method, path, data, sent)
        with connection.getresponse() as response:
            return Reply(response.status, response.read())
    finally:
        connection.close()


def reached(node: Node, other: Node) -> bool:
    """Whether a node's calls reach another."""
    return ask(node, "GET", "/api/v1/node", host=other.name).status == 200


def trail(node: Node, operation: str) -> list[dict[str, Any]]:
    entries = ask(node, "GET", "/api/v1/audit?limit=100").json["items"]
    return [item for item in entries if item["operation"] == operation]


@pytest.fixture(scope="module")
def fleet() -> Iterator[Fleet]:
    with new_fleet() as found:
        yield found


@pytest.fixture(scope="module")
def nodes(fleet: Fleet) -> tuple[Node, Node]:
    freya = fleet.founder("freya")
    rules = [
        {"roles": ["viewer"], "deny": ["env.search"]},
        {"members": ["freya"], "deny": ["env.scan", "node.shutdown"]},
    ]
    frigg = fleet.member(freya, "frigg", COVEY_ACCESS_RULE=json.dumps(rules))
    eventually(lambda: reached(freya, frigg) and reached(frigg, freya))
    return freya, frigg


def test_one_host_answers_as_itself(nodes: tuple[Node, Node]):
    freya, frigg = nodes
    status = ask(freya, "GET", "/api/v1/node", host="frigg").json
    assert (status["name"], status["home"]) == ("frigg", str(frigg.home))
    assert ask(freya, "GET", "/api/v1/node", host="freya").json["name"] == "freya"
    reply = ask(freya, "GET", "/api/v1/env/NO_SUCH_NAME", host="frigg")
    assert reply.status == 404


def test_an_unknown_host_is_told_with_the_nearest(nodes: tuple[Node, Node]):
    reply = ask(nodes[0], "GET", "/api/v1/node", host="frig")
    assert reply.status == 404
    assert reply.json["error"]["hint"] == "Did you mean frigg?"
    assert ask(nodes[0], "GET", "/api/v1/node", tag="web").status == 404


def test_all_hosts_and_hosts_with_a_tag_answer_one_by_one(nodes: tuple[Node, Node]):
    freya, _ = nodes
    results = ask(freya, "GET", "/api/v1/node", all="1").results
    assert {host: item["value"]["name"] for host, item in results.items()} == {
        "freya": "freya",
        "frigg": "frigg",
    }
    assert results["freya"]["route"] == "local"
    assert results["frigg"]["route"] == "direct"
    freya.run("fleet", "set-field", "frigg", "tags", "web, Storage")
    results = ask(freya, "GET", "/api/v1/node", tag="storage").results
    assert list(results) == ["frigg"]


def test_the_callers_role_travels_and_both_hosts_keep_a_refusal(nodes: tuple[Node, Node]):
    freya, frigg = nodes
    token = freya.json("token", "create", "ci", "--role", "viewer")["token"]
    assert ask(freya, "GET", "/api/v1/node", token=token, host="frigg").status == 200
    reply = ask(freya, "PUT", "/api/v1/env/A", {"value": "1"}, token=token, host="frigg")
    assert (reply.status, reply.json["error"]["code"]) == (403, "refused")
    (here,) = [item for item in trail(freya, "env.set") if item["caller"] == "ci"]
    assert (here["target"], here["outcome"]) == ("A @frigg", "refused")
    (there,) = [item for item in trail(frigg, "env.set") if "ci" in item["caller"]]
    assert (there["caller"], there["outcome"]) == ("ci via freya", "refused")


def test_the_target_has_a_policy_of_its_own(nodes: tuple[Node, Node]):
    freya, frigg = nodes
    reply = ask(freya, "POST", "/api/v1/node/shutdown", host="frigg")
    assert reply.status == 403
    assert "policy" in reply.json["error"]["message"]
    assert ask(frigg, "GET", "/api/v1/node").status == 200
    (entry,) = trail(frigg, "node.shutdown")
    assert entry["caller"].endswith("@freya via freya")
    assert entry["outcome"] == "refused"


def test_a_call_waits_no_longer_than_its_time(nodes: tuple[Node, Node], fleet: Fleet):
    freya, _ = nodes
    gone = fleet.member(freya, "gone")
    eventually(lambda: reached(freya, gone))
    gone.kill()
    reply = ask(freya, "GET", "/api/v1/node", host="gone")
    assert (reply.status, reply.json["error"]["code"]) == (502, "unreachable")
    results = ask(freya, "GET", "/api/v1/node", all="1").results
    assert {host: item["ok"] for host, item in results.items()} == {
        "freya": True,
        "frigg": True,
        "gone": False,
    }
    assert results["gone"]["error"]["exit_code"] == 6
    freya.run("fleet", "remove", "gone", "--yes")


@pytest.fixture
def chain() -> Iterator[tuple[Node, Node, Node]]:
    """Two nodes that know no address of each other's, and one between that both have dialled."""
    with new_fleet() as fleet:
        odin = fleet.founder("odin")
        # Port 1 answers nobody: what the two advertise leads nowhere.
        freya = fleet.member(
            odin, "freya", "--role", "operator", COVEY_SERVER_ADVERTISE="127.0.0.1:1"
        )
        frigg = fleet.member(odin, "frigg", COVEY_SERVER_ADVERTISE="127.0.0.1:1")
        eventually(lambda: reached(freya, frigg))
        yield freya, odin, frigg


def test_a_call_goes_past_a_third_node(chain: tuple[Node, Node, Node]):
    freya, odin, frigg = chain
    results = ask(freya, "GET", "/api/v1/node", host="frigg,odin").results
    assert results["frigg"]["value"]["name"] == "frigg"
    assert results["frigg"]["route"] == "relayed"
    assert results["odin"]["route"] == "direct"
    assert ask(freya, "PUT", "/api/v1/env/A", {"value": "1"}, host="frigg").status == 200
    (entry,) = trail(frigg, "env.set")
    assert entry["caller"].endswith("@freya via freya")
    assert trail(odin, "env.set") == []
    peers = {item["name"]: item for item in ask(freya, "GET", "/api/v1/peers").json}
    assert (peers["frigg"]["route"], peers["odin"]["route"]) == ("relayed", "direct")
    eventually(lambda: ask(freya, "GET", "/api/v1/peers").json[0]["round_trip_ms"] is not None)


def test_a_relay_that_is_killed_ends_the_call_with_an_error(chain: tuple[Node, Node, Node]):
    freya, odin, _ = chain
    connection = connect(freya)
    connection.request("GET", "/api/v1/node/logs?follow=true", headers={"Covey-Host": "frigg"})
    with connection.getresponse() as response:
        assert response.status == 200
        assert response.readline() == b"event: item\n"
        odin.kill()
        rest = response.read()
    connection.close()
    assert b"event: error" in rest
    assert b"broke off" in rest
    reply = ask(freya, "GET", "/api/v1/node", host="frigg")
    assert (reply.status, reply.json["error"]["code"]) == (502, "unreachable")


def test_a_relay_that_holds_no_key_carries_calls_too():
    with new_fleet() as fleet:
        odin = fleet.founder("odin")
        relay = fleet.member(odin, "relay", "--relay")
        frigg = fleet.member(odin, "frigg", COVEY_SERVER_ADVERTISE="127.0.0.1:1")
        eventually(lambda: reached(odin, frigg))
        # odin moves to where nobody knows, and hears of frigg by the relay alone.
        odin.stop()
        odin.port = free_port()
        odin.settings["COVEY_SERVER_ADVERTISE"] = "127.0.0.1:1"
        frigg.stop()
        odin.start()
        frigg.start()
        eventually(lambda: reached(odin, frigg))
        results = ask(odin, "GET", "/api/v1/node", host="frigg,odin").results
        assert results["frigg"]["route"] == "relayed"
        assert set(ask(odin, "GET", "/api/v1/node", all="1").results) == {"frigg", "odin"}
        relay.kill()
        eventually(lambda: not reached(odin, frigg))


def test_a_removed_member_is_cut_off_at_once(fleet: Fleet, nodes: tuple[Node, Node]):
    freya, _ = nodes
    loki = fleet.member(freya, "loki")
    eventually(lambda: reached(loki, freya))
    freya.run("fleet", "remove", "loki", "--yes")
    assert not reached(loki, freya)
    assert ask(freya, "GET", "/api/v1/node", host="loki").status in {403, 404}
