"""Webhooks of a real daemon: forged deliveries, replays over restarts, pushes and pull requests."""

from __future__ import annotations

import getpass
import http.client
import json
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.apps.webhooks.sending import Sent, delivery, payload
from tests.podman import WEB, Podman
from tests.system.harness import Fleet, Node, eventually, new_fleet
from tests.system.hosting import Host, new_host, unverified
from tests.system.sshd import SshServer, ssh_server

PUBLIC = "hooks.localhost"


def post(node: Node, sent: Sent, path: str = "/webhooks/github") -> tuple[int, Any]:
    """Deliver on the node's port, as a forge does."""
    connection = http.client.HTTPSConnection(
        "127.0.0.1", node.port, timeout=20, context=unverified()
    )
    try:
        connection.request("POST", path, sent.body, sent.headers)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


def audited(node: Node) -> list[dict[str, Any]]:
    """Return the entries of deliveries, the newest first."""
    found: list[dict[str, Any]] = node.json("audit", "list", "--operation", "webhooks.*")
    items: list[dict[str, Any]] = found["items"] if isinstance(found, dict) else found
    return [item for item in items if item["operation"] == "webhooks.receive"]


def webhook(node: Node, *words: str) -> str:
    """Make a webhook and return its secret."""
    made = node.json("webhooks", "create", "hook", "--forge", "github", *words)
    secret: str = made["secret"]
    assert made["urls"][0].endswith("/api/v1/webhooks/hook")
    return secret


def test_a_delivery_proves_itself_or_is_refused_and_kept(fleet: Fleet):
    node = fleet.founder("freya")
    secret = webhook(node)
    unsigned = delivery("github", "push").with_headers(x_hub_signature_256=None)
    for path in ("/webhooks/github", "/api/v1/webhooks/hook", "/api/v1/webhooks/nobody"):
        status, answer = post(node, unsigned, path)
        assert (status, answer["error"]["code"]) == (401, "unauthenticated")
    entries = audited(node)
    assert [item["outcome"] for item in entries] == ["unauthenticated"] * 3
    assert {item["address"] for item in entries} == {"127.0.0.1"}

    signed = delivery("github", "ping", secret=secret)
    assert post(node, signed)[0] == 200
    assert audited(node)[0]["caller"] == "webhook hook"

    node.stop()
    node.start()
    status, answer = post(node, signed)
    assert (status, answer["status"]) == (200, "duplicate")
    kept = node.json("webhooks", "deliveries", "hook")
    assert [item["outcome"] for item in kept] == ["pong"]

    assert secret not in node.out("webhooks", "show", "hook", "--json")
    for path in (node.home / "state").rglob("*"):
        assert not path.is_file() or secret.encode() not in path.read_bytes()
    assert secret.encode() not in (node.home / "data/covey.db").read_bytes()

    other = node.json("webhooks", "rotate", "hook", "--overlap", "0s")["secret"]
    assert post(node, delivery("github", "star", secret=secret))[0] == 401
    assert post(node, delivery("github", "star", secret=other))[0] == 200
    node.run("webhooks", "remove", "hook", "--yes")
    assert post(node, delivery("github", "star", secret=other))[0] == 401


def has_ended(node: Node, subject: str) -> bool:
    """Whether the jobs about something are done."""
    jobs = node.json("jobs", "list", "--subject", subject)
    return all(item["state"] in {"succeeded", "superseded"} for item in jobs)


@dataclass
class Repository:
    """A bare repository behind SSH, and a checkout that pushes to it."""

    server: SshServer
    bare: Path
    work: Path

    @property
    def url(self) -> str:
        return f"ssh://{getpass.getuser()}@127.0.0.1:{self.server.port}{self.bare}"

    def commit(self, text: str, ref: str = "refs/heads/main") -> str:
        """Push a version of the app, and return its commit."""
        (self.work / "www").mkdir(exist_ok=True)
        (self.work / "www/index.html").write_text(text)
        (self.work / "Containerfile").write_text(f"FROM {WEB}\nCOPY www /www\n")
        deploy = 'watch = "0s"\ndrain = "1s"\nhealthcheck_timeout = "15s"\n'
        (self.work / "covey.app.toml").write_text(f'app = "shop"\n[deploy]\n{deploy}')
        self._git("add", "-A")
        self._git("commit", "-q", "-m", text)
        self._git("push", "-q", "-f", str(self.bare), f"HEAD:{ref}")
        return self._git("rev-parse", "HEAD")

    def payload(self, name: str, commit: str) -> dict[str, Any]:
        """Return a published payload about this repository."""
        found = payload("github", name)
        found["repository"]["ssh_url"] = self.url
        if "pull_request" in found:
            found["pull_request"]["head"]["sha"] = commit
        else:
            found["after"] = commit
        return found

    def _git(self, *words: str) -> str:
        done = subprocess.run(
            ["git", "-c", "user.name=Octo", "-c", "user.email=octo@example.org", *words],
            cwd=self.work,
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout.strip()


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Repository]:
    base = tmp_path_factory.mktemp("forge")
    bare, work = base / "acme" / "shop.git", base / "work"
    for words in (("init", "-q", "--bare", "-b", "main", bare), ("init", "-q", work)):
        subprocess.run(["git", *words], check=True)
    with ssh_server(base / "sshd") as server:
        yield Repository(server, bare, work)


@pytest.fixture(scope="module")
def host(session_podman: Podman, repository: Repository) -> Iterator[Host]:
    """A node that has an app of the repository, and a webhook that feeds it."""
    with (
        new_fleet() as fleet,
        new_host(fleet, session_podman, COVEY_APPS_WEBHOOK_HOST=PUBLIC) as made,
    ):
        key = made.node.json("apps", "keys", "create", "forge")["public"]
        with (repository.server.directory / "authorized").open("a") as authorized:
            authorized.write(key.strip() + "\n")
        made.node.run("apps", "create", "shop", "--git", repository.url, "--key", "forge")
        yield made


def test_a_signed_push_deploys_the_branchs_head(host: Host, repository: Repository):
    node = host.node
    secret = webhook(node)
    first = repository.commit("v1")
    body = repository.payload("push", first)
    status, answer = post(node, delivery("github", "push", secret=secret, body=body))
    assert (status, answer["deployments"]) == (202, ["shop/1"])
    assert host.settled("shop")["state"] == "succeeded"
    assert host.get("shop") == "v1"

    # Of two pushes the first is told last: the branch's head is deployed all the same.
    second, third = repository.commit("v2"), repository.commit("v3")
    for commit in (third, second):
        body = repository.payload("push", commit)
        assert post(node, delivery("github", "push", secret=secret, body=body))[0] == 202
    newest = host.settled("shop")
    assert newest["commit"] == third
    assert host.get("shop") == "v3"

    body = repository.payload("push_skip", third)
    status, answer = post(node, delivery("github", "push", secret=secret, body=body))
    assert (status, answer["status"]) == (200, "ignored")
    node.run("webhooks", "remove", "hook", "--yes")


def test_the_proxy_takes_deliveries_at_a_host_of_their_own(host: Host):
    made = host.node.json("webhooks", "create", "public", "--forge", "github")
    assert made["urls"][0] == f"https://{PUBLIC}:{host.https}/api/v1/webhooks/public"

    def ask(method: str, path: str, sent: Sent) -> int:
        plain = socket.create_connection(("127.0.0.1", host.https), 20)
        connection = http.client.HTTPConnection("127.0.0.1", host.https)
        connection.sock = host.tls.wrap_socket(plain, server_hostname=PUBLIC)
        given = {"Host": PUBLIC, "X-Real-IP": "192.0.2.1", "X-Forwarded-For": "192.0.2.2"}
        connection.request(method, path, sent.body, {**sent.headers, **given})
        status = connection.getresponse().status
        connection.close()
        return status

    signed = delivery("github", "ping", secret=made["secret"])
    eventually(lambda: ask("POST", "/webhooks/github", signed) == 200)
    assert ask("POST", "/api/v1/webhooks/public", delivery("github", "ping")) == 401
    assert audited(host.node)[0]["address"] == "127.0.0.1"
    assert ask("GET", "/api/v1/webhooks/public", signed) == 405
    for path in ("/api/v1/webhooks", "/api/v1/node", "/openapi.json", "/docs", "/"):
        assert ask("GET", path, signed) == 404
    host.node.run("webhooks", "remove", "public", "--yes")


def test_a_pull_request_has_a_preview_until_it_is_closed(host: Host, repository: Repository):
    node = host.node
    secret = webhook(node, "--previews")

    def tell(name: str, commit: str) -> None:
        body = repository.payload(name, commit)
        sent = delivery("github", name, secret=secret, body=body)
        assert post(node, sent)[0] == 202

    tell("pull_opened", repository.commit("p1", "refs/heads/umbrellas"))
    eventually(lambda: "shop-pr-7" in [item["name"] for item in node.json("apps", "list")])
    eventually(lambda: host.deployments("shop-pr-7"))
    assert host.settled("shop-pr-7")["state"] == "succeeded"
    assert host.get("shop-pr-7") == "p1"
    assert node.json("apps", "show", "shop-pr-7")["environment"] == "preview"

    newest = repository.commit("p2", "refs/heads/umbrellas")
    tell("pull_synchronize", newest)
    eventually(lambda: len(host.deployments("shop-pr-7")) == 2)
    assert host.settled("shop-pr-7")["state"] == "succeeded"
    assert host.get("shop-pr-7") == "p2"

    tell("pull_closed", newest)
    eventually(lambda: "shop-pr-7" not in [item["name"] for item in node.json("apps", "list")])
    eventually(lambda: has_ended(node, "preview/shop-pr-7"))
    assert (host.containers("shop-pr-7"), host.images("shop-pr-7")) == ([], [])
    node.run("webhooks", "remove", "hook", "--yes")
