"""A small application behind the proxy: it says its name, streams, upgrades and echoes."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit


class Backend:
    """One HTTP/1.1 server on a free port of loopback."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.port = 0
        self.requests = 0
        self.release = asyncio.Event()
        """Ends `/slow` and gives the second event of `/events`."""
        self.gone = asyncio.Event()
        """A client of `/events` went away."""
        self.seen: list[dict[str, str]] = []
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def start(self, port: int = 0) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", port, backlog=1024)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        for writer in list(self._open):
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        with contextlib.suppress(OSError, ValueError, asyncio.IncompleteReadError):
            while await self._answer(reader, writer):
                pass
        self._open.discard(writer)
        writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        _, target, _ = head[0].split(" ", 2)
        headers = {
            name.lower(): value.strip()
            for name, _, value in (line.partition(":") for line in head[1:] if line)
        }
        self.requests += 1
        self.seen.append(headers)
        path = urlsplit(target).path
        body = await _body(reader, headers)
        if headers.get("upgrade") == "websocket":
            await self._echo(reader, writer)
            return False
        if path == "/events":
            await self._events(reader, writer)
            return False
        if path == "/slow":
            await self.release.wait()
        if path == "/headers":
            await _send(writer, json.dumps(headers).encode(), "application/json")
        elif path == "/text":
            await _send(writer, b"some text that compresses well\n" * 400, "text/plain")
        elif path == "/target":
            await _send(writer, target.encode())
        elif body:
            await _send(writer, str(len(body)).encode())
        else:
            await _send(writer, self.name.encode())
        return True

    async def _echo(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Speak no WebSocket frames: behind the handshake, the proxy passes on bytes."""
        writer.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
        )
        while line := await reader.readline():
            writer.write(self.name.encode() + b":" + line)
            await writer.drain()

    async def _events(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n" + _chunk(b"data: first\n\n")
        )
        await writer.drain()
        left = asyncio.create_task(reader.read())
        released = asyncio.create_task(self.release.wait())
        done, _ = await asyncio.wait({left, released}, return_when=asyncio.FIRST_COMPLETED)
        if left in done:
            self.gone.set()
            released.cancel()
            return
        writer.write(_chunk(b"data: second\n\n") + b"0\r\n\r\n")
        await writer.drain()
        left.cancel()


@asynccontextmanager
async def backends(*names: str) -> AsyncIterator[list[Backend]]:
    made = [Backend(name) for name in names]
    for item in made:
        await item.start()
    try:
        yield made
    finally:
        for item in made:
            await item.stop()


async def _body(reader: asyncio.StreamReader, headers: dict[str, str]) -> bytes:
    if headers.get("transfer-encoding") == "chunked":
        whole = b""
        while count := int(await reader.readline(), 16):
            whole += (await reader.readexactly(count + 2))[:-2]
        await reader.readline()
        return whole
    return await reader.readexactly(int(headers.get("content-length", "0")))


async def _send(
    writer: asyncio.StreamWriter, body: bytes, kind: str = "application/octet-stream"
) -> None:
    writer.write(
        f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        + body
    )
    await writer.drain()


def _chunk(data: bytes) -> bytes:
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"
