"""An engine's interface that answers what a test says, for what a real one does once in a while."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from covey.engines.containers.engine import ApiContainerEngine, make_engine
from covey.paths import Paths
from covey.settings_hosting import AppsSettings

VERSION = {"Version": "4.3.1", "Components": [{"Name": "Podman Engine"}]}


@dataclass(frozen=True)
class Request:
    """One that came."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]


@dataclass(frozen=True)
class Reply:
    """What is answered; one that `holds` never comes to its end."""

    body: bytes = b""
    status: int = 200
    holds: bool = False


@dataclass
class EngineStandIn:
    """Answers by method and path; `/version` is known."""

    socket: Path
    replies: dict[str, list[Reply]] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)

    def answer(self, route: str, *replies: Reply) -> None:
        """Say what a route, e.g. `GET /info`, answers in turn; the last of them for ever."""
        self.replies[route] = list(replies)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            method, target, _ = first.split(" ")
            url = urlsplit(target)
            path = "/" + url.path.split("/", 2)[2]
            pairs = (line.split(": ", 1) for line in lines if line)
            headers = {name.lower(): value for name, value in pairs}
            query = {name: values[0] for name, values in parse_qs(url.query).items()}
            self.requests.append(Request(method, path, query, headers))
            reply = self._reply(f"{method} {path}")
            head = f"HTTP/1.1 {reply.status} X\r\nTransfer-Encoding: chunked\r\n\r\n"
            writer.write(head.encode())
            if reply.body:
                writer.write(b"%x\r\n%b\r\n" % (len(reply.body), reply.body))
            if reply.holds:
                await writer.drain()
                await reader.read()
            writer.write(b"0\r\n\r\n")
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    def _reply(self, route: str) -> Reply:
        left = self.replies.get(route)
        if not left:
            return Reply(b'{"message": "no such thing"}', 404)
        return left.pop(0) if len(left) > 1 else left[0]


def told(document: object) -> Reply:
    """Make an answer of JSON."""
    return Reply(json.dumps(document).encode())


@asynccontextmanager
async def stand_in(home: Path) -> AsyncIterator[tuple[EngineStandIn, ApiContainerEngine]]:
    """Give an engine that is none, and Covey's engine on it."""
    engine_stand_in = EngineStandIn(home / "podman.sock")
    engine_stand_in.answer("GET /version", told(VERSION))
    server = await asyncio.start_unix_server(engine_stand_in.serve, engine_stand_in.socket)
    paths = Paths(*(str(home / name) for name in ("config", "data", "state", "run")))
    engine = make_engine(AppsSettings(engine_socket=str(engine_stand_in.socket)), paths)
    try:
        yield engine_stand_in, engine
    finally:
        await engine.close()
        server.close()
