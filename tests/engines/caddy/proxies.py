"""A real Caddy on free ports of loopback, behind the service that apps use."""

from __future__ import annotations

import asyncio
import shutil
import ssl
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from covey.apps.routing.ports import IssuedCertificates
from covey.apps.routing.service import RoutesService
from covey.apps.routing.tls import TlsAbilities
from covey.engines.caddy import process
from covey.engines.caddy.config import CaddyOptions
from covey.engines.caddy.engine import CaddyProxy
from covey.engines.caddy.passwords import CaddyPasswords
from covey.engines.caddy.process import CaddyPaths
from tests.ports import free_port


class LocalDict:
    """`LocalState` in memory; `failing` makes writes fail."""

    def __init__(self) -> None:
        self.values: dict[tuple[str, str], bytes] = {}
        self.failing: Exception | None = None

    def get_local(self, namespace: str, key: str) -> bytes | None:
        return self.values.get((namespace, key))

    def scan_local(self, namespace: str) -> list[tuple[str, bytes]]:
        found = self.values.items()
        return sorted((key, value) for (space, key), value in found if space == namespace)

    async def put_local(self, namespace: str, key: str, value: bytes | None) -> None:
        if self.failing is not None:
            raise self.failing
        if value is None:
            self.values.pop((namespace, key), None)
        else:
            self.values[namespace, key] = value

    async def take_local(self, namespace: str, key: str) -> bytes | None:
        return self.values.pop((namespace, key), None)


@dataclass
class Home:
    """Where one node keeps what its proxy needs."""

    root: Path
    http: int = field(default_factory=free_port)
    https: int = field(default_factory=free_port)
    local: LocalDict = field(default_factory=LocalDict)
    extra: dict[str, object] = field(default_factory=dict)
    issued: IssuedCertificates | None = None

    @property
    def paths(self) -> CaddyPaths:
        return CaddyPaths(self.root / "run", self.root / "data", self.root / "log")

    @property
    def options(self) -> CaddyOptions:
        chosen: dict[str, object] = {
            "admin_socket": self.root / "run" / "admin.sock",
            "upstreams": self.root / "run" / "upstreams",
            "storage": self.root / "data" / "storage",
            "log_dir": self.root / "log",
            "http": f"127.0.0.1:{self.http}",
            "https": f"127.0.0.1:{self.https}",
            **self.extra,
        }
        return CaddyOptions(**chosen)  # type: ignore[arg-type]

    def service(self) -> RoutesService:
        """A service as a fresh daemon makes it."""
        options = self.options
        engine = CaddyProxy(options, self.paths)
        abilities = TlsAbilities(
            serves_http=bool(options.http),
            serves_https=bool(options.https),
            dns=self.issued is not None,
        )
        return RoutesService(self.local, engine, CaddyPasswords(), abilities, self.issued)

    def pid(self) -> int | None:
        record = process.read_record(self.paths)
        return None if record is None else record.pid

    async def end(self) -> None:
        record = process.read_record(self.paths)
        if record is not None:
            await process.end(record, 0.2)


@asynccontextmanager
async def proxy(
    issued: IssuedCertificates | None = None, **extra: object
) -> AsyncIterator[tuple[RoutesService, Home]]:
    """A started service; at the end its Caddy is gone, with its files."""
    root = Path(tempfile.mkdtemp(prefix="cp-"))
    home = Home(root, extra=extra, issued=issued)
    routes = home.service()
    try:
        await routes.start()
        yield routes, home
    finally:
        await routes.stop()
        await home.end()
        shutil.rmtree(root)


@dataclass(frozen=True)
class Answered:
    status: int
    headers: dict[str, str]
    body: bytes


async def ask(
    port: int,
    host: str,
    path: str = "/",
    *,
    method: str = "GET",
    body: bytes = b"",
    trust: ssl.SSLContext | None = None,
    **headers: str,
) -> Answered:
    """One request on a connection of its own, without any repetition."""
    name = None if trust is None else host
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", port, ssl=trust, server_hostname=name
    )
    try:
        lines = [f"{method} {path} HTTP/1.1", f"Host: {host}", "Connection: close"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        if body:
            lines.append(f"Content-Length: {len(body)}")
        writer.write("\r\n".join([*lines, "", ""]).encode() + body)
        return read_answer(await reader.read())
    finally:
        writer.close()


def read_answer(raw: bytes) -> Answered:
    head, _, rest = raw.partition(b"\r\n\r\n")
    status, *lines = head.decode("latin-1").split("\r\n")
    headers = {}
    for line in lines:
        name, _, value = line.partition(":")
        headers[name.lower()] = value.strip()
    if headers.get("transfer-encoding") == "chunked":
        rest = _joined(rest)
    return Answered(int(status.split()[1]), headers, rest)


def _joined(chunks: bytes) -> bytes:
    whole = b""
    while chunks:
        size, _, chunks = chunks.partition(b"\r\n")
        count = int(size, 16)
        whole, chunks = whole + chunks[:count], chunks[count + 2 :]
        if count == 0:
            break
    return whole
