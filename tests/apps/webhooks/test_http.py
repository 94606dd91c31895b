"""Deliveries through the real HTTP app: status, audit trail, limits."""

from __future__ import annotations

import asyncio
import http.client
import json
import threading
from collections.abc import Coroutine, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import pytest
import uvloop

from covey.apps.webhooks import webhook_operations
from covey.apps.webhooks.reception import Reception
from covey.apps.webhooks.service import WebhookService
from covey.errors import LockedError
from covey.operations.access import Caller
from covey.operations.context import Services
from covey.operations.registry import Registry
from covey.surfaces.http.app import HttpSettings, build_app, build_webhook_app
from covey.surfaces.http.serve import HttpServer, Listener, bind_tcp
from tests.apps.webhooks.recording import Scene
from tests.apps.webhooks.sending import Sent, delivery, payload
from tests.surfaces.http.serving import SampleAuthenticator, Trail

T = TypeVar("T")
DEADLINE_S = 20.0
REGISTRY = Registry.from_modules([webhook_operations])
MAX_BODY = 256 * 1024


class Members(SampleAuthenticator):
    """Tokens are role labels."""

    def by_certificate(self, certificate: bytes, address: str) -> Caller | None:
        return None


@dataclass
class Served:
    """One node's webhooks behind a real server."""

    port: int
    loop: asyncio.AbstractEventLoop
    scene: Scene
    trail: Trail
    services: Services
    upkeeps: list[None] = field(default_factory=list)

    def call(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(DEADLINE_S)

    def post(
        self, path: str, sent: Sent, extra: Mapping[str, str] | None = None
    ) -> tuple[int, Any, Mapping[str, str]]:
        return self.request("POST", path, sent.body, {**sent.headers, **(extra or {})})

    def request(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]
    ) -> tuple[int, Any, Mapping[str, str]]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=DEADLINE_S)
        try:
            connection.request(method, path, body, dict(headers))
            answer = connection.getresponse()
            data = answer.read()
            found = {name.lower(): value for name, value in answer.getheaders()}
            return answer.status, json.loads(data) if data else None, found
        finally:
            connection.close()

    def api(self, method: str, path: str, body: object = None, role: str = "admin") -> Any:
        """Call an operation, which must succeed."""
        headers = {"authorization": f"Bearer {role}", "content-type": "application/json"}
        data = None if body is None else json.dumps(body).encode()
        status, found, _ = self.request(method, path, data, headers)
        assert status == 200, found
        return found


@contextmanager
def serving(
    settings: HttpSettings | None = None, *, behind_proxy: bool = False
) -> Iterator[Served]:
    loop = uvloop.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    scene, trail, services = Scene(), Trail(), Services()
    scene.app()
    upkeeps: list[None] = []

    async def upkeep() -> None:
        upkeeps.append(None)

    service = WebhookService(
        scene.integrations, scene.deliveries, upkeep, lambda: ["https://apps.example.org:13500"]
    )
    services.provide(WebhookService, service)
    services.provide(Reception, scene.reception)

    async def start() -> tuple[HttpServer, int]:
        limits = settings or HttpSettings(rate_limit_per_minute=0, max_delivery_bytes=MAX_BODY)
        app = build_app(
            REGISTRY,
            services,
            trail,
            Members(),
            settings=limits,
            health=lambda: "ready",
            webhooks=lambda: services.get(Reception),
        )
        if behind_proxy:
            app = build_webhook_app(lambda: services.get(Reception), trail, limits)
        server = HttpServer(app)
        sockets = bind_tcp("127.0.0.1", 0)
        await server.start([Listener(item) for item in sockets])
        return server, sockets[0].getsockname()[1]

    def call(work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, loop).result(DEADLINE_S)

    try:
        server, port = call(start())
        yield Served(port, loop, scene, trail, services, upkeeps)
        call(server.stop(grace=2.0))
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@pytest.fixture
def served() -> Iterator[Served]:
    with serving() as found:
        yield found


def made(served: Served, forge: str = "github", **options: object) -> str:
    """Make a webhook by the API, and return its secret."""
    body = {"name": "hook", "forge": forge, **options}
    secret: str = served.api("POST", "/api/v1/webhooks", body)["secret"]
    return secret


@pytest.mark.parametrize("path", ["/webhooks/github", "/api/v1/webhooks/hook"])
def test_a_signed_push_is_accepted_and_audited(served: Served, path: str):
    secret = made(served)
    status, found, headers = served.post(path, delivery("github", "push", secret=secret))
    assert (status, found["status"], found["deployments"]) == (202, "queued", ["shop/1"])
    entry = served.trail.entries[-1]
    assert (entry.operation, entry.outcome) == ("webhooks.receive", "ok")
    assert (entry.caller, entry.address) == ("webhook hook", "127.0.0.1")
    assert entry.request_id == headers["x-request-id"]


@pytest.mark.parametrize("path", ["/webhooks/github", "/api/v1/webhooks/hook"])
@pytest.mark.parametrize("kind", ["unsigned", "forged", "changed"])
def test_what_is_not_signed_gets_401_and_an_audit_entry(served: Served, path: str, kind: str):
    secret = made(served)
    sent = delivery("github", "push", secret=secret)
    match kind:
        case "unsigned":
            sent = sent.with_headers(x_hub_signature_256=None)
        case "forged":
            sent = delivery("github", "push", secret="another")
        case _:
            sent = Sent(sent.headers, sent.body + b" ")
    served.trail.entries.clear()
    status, found, _ = served.post(path, sent)
    assert (status, found["error"]["code"]) == (401, "unauthenticated")
    (entry,) = served.trail.entries
    assert (entry.operation, entry.outcome) == ("webhooks.receive", "unauthenticated")
    assert (entry.caller, entry.kind, entry.address) == ("anonymous", "anonymous", "127.0.0.1")
    assert served.scene.deployer.deployed == []


def test_an_unknown_webhook_cannot_be_told_from_a_wrong_secret(served: Served):
    made(served)
    sent = delivery("github", "push", secret="another")
    known = served.post("/api/v1/webhooks/hook", sent)
    unknown = served.post("/api/v1/webhooks/nobody", sent)
    assert known[:2] == unknown[:2]
    assert known[0] == 401
    names = {"x-request-id", "date"}
    assert {k: v for k, v in known[2].items() if k not in names} == {
        k: v for k, v in unknown[2].items() if k not in names
    }
    assert [entry.outcome for entry in served.trail.entries[-2:]] == ["unauthenticated"] * 2


def test_a_duplicate_is_answered_and_does_nothing(served: Served):
    sent = delivery("github", "push", secret=made(served))
    assert served.post("/webhooks/github", sent)[0] == 202
    status, found, _ = served.post("/api/v1/webhooks/hook", sent)
    assert (status, found["status"]) == (200, "duplicate")
    assert len(served.scene.deployer.deployed) == 1


def test_a_ping_is_answered(served: Served):
    sent = delivery("github", "ping", secret=made(served))
    status, found, _ = served.post("/webhooks/github", sent)
    assert (status, found["status"]) == (200, "pong")


@pytest.mark.parametrize("body", [b"{", b'{"a":1,"a":2}', b"[" * 50_000, b"\xff", b'{"ref":NaN}'])
def test_signed_nonsense_is_a_bad_request(served: Served, body: bytes):
    sent = delivery("github", "push", secret=made(served), body=body)
    status, found, _ = served.post("/webhooks/github", sent)
    assert (status, found["error"]["code"]) == (400, "invalid_request")
    assert served.trail.entries[-1].outcome == "invalid_request"


@pytest.mark.parametrize("signed", [True, False])
def test_a_body_over_the_limit_is_refused(served: Served, signed: bool):
    secret = made(served)
    body = payload("github", "push") | {"padding": "x" * MAX_BODY}
    sent = delivery("github", "push", secret=secret if signed else "no", body=body)
    assert served.post("/webhooks/github", sent)[0] == 413


def test_a_signature_given_twice_is_none(served: Served):
    sent = delivery("github", "push", secret=made(served))
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=DEADLINE_S)
    connection.putrequest("POST", "/webhooks/github")
    for name, value in sent.headers.items():
        connection.putheader(name, value)
    connection.putheader("X-Hub-Signature-256", sent.headers["x-hub-signature-256"])
    connection.putheader("Content-Length", str(len(sent.body)))
    connection.endheaders(sent.body)
    assert connection.getresponse().status == 401
    connection.close()


def test_an_unknown_forge_is_not_found(served: Served):
    assert served.post("/webhooks/sourcehut", delivery("github", "push"))[0] == 404


def test_forgeries_are_limited_and_do_not_flush_the_trail():
    settings = HttpSettings(rate_limit_per_minute=0, failed_authentications_per_minute=3)
    with serving(settings) as served:
        secret = made(served)
        served.trail.entries.clear()
        forged = delivery("github", "push", secret="another")
        found = [served.post("/webhooks/github", forged) for _ in range(6)]
        assert [status for status, _, _ in found] == [401] * 3 + [429] * 3
        assert int(found[-1][2]["retry-after"]) >= 1
        assert len(served.trail.entries) == 3
        good = delivery("github", "push", secret=secret)
        assert served.post("/webhooks/github", good)[0] == 202


def test_forgeries_from_many_networks_do_not_flush_the_trail_either():
    with serving(behind_proxy=True) as served:
        forged = delivery("github", "push", secret="another")
        for number in range(80):
            headers = {"x-real-ip": f"2001:db8:{number:x}::1"}
            assert served.post("/webhooks/github", forged, headers)[0] == 401
        assert len(served.trail.entries) == 60


def test_a_delivery_may_be_larger_than_other_requests():
    settings = HttpSettings(rate_limit_per_minute=0, max_body_bytes=1000)
    with serving(settings) as served:
        body = payload("github", "push") | {"padding": "x" * (9 << 20)}
        sent = delivery("github", "push", secret=made(served), body=body)
        assert served.post("/webhooks/github", sent)[0] == 202


def test_requests_are_limited():
    with serving(HttpSettings(rate_limit_per_minute=3)) as served:
        found = [served.post("/webhooks/github", delivery("github", "ping")) for _ in range(5)]
        assert [status for status, _, _ in found][-1] == 429


def test_a_locked_node_says_so(served: Served):
    sent = delivery("github", "push", secret=made(served))
    served.services.withdraw(Reception)
    status, found, _ = served.post("/webhooks/github", sent)
    assert (status, found["error"]["code"]) == (423, LockedError.code)


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_only_posts_are_deliveries(served: Served, method: str):
    status, found, headers = served.request(method, "/webhooks/github", None, {})
    assert (status, found["error"]["code"]) == (405, "method_not_allowed")
    assert headers["allow"] == "OPTIONS, POST"


def test_the_secret_is_shown_once(served: Served):
    found = served.api("POST", "/api/v1/webhooks", {"name": "hook", "forge": "gitlab"})
    assert found["path"] == "/api/v1/webhooks/hook"
    assert found["urls"] == ["https://apps.example.org:13500/api/v1/webhooks/hook"]
    assert found["secret"].startswith("whsec_")
    assert "Push events" in found["events"]
    for path in ("/api/v1/webhooks", "/api/v1/webhooks/hook"):
        assert found["secret"] not in json.dumps(served.api("GET", path, role="viewer"))


def test_a_forges_token_is_never_shown(served: Served):
    body = {"name": "hook", "forge": "github", "api_token": "ghp_hidden", "previews": True}
    assert "ghp_hidden" not in json.dumps(served.api("POST", "/api/v1/webhooks", body))
    shown = served.api("GET", "/api/v1/webhooks/hook")
    assert shown["statuses"] is True
    assert "ghp_hidden" not in json.dumps(shown)
    assert "ghp_hidden" not in repr(served.trail.entries)
    assert served.upkeeps == [None]


def test_what_was_delivered_is_listed(served: Served):
    secret = made(served)
    served.post("/webhooks/github", delivery("github", "ping", secret=secret))
    served.scene.clock.move(seconds=1)
    served.post("/webhooks/github", delivery("github", "push", secret=secret))
    page = served.api("GET", "/api/v1/webhooks/hook/deliveries?limit=1", role="developer")
    assert [item["outcome"] for item in page["items"]] == ["queued"]
    assert page["items"][0]["repository"] == "acme/shop"
    served.scene.clock.move(seconds=1)
    served.post("/webhooks/github", delivery("github", "star", secret=secret))
    more = f"/api/v1/webhooks/hook/deliveries?limit=1&cursor={page['next_cursor']}"
    assert [item["outcome"] for item in served.api("GET", more)["items"]] == ["pong"]


def test_a_secret_is_rotated(served: Served):
    first = made(served)
    second = served.api("POST", "/api/v1/webhooks/hook/rotate", {"overlap": "0s"})["secret"]
    assert served.post("/webhooks/github", delivery("github", "ping", secret=first))[0] == 401
    assert served.post("/webhooks/github", delivery("github", "ping", secret=second))[0] == 200


def test_a_removed_webhook_takes_nothing(served: Served):
    secret = made(served)
    assert served.api("DELETE", "/api/v1/webhooks/hook")["name"] == "hook"
    assert served.post("/webhooks/github", delivery("github", "ping", secret=secret))[0] == 401
    assert served.api("GET", "/api/v1/webhooks") == []
    assert served.scene.log.scan_local("webhooks.deliveries.hook") == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"forks": True},
        {"forge": "gitea", "api_token": "x"},
        {"api_base": "https://example.org/api/v4"},
        {"api_base": "file:///etc/passwd", "api_token": "x"},
        {"api_base": "https://user:pw@example.org", "api_token": "x"},
        {"api_base": "https://example.org/?x=1", "api_token": "x"},
        {"api_base": "https://[::1", "api_token": "x"},
        {"name": "Shop"},
        {"name": "../x"},
        {"forge": "sourcehut"},
        {"branch": [""]},
        {"max_previews": 0},
    ],
)
def test_what_no_webhook_can_be(served: Served, wrong: dict[str, object]):
    body = json.dumps({"name": "hook", "forge": "github", **wrong}).encode()
    headers = {"authorization": "Bearer admin", "content-type": "application/json"}
    status, found, _ = served.request("POST", "/api/v1/webhooks", body, headers)
    assert (status, found["error"]["code"]) == (400, "invalid_request")


def test_deliveries_arriving_at_one_time_are_bounded():
    from covey.surfaces.http.webhooks import BodyBudget

    budget = BodyBudget(most=1 << 20, most_from_one=10_000)

    class Arriving:
        """A request whose body comes when the test says so."""

        def __init__(self, size: int) -> None:
            self.scope = {"type": "http", "headers": [], "client": ("192.0.2.1", 1), "state": {}}
            self.go = asyncio.Event()
            self._parts = [(b"x" * size, True), (b"", False)]

        async def receive(self) -> dict[str, object]:
            body, more = self._parts.pop(0)
            if not more:
                await self.go.wait()
            return {"type": "http.request", "body": body, "more_body": more}

    async def work() -> None:
        from covey.errors import RateLimitedError

        first, second = Arriving(6000), Arriving(6000)
        reading = asyncio.create_task(budget.read(first, 1 << 20, "192.0.2.1"))  # type: ignore[arg-type]
        await asyncio.sleep(0)
        with pytest.raises(RateLimitedError):
            await budget.read(second, 1 << 20, "192.0.2.1")  # type: ignore[arg-type]
        first.go.set()
        assert len(await reading) == 6000
        third = Arriving(6000)
        third.go.set()
        assert len(await budget.read(third, 1 << 20, "192.0.2.1")) == 6000  # type: ignore[arg-type]

    asyncio.run(work())
