"""Clients that ask all the time, repeat nothing, and tell every failure."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field


@dataclass
class Load:
    """What the clients of one test saw: answers by body, and failures."""

    port: int
    host: str
    path: str = "/"
    tls: ssl.SSLContext | None = None
    answers: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    stopped: bool = False

    @property
    def total(self) -> int:
        return self.answers.total()

    async def after(self, more: int) -> None:
        """Return when so many more requests were answered."""
        async with asyncio.timeout(30):
            until = self.total + more
            while self.total < until and not self.failures:
                await asyncio.sleep(0.005)

    async def keep_alive(self) -> None:
        """One connection for as long as the server keeps it."""
        while not self.stopped:
            try:
                reader, writer = await self._connect()
            except OSError as error:
                self.failures.append(f"connect: {error!r}")
                return
            open_ = True
            while open_ and not self.stopped:
                open_ = await self._once(reader, writer, close=False)
            writer.close()

    async def new_each_time(self) -> None:
        """A connection for each request."""
        while not self.stopped:
            try:
                reader, writer = await self._connect()
            except OSError as error:
                self.failures.append(f"connect: {error!r}")
                return
            await self._once(reader, writer, close=True)
            writer.close()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        name = None if self.tls is None else self.host
        return await asyncio.open_connection(
            "127.0.0.1", self.port, ssl=self.tls, server_hostname=name
        )

    async def _once(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, close: bool
    ) -> bool:
        """Ask once; return whether the connection stays open."""
        end = "Connection: close\r\n" if close else ""
        try:
            writer.write(f"GET {self.path} HTTP/1.1\r\nHost: {self.host}\r\n{end}\r\n".encode())
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
            length = int(head.partition("content-length:")[2].split("\r\n")[0] or 0)
            body = await reader.readexactly(length)
        except (OSError, ValueError, asyncio.IncompleteReadError) as error:
            self.failures.append(f"{error!r} (close={close})")
            return False
        if " 200 " not in head.split("\r\n", 1)[0] + " ":
            self.failures.append(head.split("\r\n", 1)[0])
        self.answers[body.decode()] += 1
        return "connection: close" not in head


@asynccontextmanager
async def load(
    port: int,
    host: str,
    *,
    path: str = "/",
    clients: int = 6,
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[Load]:
    """So many clients of either kind; at the end none of their requests may have failed."""
    made = Load(port, host, path, tls)
    kinds = (made.keep_alive, made.new_each_time)
    tasks = [asyncio.create_task(kind()) for kind in kinds for _ in range(clients)]
    try:
        await made.after(2 * clients)
        yield made
        await made.after(2 * clients)
    finally:
        made.stopped = True
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(*tasks)
    assert made.failures == [], made.failures[:5]


class Socket:
    """One WebSocket; the backend answers each line with its name before it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    @classmethod
    async def open(cls, port: int, host: str) -> Socket:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        asked = (
            f"GET /ws HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        writer.write(asked.encode())
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101"), head
        return cls(reader, writer)

    async def say(self, text: str) -> str:
        self._writer.write(f"{text}\n".encode())
        async with asyncio.timeout(10):
            return (await self._reader.readline()).decode().strip()

    async def end(self) -> bytes:
        """What still comes until the other side closes."""
        return await self._reader.read()

    def close(self) -> None:
        self._writer.close()
