"""Streams over Server-Sent Events and WebSocket, and their ends."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPResponse
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect, unix_connect
from websockets.typing import Subprotocol

from covey.surfaces.http import endpoints, streaming
from tests.surfaces.http.serving import DEADLINE, Running, running

TICKS = "/api/v1/ticks"
FOLLOW = "/api/v1/follow"
ADMIN = {"Authorization": "Bearer admin"}


def events(body: bytes) -> list[tuple[str, Any]]:
    found = []
    for block in body.decode().strip().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines())
        if "event" in fields:
            found.append((fields["event"], json.loads(fields["data"])))
    return found


def dial(server: Running, path: str, **options: Any) -> ClientConnection:
    options.setdefault("additional_headers", ADMIN)
    return connect(f"ws://localhost:{server.port}{path}", open_timeout=DEADLINE, **options)


def messages(socket: ClientConnection) -> Iterator[Any]:
    try:
        while True:
            yield json.loads(socket.recv(DEADLINE))
    except ConnectionClosed:
        return


@contextmanager
def open_stream(server: Running, path: str) -> Iterator[tuple[socket.socket, HTTPResponse]]:
    connection = server.connect()
    connection.request("POST", path, b"{}", {**ADMIN, "Content-Type": "application/json"})
    plain = connection.sock
    try:
        with connection.getresponse() as response:
            yield plain, response
    finally:
        plain.close()
        connection.close()


def test_a_stream_is_events_and_an_end(server: Running):
    reply = server.request("GET", f"{TICKS}?count=2")
    assert reply.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert reply.headers["cache-control"] == "no-store"
    assert events(reply.body) == [("item", {"number": 0}), ("item", {"number": 1}), ("end", {})]


def test_an_error_before_the_first_item_has_its_status(server: Running):
    reply = server.request("GET", f"{TICKS}?count=0&fail=true")
    assert (reply.status, reply.code) == (409, "conflict")
    assert server.request("GET", TICKS, token="viewer/x").status == 403


def test_an_error_on_the_way_is_an_event(server: Running):
    kinds = events(server.request("GET", f"{TICKS}?count=1&fail=true").body)
    assert [kind for kind, _ in kinds] == ["item", "error"]
    assert kinds[1][1]["error"]["code"] == "unreachable"


def test_a_client_that_leaves_ends_the_operation(server: Running):
    before = server.notes.closed_streams
    with open_stream(server, FOLLOW) as (plain, response):
        assert response.readline() == b"event: item\n"
        plain.shutdown(socket.SHUT_RDWR)
        server.eventually(lambda: server.notes.closed_streams == before + 1)


def test_a_silent_stream_shows_that_it_lives(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(streaming, "_PATIENCE", 0.001)
    monkeypatch.setattr(streaming, "HEARTBEAT", 0.001)
    with running() as server, open_stream(server, FOLLOW) as (_, response):
        lines = [response.readline() for _ in range(10)]
        assert lines.count(b": heartbeat\n") >= 2
        server.loop.call_soon_threadsafe(server.notes.released.set)
        rest = response.read()
        assert rest.endswith(b"event: end\ndata: {}\n\n")


def test_a_stream_ends_when_its_time_is_over(server: Running):
    headers = {"Covey-Timeout": "1"}
    found = events(server.request("POST", FOLLOW, {}, headers=headers).body)
    assert [kind for kind, _ in found] == ["item", "error"]
    assert found[1][1]["error"]["code"] == "deadline_exceeded"
    with dial(server, FOLLOW, additional_headers={**ADMIN, **headers}) as web:
        web.send("{}")
        item, error = messages(web)
        assert (item, error["error"]["code"]) == ({"number": 0}, "deadline_exceeded")
        assert web.close_code == 4504


def test_a_stream_without_news_in_its_time_has_begun_all_the_same(server: Running):
    reply = server.request("POST", FOLLOW, {"first": -1}, headers={"Covey-Timeout": "1"})
    assert reply.status == 200
    ((kind, told),) = events(reply.body)
    assert (kind, told["error"]["code"]) == ("error", "deadline_exceeded")


def test_a_stream_gives_no_more_once_its_token_is_revoked(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(endpoints, "_RECHECK", 0.0)
    with running() as server, open_stream(server, FOLLOW) as (_, response):
        assert response.readline() == b"event: item\n"
        with dial(server, FOLLOW) as web:
            web.send("{}")
            assert json.loads(web.recv(DEADLINE)) == {"number": 0}
            server.authenticator.revoked.add("admin")
            server.loop.call_soon_threadsafe(server.notes.released.set)
            (error,) = messages(web)
            assert (error["error"]["code"], web.close_code) == ("unauthenticated", 4401)
        rest = response.read()
        assert b"event: error" in rest
        assert b"event: item" not in rest


def test_a_server_that_stops_tells_its_streams():
    with running() as server, open_stream(server, FOLLOW) as (_, response):
        assert response.readline() == b"event: item\n"
        with dial(server, FOLLOW) as web:
            web.send("{}")
            assert json.loads(web.recv(DEADLINE)) == {"number": 0}
            server.run(server.server.stop(grace=DEADLINE))
            assert b"event: error" in response.read()
            with pytest.raises(ConnectionClosed) as closed:
                web.recv(DEADLINE)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1012
        assert server.notes.closed_streams == 2


def test_a_running_request_ends_before_the_server_does():
    with running() as server:
        connection = server.connect()
        connection.request("POST", "/api/v1/wait", headers=ADMIN)
        server.eventually(lambda: server.server._state.tasks)
        stopping = server.loop.create_task
        server.loop.call_soon_threadsafe(lambda: stopping(server.server.stop(grace=DEADLINE)))
        server.loop.call_soon_threadsafe(server.notes.released.set)
        with connection.getresponse() as response:
            assert response.status == 200
        connection.close()


def test_a_websocket_gives_the_items_and_closes(server: Running):
    with dial(server, TICKS) as web:
        web.send('{"count": 2}')
        assert list(messages(web)) == [{"number": 0}, {"number": 1}]
        assert web.close_code == 1000


def test_the_unix_socket_speaks_websocket_too(server: Running):
    with unix_connect(str(server.unix), f"ws://covey{TICKS}") as web:
        web.send("{}")
        assert len(list(messages(web))) == 3


@pytest.mark.parametrize(
    "first,code,close",
    [
        ('{"count": "x"}', "invalid_request", 4400),
        ('{"count": 1, "count": 2}', "invalid_request", 4400),
        ("not json", "invalid_request", 4400),
        (b"{}", "invalid_request", 4400),
        ('{"count": 0, "fail": true}', "conflict", 4409),
    ],
)
def test_a_websocket_closes_with_its_error(
    server: Running, first: str | bytes, code: str, close: int
):
    with dial(server, TICKS) as web:
        web.send(first)
        (message,) = messages(web)
        assert message["error"]["code"] == code
        assert web.close_code == close


@pytest.mark.parametrize(
    "path,headers,status",
    [
        (TICKS, {}, 401),
        (TICKS, {"Authorization": "Bearer viewer/x"}, 403),
        (TICKS, {**ADMIN, "Origin": "https://evil.example"}, 403),
        ("/api/v1/notes", ADMIN, 404),
        ("/nowhere", ADMIN, 404),
    ],
)
def test_a_websocket_is_refused_at_the_handshake(
    server: Running, path: str, headers: dict[str, str], status: int
):
    with pytest.raises(InvalidStatus) as refused:
        dial(server, path, additional_headers=headers)
    response = refused.value.response
    assert response.status_code == status
    assert json.loads(response.body or b"")["error"]["message"]
    assert response.headers["X-Request-Id"]


def test_a_browser_offers_its_token_and_never_gets_it_back(server: Running):
    offered = [Subprotocol("covey.v1"), Subprotocol("covey.bearer.viewer")]
    with dial(server, TICKS, additional_headers={}, subprotocols=offered) as web:
        assert web.subprotocol == "covey.v1"
        web.send("{}")
        assert len(list(messages(web))) == 3


def test_a_websocket_client_that_leaves_ends_the_operation(server: Running):
    before = server.notes.closed_streams
    with dial(server, FOLLOW) as web:
        web.send("{}")
        assert json.loads(web.recv(DEADLINE)) == {"number": 0}
    server.eventually(lambda: server.notes.closed_streams == before + 1)
