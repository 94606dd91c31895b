"""Health probes against servers that answer well, badly, late, or not at all."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from covey.engines.probe import SocketProbe

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def serving(serve: Serve) -> AsyncIterator[tuple[str, int]]:
    """Run a server for one test, and give its address."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await serve(reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()


def answering(data: bytes, asked: list[bytes] | None = None) -> Serve:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        if asked is not None:
            asked.append(head)
        writer.write(data)
        await writer.drain()

    return serve


async def hang(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    await reader.read()


async def hang_up(_: asyncio.StreamReader, __: asyncio.StreamWriter) -> None:
    return


def get(serve: Serve, path: str = "/up", timeout_s: float = 10) -> int | str:
    async def run() -> int | str:
        async with serving(serve) as address:
            return await SocketProbe().http(address, "shop.example.org", path, timeout_s=timeout_s)

    return asyncio.run(run())


@pytest.mark.parametrize(
    "answer, found",
    [
        (b"HTTP/1.1 204 No Content\r\n\r\n", 204),
        (b"HTTP/1.0 503\r\n\r\n", 503),
        (b"HTTP/1.1 301 Moved\r\nLocation: http://10.0.0.1/\r\n\r\n", 301),
        (b"220 mail.example.org ESMTP\r\n", "GET /up was not answered in HTTP"),
        (b"", "GET /up was not answered in HTTP"),
        (b"x" * 200_000, "GET /up was not answered in HTTP"),
        (b"HTTP/1.1 many things\r\n\r\n", "GET /up was not answered in HTTP"),
    ],
)
def test_what_is_answered(answer: bytes, found: int | str) -> None:
    assert get(answering(answer)) == found


def test_it_asks_for_the_apps_own_name_behind_tls() -> None:
    asked: list[bytes] = []
    assert get(answering(b"HTTP/1.1 200 OK\r\n\r\n", asked), "/up?full=1") == 200
    [head] = asked
    lines = head.decode().split("\r\n")
    assert lines[0] == "GET /up?full=1 HTTP/1.1"
    assert {"Host: shop.example.org", "X-Forwarded-Proto: https", "Connection: close"} <= set(lines)


def test_one_that_hangs_is_late() -> None:
    assert get(hang, timeout_s=0.1) == "GET /up was not answered within 0.1 s"


def test_a_port_that_takes_connections_and_one_that_does_not() -> None:
    async def run() -> list[str | None]:
        probe, found = SocketProbe(), []
        for serve in (hang, hang_up):
            async with serving(serve) as address:
                found.append(await probe.tcp(*address, timeout_s=10))
        # The last server is gone.
        found.append(await probe.tcp(*address, timeout_s=10))
        gone = await probe.http(address, "localhost", "/", timeout_s=10)
        return [*found, str(gone)]

    open_, closing, refused, gone = asyncio.run(run())
    assert open_ is None
    assert closing == "the port closes each connection at once"
    assert refused is not None
    assert refused.startswith("the port takes no connection")
    assert gone is not None
    assert gone.startswith("GET / failed")
