"""How long a forge waits for its answer: a signed push until its deployment is queued durably."""

from __future__ import annotations

import hashlib
import hmac
import http.client
import json
import socket
import ssl
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

from benchmarks.measure import MS, median, percentile
from benchmarks.report import Row, main
from tests.system.harness import Node, new_fleet

PUSHES = 300
WARM_UP = 10
TARGET_MS = 20
PAYLOAD = Path(__file__).parents[1] / "tests/apps/webhooks/payloads/github/push.json"
SETTINGS = {"COVEY_API_RATE_LIMIT_PER_MINUTE": "10000000", "COVEY_DISCOVERY_MDNS": "false"}


@contextmanager
def silent_server() -> Iterator[int]:
    """Take connections and say nothing: the first deployment waits, the others stay queued."""
    held: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def accept() -> None:
            try:
                while True:
                    held.append(server.accept()[0])
            except OSError:
                return

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
        thread.join()
    for connection in held:
        connection.close()


class Forge:
    """Delivers pushes on one connection that stays open, as GitHub does within a burst."""

    def __init__(self, node: Node, url: str, secret: str) -> None:
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        self._connection = http.client.HTTPSConnection("127.0.0.1", node.port, context=context)
        self._payload = json.loads(PAYLOAD.read_text())
        self._payload["repository"]["ssh_url"] = url
        self._secret = secret.encode()

    def push(self, number: int) -> float:
        """Deliver a push of a new commit; seconds until it was accepted."""
        self._payload["after"] = hashlib.sha1(str(number).encode()).hexdigest()
        body = json.dumps(self._payload).encode()
        headers = {
            "Content-Type": "application/json",
            "X-GitHub-Event": "push",
            "X-GitHub-Delivery": str(uuid.uuid4()),
            "X-Hub-Signature-256": f"sha256={hmac.digest(self._secret, body, 'sha256').hex()}",
        }
        started = time.perf_counter()
        self._connection.request("POST", "/webhooks/github", body, headers)
        answer = self._connection.getresponse()
        data = answer.read()
        elapsed = time.perf_counter() - started
        if answer.status != 202:
            raise RuntimeError(f"the push was not accepted: {data.decode()}")
        return elapsed

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


def run() -> list[Row]:
    """Deliver pushes one after another to a node with one app."""
    with new_fleet() as fleet, silent_server() as port:
        node = fleet.founder("freya", **SETTINGS)
        url = f"ssh://git@127.0.0.1:{port}/acme/shop.git"
        node.run("apps", "create", "shop", "--git", url, "--ref", "main")
        secret = node.json("webhooks", "create", "hook", "--forge", "github")["secret"]
        forge, numbers = Forge(node, url, secret), count()
        for _ in range(WARM_UP):
            forge.push(next(numbers))
        times = [forge.push(next(numbers)) for _ in range(PUSHES)]
        forge.close()
    note = f"{PUSHES} pushes of {PAYLOAD.stat().st_size / 1000:.0f} kB by HTTPS, one node"
    return [
        Row("webhook to queued, median", median(times) * MS, "ms", TARGET_MS, note),
        Row("webhook to queued, 99 %", percentile(times, 99) * MS, "ms", TARGET_MS, note),
    ]


if __name__ == "__main__":
    raise SystemExit(main("webhook", run))
