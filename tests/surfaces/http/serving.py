"""A real server in a thread: the sample operations on a TCP and on a Unix socket."""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
import ssl
import tempfile
import threading
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import uvloop

from covey.errors import LockedError, UnauthenticatedError
from covey.operations.access import Caller, CallerKind, Role
from covey.operations.audit import AuditEntry
from covey.operations.context import Services
from covey.operations.dispatch import Dispatcher
from covey.operations.registry import Registry
from covey.surfaces.http.app import HttpSettings, build_app
from covey.surfaces.http.metrics import Gauge
from covey.surfaces.http.serve import HttpServer, Listener, bind_tcp, bind_unix
from tests.surfaces.http import sample_operations
from tests.surfaces.http.sample_operations import Notes

T = TypeVar("T")
DEADLINE = 20.0
REGISTRY = Registry.from_modules([sample_operations])


class SampleAuthenticator:
    """A token is a role's label, perhaps with patterns: `admin`, `viewer/note.get`."""

    def __init__(self) -> None:
        self.locked = False
        self.revoked: set[str] = set()

    def by_token(self, token: str, address: str) -> Caller | None:
        if self.locked:
            raise LockedError("This node is locked.", hint="Run: covey unlock")
        if token == "expired":
            raise UnauthenticatedError("The token has expired.", hint="Create another one.")
        if token in self.revoked:
            return None
        label, _, patterns = token.partition("/")
        try:
            role = Role.parse(label)
        except KeyError:
            return None
        allowed = tuple(patterns.split(",")) if patterns else ("*",)
        return Caller(CallerKind.TOKEN, token, role, address, allowed)

    def by_certificate(self, certificate: bytes, address: str) -> Caller | None:
        return Caller(CallerKind.NODE, "node", Role.OPERATOR, address, node_id="0" * 32)

    def local(self, uid: int | None) -> Caller:
        return Caller(CallerKind.LOCAL, f"uid {uid}", Role.ADMIN, "local")


class Trail:
    """Audit entries in memory."""

    def __init__(self) -> None:
        self.entries: list[AuditEntry] = []

    def record(self, entry: AuditEntry) -> None:
        self.entries.append(entry)


@dataclass(frozen=True)
class Reply:
    """A response with its whole body."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """The code in the error envelope, which must be whole."""
        error = self.json["error"]
        assert error.keys() == {"code", "message", "hint", "details"}
        assert error["message"]
        return str(error["code"])


@dataclass
class Running:
    """The server, and what it works on."""

    port: int
    unix: Path
    loop: asyncio.AbstractEventLoop
    server: HttpServer
    notes: Notes
    trail: Trail
    authenticator: SampleAuthenticator
    tls: ssl.SSLContext | None = None
    gauges: list[Gauge] = field(default_factory=list)
    state: str = "ready"

    def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        token: str | None = "admin",
        headers: Mapping[str, str] | None = None,
        unix: bool = False,
    ) -> Reply:
        """Send one request; a body that is not bytes is sent as JSON."""
        sent = dict(headers or {})
        if token is not None and not unix:
            sent.setdefault("Authorization", f"Bearer {token}")
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
        if body is not None:
            sent.setdefault("Content-Type", "application/json")
        connection = self.connect(unix=unix)
        try:
            connection.request(method, path, body, sent)
            answer = connection.getresponse()
            found = {name.lower(): value for name, value in answer.getheaders()}
            return Reply(answer.status, found, answer.read())
        finally:
            connection.close()

    def connect(self, *, unix: bool = False) -> http.client.HTTPConnection:
        """Open a connection."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=DEADLINE)
        if unix:
            connection.sock = socket.socket(socket.AF_UNIX)
            connection.sock.settimeout(DEADLINE)
            connection.sock.connect(str(self.unix))
        return connection

    def raw(self, data: bytes) -> bytes:
        """Send bytes and return what comes back until the server closes."""
        with socket.create_connection(("127.0.0.1", self.port), DEADLINE) as plain:
            plain.sendall(data)
            parts = []
            while part := plain.recv(65536):
                parts.append(part)
            return b"".join(parts)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine in the server's loop."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(DEADLINE)

    def eventually(self, probe: Callable[[], object]) -> None:
        """Wait until `probe` is true in the server's loop; fails after the deadline."""

        async def wait() -> None:
            async with asyncio.timeout(DEADLINE):
                while not probe():
                    await asyncio.sleep(0.005)

        self.run(wait())


@contextmanager
def running(
    settings: HttpSettings | None = None,
    tls: ssl.SSLContext | None = None,
    dispatcher: Dispatcher | None = None,
    *,
    registry: Registry = REGISTRY,
    offer: Callable[[Services], None] = lambda _services: None,
) -> Iterator[Running]:
    """Run a server for the duration of the block, and stop it gracefully.

    `offer` is called in the server's loop, before it serves.
    """
    loop = uvloop.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    started: list[Running] = []

    async def start(folder: Path) -> Running:
        services, notes, trail = Services(), Notes(), Trail()
        services.provide(Notes, notes)
        offer(services)
        authenticator = SampleAuthenticator()
        app = build_app(
            registry,
            services,
            trail,
            authenticator,
            settings=settings or HttpSettings(rate_limit_per_minute=0),
            health=lambda: started[0].state,
            dispatcher=dispatcher,
            gauges=lambda: started[0].gauges,
        )
        server = HttpServer(app)
        sockets = bind_tcp("127.0.0.1", 0)
        path = folder / "covey.sock"
        listeners = [Listener(item, tls) for item in sockets]
        port = sockets[0].getsockname()[1]
        await server.start([*listeners, Listener(bind_unix(path), local=True)])
        return Running(port, path, loop, server, notes, trail, authenticator, tls)

    def call(work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, loop).result(DEADLINE)

    try:
        with tempfile.TemporaryDirectory() as folder:
            started.append(call(start(Path(folder))))
            yield started[0]
            call(started[0].server.stop(grace=2.0))
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
