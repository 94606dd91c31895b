"""Routes beside apps: by the command line and by HTTP, from the first one to the last."""

from __future__ import annotations

import base64
import http.client
import json
import os
import socket
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.ports import free_port
from tests.system.harness import DEADLINE_S, Fleet, Node, eventually
from tests.system.hosting import unverified


@pytest.fixture
def node(fleet: Fleet) -> Node:
    """A running node with a proxy on free ports."""
    return fleet.founder(
        "freya",
        COVEY_PROXY_HTTP=f"127.0.0.1:{free_port()}",
        COVEY_PROXY_HTTPS=f"127.0.0.1:{free_port()}",
        COVEY_PROXY_HTTP3="false",
        COVEY_DISCOVERY_MDNS="false",
    )


class Sayer(BaseHTTPRequestHandler):
    """Answers with its path."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        body = f"{self.path} {self.headers['Host']}".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        return


@pytest.fixture
def server() -> Iterator[str]:
    """The address of a server that is no app."""
    made = ThreadingHTTPServer(("127.0.0.1", 0), Sayer)
    thread = threading.Thread(target=made.serve_forever)
    thread.start()
    yield f"127.0.0.1:{made.server_address[1]}"
    made.shutdown()
    made.server_close()
    thread.join()


def ask(
    node: Node, host: str, path: str = "/", trust: ssl.SSLContext | None = None, **headers: str
) -> tuple[int, str]:
    """Ask over HTTPS, as soon as there is a certificate."""
    port = int(node.settings["COVEY_PROXY_HTTPS"].rpartition(":")[2])
    context = trust or unverified()

    def shaken() -> ssl.SSLSocket | None:
        try:
            plain = socket.create_connection(("127.0.0.1", port), DEADLINE_S)
            return context.wrap_socket(plain, server_hostname=host)
        except ssl.SSLCertVerificationError:
            raise
        except OSError:
            return None

    connection = http.client.HTTPConnection(host, timeout=DEADLINE_S)
    connection.sock = eventually(shaken)
    try:
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def call(node: Node, method: str, path: str, body: object = None) -> tuple[int, Any]:
    """Call the API over the node's own socket."""
    connection = http.client.HTTPConnection("covey", timeout=DEADLINE_S)
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.connect(os.path.realpath(node.home / "run" / "covey.sock"))
    try:
        text = None if body is None else json.dumps(body)
        connection.request(method, path, text, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read() or b"null")
    finally:
        connection.close()


def proxies(node: Node) -> list[str]:
    """The processes of this node's Caddy."""
    mark = f"HOME={node.home}/data/caddy".encode()
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and mark in (entry / "environ").read_bytes().split(b"\0"):
                found.append(entry.name)
        except OSError:
            continue
    return found


def test_a_server_of_ones_own_is_served_until_its_route_is_removed(node: Node, server: str) -> None:
    assert not (node.home / "data/caddy").exists()
    assert proxies(node) == []
    said = node.json("routes", "add", "wiki", "wiki.localhost", "--to", server)
    assert [item["hosts"] for item in said] == [["wiki.localhost"]]
    assert ask(node, "wiki.localhost", "/a?b") == (200, "/a?b wiki.localhost")
    trust = ssl.create_default_context(cadata=node.out("routes", "authority"))
    assert ask(node, "wiki.localhost", trust=trust)[0] == 200

    node.run("routes", "add", "wiki", "wiki.localhost", "--path", "/api", "--strip", "--to", server)
    assert ask(node, "wiki.localhost", "/api/v1") == (200, "/v1 wiki.localhost")
    assert ask(node, "wiki.localhost", "/apiary") == (200, "/apiary wiki.localhost")

    words = ("--user", "ada", "--password-stdin")
    again = ("routes", "add", "wiki", "wiki.localhost", "--to", server, *words)
    node.run(*again, stdin="a secret\n")
    assert ask(node, "wiki.localhost")[0] == 401
    proof = base64.b64encode(b"ada:a secret").decode()
    assert ask(node, "wiki.localhost", Authorization=f"Basic {proof}")[0] == 200
    listed = node.out("routes", "list", "--json")
    assert "ada" in listed
    assert "$2" not in listed

    taken = node.run("routes", "add", "other", "wiki.localhost", "--to", server, expect=5)
    assert "wiki.localhost belongs to route/wiki" in taken.stderr
    own = node.run("routes", "add", "leak", "l.localhost", "--directory", str(node.home), expect=4)
    assert "Covey's own" in own.stderr

    assert len(proxies(node)) == 1
    node.run("routes", "remove", "wiki", "--yes")
    assert node.json("routes", "list") == []
    assert proxies(node) == []
    node.run("routes", "remove", "wiki", "--yes", expect=3)


def test_routes_are_made_listed_and_removed_over_http(node: Node, server: str) -> None:
    status, made = call(
        node,
        "POST",
        "/api/v1/routes",
        {"name": "shop", "hosts": ["shop.localhost", "*.shop.localhost"], "to": [f"{server}=90"]},
    )
    assert (status, made[0]["owner"]) == (200, "route/shop")
    assert ask(node, "shop.localhost") == (200, "/ shop.localhost")
    assert ask(node, "a.shop.localhost") == (200, "/ a.shop.localhost")
    status, found = call(node, "GET", "/api/v1/routes")
    assert (status, [item["to"] for item in found]) == (200, [[server]])
    for odd in (
        {"name": "x", "hosts": ["{env.HOME}"], "to": [server]},
        {"name": "x", "hosts": ["x.localhost"], "to": ["{env.HOME}:80"]},
        {"name": "x", "hosts": ["x.localhost"], "to": [server], "path": "/{file./etc/passwd}"},
        {"name": "x", "hosts": ["x.localhost"], "to": [server], "header": ["X-A: b\r\nX-C: d"]},
        {"name": "x", "hosts": ["x.localhost"], "to": [server], "health": "/{env.HOME}"},
        {"name": "../x", "hosts": ["x.localhost"], "to": [server]},
        {"name": "x", "hosts": ["x.localhost"]},
    ):
        status, answer = call(node, "POST", "/api/v1/routes", odd)
        assert (status, answer["error"]["code"]) == (400, "invalid_request"), odd
    assert call(node, "GET", "/api/v1/routes")[1] == found
    assert call(node, "DELETE", "/api/v1/routes/shop")[0] == 200
    assert call(node, "DELETE", "/api/v1/routes/shop")[0] == 404
    assert proxies(node) == []


def test_routes_outlive_the_daemon_and_come_back_with_it(node: Node, server: str) -> None:
    node.run("routes", "add", "wiki", "wiki.localhost", "--to", server)
    [before] = proxies(node)
    node.kill()
    assert ask(node, "wiki.localhost") == (200, "/ wiki.localhost")
    node.start()
    assert proxies(node) == [before]
    node.run("routes", "stop", "--yes")
    assert proxies(node) == []
    node.stop()
    node.start()
    eventually(lambda: proxies(node))
    assert ask(node, "wiki.localhost") == (200, "/ wiki.localhost")
    node.run("routes", "remove", "wiki", "--yes")
