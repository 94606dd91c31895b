"""Tunnels over real sockets of this machine, within a policy."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from pathlib import Path

import pytest

from covey.engines import tcp
from covey.engines.tcp import SystemTcp
from covey.errors import ConflictError, NotFoundError, RefusedError, UnreachableError
from covey.operations.access import Caller, CallerKind, Role
from covey.remote.tunnels.model import Arrived, Data, DataEnd, Listening, Opened, TunnelInput
from covey.remote.tunnels.service import TunnelPolicy, Tunnels

pytestmark = pytest.mark.anyio
ANNA = Caller(CallerKind.LOCAL, "anna", Role.ADMIN, "local")
BEN = Caller(CallerKind.LOCAL, "ben", Role.ADMIN, "local")
LOOPBACK = TunnelPolicy(("127.0.0.1:*",), ("127.0.0.1:*",))
Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def give(*items: TunnelInput) -> AsyncIterator[TunnelInput]:
    for item in items:
        yield item


async def never() -> AsyncIterator[TunnelInput]:
    await asyncio.Event().wait()
    yield DataEnd()


async def serve(handler: Handler) -> tuple[asyncio.Server, int]:
    server = await asyncio.start_server(handler, "127.0.0.1", 0)
    return server, server.sockets[0].getsockname()[1]


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer all that comes after its end."""
    writer.write(await reader.read())
    writer.close()


async def test_bytes_and_half_ends_pass_both_ways() -> None:
    server, port = await serve(echo)
    async with server:
        tunnels = Tunnels(SystemTcp(), LOOPBACK)
        items = give(Data(b"a" * 100_000), Data(b"b"), DataEnd())
        found = [item async for item in tunnels.open("127.0.0.1", port, items)]
    assert found[0] == Opened()
    assert found[-1] == DataEnd()
    assert b"".join(i.data for i in found if isinstance(i, Data)) == b"a" * 100_000 + b"b"


async def test_what_the_policy_does_not_name_is_refused() -> None:
    tunnels = Tunnels(SystemTcp(), LOOPBACK)
    with pytest.raises(RefusedError):
        await anext(tunnels.open("localhost", 80, never()))
    with pytest.raises(RefusedError):
        await anext(tunnels.listen(ANNA, "0.0.0.0", 0))


async def test_an_address_where_nothing_is_and_a_taken_port_are_told() -> None:
    server, port = await serve(echo)
    tunnels = Tunnels(SystemTcp(), LOOPBACK)
    with pytest.raises(ConflictError):
        await anext(tunnels.listen(ANNA, "127.0.0.1", port))
    server.close()
    await server.wait_closed()
    with pytest.raises(UnreachableError):
        await anext(tunnels.open("127.0.0.1", port, never()))


async def test_a_connection_that_came_in_is_taken_once_by_whoever_listens() -> None:
    tunnels = Tunnels(SystemTcp(), LOOPBACK)
    async with aclosing(tunnels.listen(ANNA, "127.0.0.1", 0)) as told:
        listening = await anext(told)
        assert isinstance(listening, Listening)
        reader, writer = await asyncio.open_connection(listening.host, listening.port)
        arrived = await anext(told)
        assert isinstance(arrived, Arrived)
        with pytest.raises(NotFoundError):
            await anext(tunnels.accept(BEN, arrived.ticket, never()))
        writer.write(b"ping")
        writer.write_eof()
        taken = tunnels.accept(ANNA, arrived.ticket, give(Data(b"pong"), DataEnd()))
        found = [item async for item in taken]
        assert found == [Opened(), Data(b"ping"), DataEnd()]
        assert await reader.read() == b"pong"
        writer.close()
        with pytest.raises(NotFoundError):
            await anext(tunnels.accept(ANNA, arrived.ticket, never()))


@pytest.mark.parametrize("patience", [0.05, 60.0])
async def test_what_nobody_takes_is_closed(patience: float) -> None:
    tunnels = Tunnels(SystemTcp(), LOOPBACK, patience)
    told = tunnels.listen(ANNA, "127.0.0.1", 0)
    listening = await anext(told)
    assert isinstance(listening, Listening)
    reader, writer = await asyncio.open_connection(listening.host, listening.port)
    await anext(told)
    if patience > 1:
        await told.aclose()
    assert await asyncio.wait_for(reader.read(), 10) == b""
    writer.close()
    await told.aclose()


async def test_leaving_closes_the_connection() -> None:
    ended = asyncio.Event()

    async def watch(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        ended.set()
        writer.close()

    server, port = await serve(watch)
    async with server:
        opened = Tunnels(SystemTcp(), LOOPBACK).open("127.0.0.1", port, never())
        assert await anext(opened) == Opened()
        await opened.aclose()
        await asyncio.wait_for(ended.wait(), 10)


async def test_who_reads_no_more_does_not_keep_a_connection_that_was_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tcp, "_PARTING_S", 0.05)

    async def deaf(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        deafened.set()
        await released.wait()
        writer.transport.abort()

    deafened, released = asyncio.Event(), asyncio.Event()
    server, port = await serve(deaf)
    before = open_files()
    opened = Tunnels(SystemTcp(), LOOPBACK).open(
        "127.0.0.1", port, give(Data(bytes(64 << 20)), DataEnd())
    )
    assert await anext(opened) == Opened()
    await deafened.wait()
    assert open_files() > before + 1
    await opened.aclose()
    async with asyncio.timeout(10):
        while open_files() > before + 1:
            await asyncio.sleep(0.01)
    released.set()
    server.close()


async def test_a_connection_that_comes_in_as_the_listener_closes_is_closed() -> None:
    listener = await SystemTcp().listen("127.0.0.1", 0)
    ours, theirs = socket.socketpair()
    with ours:
        reader, writer = await asyncio.open_connection(sock=theirs)
        listener.close()
        await listener._take(reader, writer)
        assert writer.is_closing()


def open_files() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())
