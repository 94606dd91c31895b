"""What a hostile member, a stranger or a removed machine tries against real nodes."""

from __future__ import annotations

import http.client
import json
import ssl
from concurrent.futures import ThreadPoolExecutor

from tests.system.harness import Fleet, Node, eventually


class Stranger:
    """A client with nothing but the address of a node and its fleet's certificate."""

    def __init__(self, node: Node) -> None:
        self._port = node.port
        self._tls = ssl.create_default_context(cadata=node.out("fleet", "authority"))

    def send(
        self, method: str, path: str, body: bytes | None = None, token: str | None = None
    ) -> tuple[int, bytes]:
        """Send one request; returns the status and the answer's body."""
        link = http.client.HTTPSConnection("localhost", self._port, context=self._tls, timeout=20)
        headers = {"Content-Type": "application/json"}
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        try:
            link.request(method, path, body, headers)
            answer = link.getresponse()
            return answer.status, answer.read()
        finally:
            link.close()


def test_a_lesser_machine_gains_nothing_by_the_tokens_that_it_makes(fleet: Fleet) -> None:
    odin = fleet.founder("odin")
    loki = fleet.member(odin, "loki", "--role", "viewer")
    refused = loki.run("token", "create", "crown", "--role", "admin", expect=4)
    assert "own role" in refused.stderr
    text = loki.json("token", "create", "glance")["token"]
    client = Stranger(odin)
    eventually(lambda: client.send("GET", "/api/v1/fleet/nodes", None, text)[0] == 200)
    invite = b'{"role": "admin"}'
    assert client.send("POST", "/api/v1/fleet/invitations", invite, text)[0] == 403
    odin.run("fleet", "remove", "loki")
    status, answer = client.send("GET", "/api/v1/fleet/nodes", None, text)
    assert (status, b"left the fleet" in answer) == (401, True)


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


def test_a_new_recovery_key_is_shown_even_if_the_fleet_cannot_be_told_now(fleet: Fleet) -> None:
    odin, regained = fleet.node("odin"), fleet.node("regained")
    made = odin.json("init", "--name", "odin", "--key-file", str(odin.key_file))
    odin.start()
    # A recovery makes three of the twenty requests that a stranger has in a minute.
    client = Stranger(odin)
    assert {client.send("POST", "/peer/v1/renew", b"junk")[0] for _ in range(18)} == {400}
    done = regained.run(
        *("recover", odin.address, "--key-file", str(regained.key_file), "--json"),
        stdin=made["recovery_key"] + "\n",
    )
    assert json.loads(done.stdout)["recovery_key"] not in {None, made["recovery_key"]}
