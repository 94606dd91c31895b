"""What a hostile member, a stranger or a removed machine tries against real nodes."""

from __future__ import annotations

import http.client
import json
import ssl
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tests.system.harness import Fleet, Node, eventually


def call(
    node: Node, method: str, path: str, token: str, body: object | None = None
) -> tuple[int, Any]:
    """Call a node's API from outside; returns the status and the decoded answer."""
    context = ssl.create_default_context(cadata=node.out("fleet", "authority"))
    connection = http.client.HTTPSConnection("localhost", node.port, context=context, timeout=20)
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    try:
        connection.request(method, path, None if body is None else json.dumps(body), headers)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


def test_a_lesser_machine_gains_nothing_by_the_tokens_that_it_makes(fleet: Fleet) -> None:
    odin = fleet.founder("odin")
    loki = fleet.member(odin, "loki", "--role", "viewer")
    refused = loki.run("token", "create", "crown", "--role", "admin", expect=4)
    assert "own role" in refused.stderr
    text = loki.json("token", "create", "glance")["token"]
    eventually(lambda: call(odin, "GET", "/api/v1/fleet/nodes", text)[0] == 200)
    status, _ = call(odin, "POST", "/api/v1/fleet/invitations", text, {"role": "admin"})
    assert status == 403
    odin.run("fleet", "remove", "loki")
    status, answer = call(odin, "GET", "/api/v1/fleet/nodes", text)
    assert status == 401
    assert "left the fleet" in answer["error"]["message"]


def test_of_many_joins_with_one_token_one_wins(fleet: Fleet) -> None:
    odin = fleet.founder("odin")
    token = odin.out("invite")
    joining = [fleet.node(f"norn{number}") for number in range(8)]

    def join(node: Node) -> int:
        done = node.run(
            "join", token, "--name", node.name, "--key-file", str(node.key_file), expect=None
        )
        return done.returncode

    with ThreadPoolExecutor(len(joining)) as pool:
        statuses = sorted(pool.map(join, joining))
    assert statuses == [0] + [4] * (len(joining) - 1)
    assert len(odin.json("fleet", "list")) == 2
