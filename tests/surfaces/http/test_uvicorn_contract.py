"""What Covey relies on in uvicorn beyond its documentation; look here first after an upgrade."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path

import aiohttp
import pytest
import uvicorn
import uvloop
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket

from covey.surfaces.http import accepting, protocol
from covey.surfaces.http.connection import connection_of
from covey.surfaces.http.serve import HttpServer, Listener, bind_tcp, bind_unix
from tests.surfaces.http.certificates import Identity, client_context, issue, server_context
from tests.surfaces.http.serving import running

Dial = Callable[[ssl.SSLContext], Awaitable[str]]


class Fleet:
    """A CA with a node and a member, and a stranger of another CA."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.authority = issue(folder, "authority")
        self.node = issue(folder, "node", self.authority)
        self.member = issue(folder, "member", self.authority)
        self.elsewhere = issue(folder, "elsewhere")
        self.stranger = issue(folder, "stranger", self.elsewhere)


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Fleet:
    return Fleet(tmp_path_factory.mktemp("certificates"))


async def tell_peer(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer with the fingerprint of the peer's certificate, over HTTP and WebSocket."""
    connection = connection_of(scope)
    found = connection.certificate
    text = "local" if connection.local else sha256(found).hexdigest() if found else "nobody"
    if scope["type"] == "http":
        await PlainTextResponse(text)(scope, receive, send)
        return
    socket = WebSocket(scope, receive, send)
    await socket.accept()
    await socket.send_text(text)
    await socket.close()


@asynccontextmanager
async def serving(tls: ssl.SSLContext) -> AsyncIterator[int]:
    server = HttpServer(tell_peer)
    (bound,) = bind_tcp("127.0.0.1", 0)
    await server.start([Listener(bound, tls)])
    try:
        yield bound.getsockname()[1]
    finally:
        await server.stop(grace=1.0)


async def over_http(port: int, tls: ssl.SSLContext) -> str:
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"https://127.0.0.1:{port}/", ssl=tls) as response,
    ):
        return await response.text()


async def over_websocket(port: int, tls: ssl.SSLContext) -> str:
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(f"wss://127.0.0.1:{port}/", ssl=tls) as socket,
    ):
        return await socket.receive_str()


def test_the_pinned_minor_version_is_the_one_tested():
    assert uvicorn.__version__.split(".")[:2] == ["0", "54"]


@pytest.mark.parametrize("ask", [over_http, over_websocket])
def test_the_clients_certificate_reaches_the_app(
    fleet: Fleet, ask: Callable[[int, ssl.SSLContext], Awaitable[str]]
):
    async def work() -> None:
        async with serving(server_context(fleet.authority, fleet.node)) as port:
            member = client_context(fleet.authority, fleet.member)
            assert await ask(port, member) == sha256(fleet.member.der).hexdigest()
            assert await ask(port, client_context(fleet.authority)) == "nobody"
            with pytest.raises((aiohttp.ClientError, ConnectionError)):
                await ask(port, client_context(fleet.authority, fleet.stranger))
            assert await ask(port, member) == sha256(fleet.member.der).hexdigest()

    uvloop.run(work())


def test_every_request_on_one_connection_has_the_certificate(fleet: Fleet):
    async def work() -> None:
        tls = client_context(fleet.authority, fleet.member)
        async with (
            serving(server_context(fleet.authority, fleet.node)) as port,
            aiohttp.ClientSession() as session,
        ):
            for _ in range(3):
                async with session.get(f"https://127.0.0.1:{port}/", ssl=tls) as response:
                    assert await response.text() == sha256(fleet.member.der).hexdigest()

    uvloop.run(work())


async def served_certificate(port: int, tls: ssl.SSLContext) -> bytes:
    _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=tls)
    found = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    await writer.wait_closed()
    return bytes(found)


def renew_in_place(context: ssl.SSLContext, _: Identity, renewed: Identity) -> None:
    context.load_cert_chain(renewed.pem)


def renew_by_callback(context: ssl.SSLContext, authority: Identity, renewed: Identity) -> None:
    fresh = server_context(authority, renewed)

    def choose(connection: ssl.SSLObject | ssl.SSLSocket, _: str | None, __: object) -> None:
        connection.context = fresh

    context.sni_callback = choose


@pytest.mark.parametrize("renew", [renew_in_place, renew_by_callback])
def test_a_certificate_is_renewed_without_a_restart(
    fleet: Fleet, renew: Callable[[ssl.SSLContext, Identity, Identity], None]
):
    async def work() -> None:
        context = server_context(fleet.authority, fleet.node)
        client = client_context(fleet.authority, fleet.member)
        async with serving(context) as port, aiohttp.ClientSession() as session:
            url = f"https://127.0.0.1:{port}/"
            async with session.get(url, ssl=client) as response:
                before = await response.text()
            assert await served_certificate(port, client) == fleet.node.der
            renewed = issue(fleet.folder, "renewed", fleet.authority)
            renew(context, fleet.authority, renewed)
            assert await served_certificate(port, client) == renewed.der
            assert await over_http(port, client) == before
            async with session.get(url, ssl=client) as response:
                assert await response.text() == before

    uvloop.run(work())


def test_a_second_authority_is_trusted_without_a_restart(fleet: Fleet):
    async def work() -> None:
        context = server_context(fleet.authority, fleet.node)
        async with serving(context) as port:
            context.load_verify_locations(fleet.elsewhere.pem)
            stranger = client_context(fleet.authority, fleet.stranger)
            assert await over_http(port, stranger) == sha256(fleet.stranger.der).hexdigest()

    uvloop.run(work())


def test_tcp_and_the_unix_socket_are_told_apart_in_one_loop(fleet: Fleet, tmp_path: Path):
    async def work() -> None:
        server = HttpServer(tell_peer)
        (bound,) = bind_tcp("127.0.0.1", 0)
        path = tmp_path / "s"
        path.write_text("stale")
        tls = server_context(fleet.authority, fleet.node)
        await server.start([Listener(bound, tls), Listener(bind_unix(path), local=True)])
        async with aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(path))) as session:
            async with session.get("http://covey/") as response:
                assert await response.text() == "local"
            async with session.ws_connect("ws://covey/") as socket:
                assert await socket.receive_str() == "local"
        port = bound.getsockname()[1]
        assert await over_http(port, client_context(fleet.authority)) == "nobody"
        await server.stop(grace=1.0)

    uvloop.run(work())


async def _echo(scope: Scope, receive: Receive, send: Send) -> None:
    await PlainTextResponse(Request(scope).url.path)(scope, receive, send)


@pytest.mark.parametrize(
    "sent,status",
    [
        (b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"a" * protocol.MAX_HEADER_BYTES + b"\r\n\r\n", 431),
        (b"GET /" + b"a" * protocol.MAX_HEADER_BYTES + b" HTTP/1.1\r\nHost: x\r\n\r\n", 431),
        (
            b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nA: "
            + b"a" * protocol.MAX_HEADER_BYTES
            + b"\r\n\r\n",
            431,
        ),
        (b"\x16\x03\x01\x02\x00\x01\x00", 400),
        (b"GET / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
    ],
)
def test_what_is_no_decent_request_is_answered_and_cut(sent: bytes, status: int):
    with running() as server:
        answer = server.raw(sent)
        assert answer.startswith(b"HTTP/1.1 %d " % status)
        assert b'{"error":{"code":"' in answer


def test_headers_that_do_not_come_are_not_waited_for(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(protocol, "HEADER_TIMEOUT", 0.01)
    with running() as server:
        for begun in (b"", b"GET / HTTP/1.1\r\nHost: localhost\r\n"):
            assert server.raw(begun).startswith(b"HTTP/1.1 408 ")
        assert server.request("GET", "/health").status == 200


def test_one_connection_too_many_is_refused_and_the_socket_stays_open(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(protocol, "MAX_CONNECTIONS", 1)
    with running() as server:
        first = server.connect()
        first.connect()
        server.eventually(lambda: server.server._state.connections)
        assert server.raw(b"").startswith(b"HTTP/1.1 503 ")
        assert server.request("GET", "/health", unix=True).status == 200
        first.close()


@pytest.mark.parametrize("limit", ["MAX_STRANGERS", "MAX_FROM_ONE"])
def test_strangers_cannot_take_the_members_connections(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch, limit: str
):
    monkeypatch.setattr(protocol, limit, 1)
    anybody = client_context(fleet.authority)

    async def status(port: int, tls: ssl.SSLContext) -> int:
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"https://127.0.0.1:{port}/", ssl=tls) as response,
        ):
            return response.status

    async def work() -> None:
        async with serving(server_context(fleet.authority, fleet.node)) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=anybody)
            writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert b"200" in await reader.readline()
            assert await status(port, anybody) == 503
            assert await status(port, client_context(fleet.authority, fleet.member)) == 200
            writer.close()

    uvloop.run(work())


@pytest.mark.parametrize("limit", ["MAX_HANDSHAKES", "MAX_HANDSHAKES_FROM_ONE"])
def test_those_who_never_shake_hands_are_few_and_do_not_stay(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch, limit: str
):
    monkeypatch.setattr(accepting, limit, 1)
    monkeypatch.setattr(accepting, "HANDSHAKE_TIMEOUT", 2.0)
    member = client_context(fleet.authority, fleet.member)

    async def work() -> None:
        async with serving(server_context(fleet.authority, fleet.node)) as port:
            silent, writer = await asyncio.open_connection("127.0.0.1", port)
            with pytest.raises((aiohttp.ClientError, ConnectionError)):
                await over_http(port, member)
            assert await silent.read() == b""
            assert await over_http(port, member) == sha256(fleet.member.der).hexdigest()
            writer.close()

    uvloop.run(work())


def test_a_response_has_the_date(fleet: Fleet):
    with running() as server:
        assert server.request("GET", "/health").headers["date"].endswith(" GMT")
