"""Calls that take input while they run, over WebSockets of both forms."""

from __future__ import annotations

import json
from base64 import b64encode
from contextlib import suppress
from typing import Any

import msgspec
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from covey.surfaces.http import endpoints, serve, socket_input
from covey.surfaces.http.socket_protocol import SocketProtocol
from tests.surfaces.http.serving import DEADLINE, Running, running

TALK = "/api/v1/talk/a"
HOLD = "/api/v1/hold"
ADMIN = {"Authorization": "Bearer admin"}
BINARY = [Subprotocol("covey.msgpack")]
BYTES = bytes(range(256))
pack = msgspec.msgpack.encode
unpack = msgspec.msgpack.decode


def dial(server: Running, path: str, **options: Any) -> ClientConnection:
    options.setdefault("additional_headers", ADMIN)
    return connect(
        f"ws://localhost:{server.port}{path}",
        open_timeout=DEADLINE,
        max_size=None,
        compression=None,
        **options,
    )


def say(data: bytes) -> str:
    return json.dumps({"type": "say", "data": b64encode(data).decode()})


def test_json_carries_bytes_as_base64(server: Running):
    with dial(server, TALK) as web:
        web.send('{"times": 2}')
        web.send(say(BYTES))
        for number in (1, 2):
            echo = json.loads(web.recv(DEADLINE))
            assert echo == {"number": number, "data": b64encode(BYTES).decode()}
        web.send(say(b"more"))
        assert json.loads(web.recv(DEADLINE))["number"] == 3
        assert json.loads(web.recv(DEADLINE))["number"] == 4
        web.send('{"end": null}')
        assert json.loads(web.recv(DEADLINE)) == {"end": None}
        with pytest.raises(ConnectionClosed):
            web.recv(DEADLINE)
        assert web.close_code == 1000


def test_msgpack_carries_bytes_as_they_are(server: Running):
    with dial(server, TALK, subprotocols=BINARY) as web:
        assert web.subprotocol == "covey.msgpack"
        web.send(pack({}))
        web.send(pack({"type": "say", "data": BYTES}))
        assert unpack(web.recv(DEADLINE)) == {"number": 1, "data": BYTES}
        web.send(pack({"end": None}))
        assert unpack(web.recv(DEADLINE)) == {"end": None}


def test_a_stream_without_input_speaks_msgpack_too(server: Running):
    with dial(server, "/api/v1/ticks", subprotocols=BINARY) as web:
        web.send(pack({"count": 1}))
        assert unpack(web.recv(DEADLINE)) == {"number": 0}


def test_one_result_is_one_message_and_the_end(server: Running):
    server.run(_set(server))
    with dial(server, HOLD) as web:
        web.send("{}")
        web.send(say(b"123"))
        web.send('{"end": null}')
        assert json.loads(web.recv(DEADLINE)) == 3
        assert json.loads(web.recv(DEADLINE)) == {"end": None}
    server.notes.released.clear()


def test_input_goes_no_further_once_its_token_is_revoked(monkeypatch: pytest.MonkeyPatch):
    """Also where the operation says nothing meanwhile."""
    monkeypatch.setattr(endpoints, "_RECHECK", 0.0)
    with running() as server, dial(server, TALK) as web:
        web.send('{"times": 0}')
        web.send(say(b"123"))
        server.authenticator.revoked.add("admin")
        web.send(say(b"456"))
        assert json.loads(web.recv(DEADLINE))["error"]["code"] == "unauthenticated"
        with pytest.raises(ConnectionClosed):
            web.recv(DEADLINE)
        assert web.close_code == 4401


async def _set(server: Running) -> None:
    server.notes.released.set()


@pytest.mark.parametrize(
    "sent,code,close",
    [
        (['{"times": "x"}'], "invalid_request", 4400),
        (["{}", '{"type": "shout"}'], "invalid_request", 4400),
        (["{}", b"binary"], "invalid_request", 4400),
        (["{}", '{"type": "stop"}'], "conflict", 4409),
        (["{}", '{"type": "stop", "type": "say"}'], "invalid_request", 4400),
    ],
)
def test_an_error_ends_the_call(server: Running, sent: list[str | bytes], code: str, close: int):
    with dial(server, TALK) as web:
        for message in sent:
            web.send(message)
        assert json.loads(web.recv(DEADLINE))["error"]["code"] == code
        with pytest.raises(ConnectionClosed):
            web.recv(DEADLINE)
        assert web.close_code == close


def test_msgpack_errors_are_msgpack(server: Running):
    with dial(server, TALK, subprotocols=BINARY) as web:
        web.send(pack({}))
        web.send(b"\xc1")
        assert unpack(web.recv(DEADLINE))["error"]["code"] == "invalid_request"


def test_a_client_that_leaves_ends_the_operation(server: Running):
    before = server.notes.closed_streams
    with dial(server, HOLD) as web:
        web.send("{}")
        server.eventually(lambda: server.server._state.tasks)
    server.eventually(lambda: server.notes.closed_streams == before + 1)


def test_input_that_nobody_reads_holds_its_sender_back(
    server: Running, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(socket_input, "AHEAD_BYTES", 100_000)
    inputs: list[socket_input.SocketInput] = []
    run = socket_input.SocketInput.run

    async def watched(self: socket_input.SocketInput) -> None:
        inputs.append(self)
        await run(self)

    monkeypatch.setattr(socket_input.SocketInput, "run", watched)
    block = pack({"type": "say", "data": bytes(90_000)})
    with dial(server, HOLD, subprotocols=BINARY) as web:
        web.socket.settimeout(0.5)
        web.send(pack({}))
        sent = 0
        with suppress(TimeoutError, ConnectionClosed):
            while sent < 1000:
                web.send(block)
                sent += 1
        assert 2 <= sent < 900
        server.eventually(lambda: inputs[0]._bytes > 100_000)
        assert inputs[0]._bytes < 300_000
        before = server.notes.closed_streams
        web.socket.close()
    server.run(_set(server))
    server.eventually(lambda: server.notes.closed_streams == before + 1)
    server.notes.released.clear()


def test_plain_http_is_told_to_upgrade(server: Running):
    reply = server.request("POST", TALK, {})
    assert (reply.status, reply.code) == (426, "upgrade_required")
    assert reply.headers["upgrade"] == "websocket"
    assert server.request("POST", TALK, {}, token="viewer").status == 403


def test_a_refusal_at_the_handshake_is_kept(server: Running):
    with pytest.raises(InvalidStatus) as refused:
        dial(server, TALK, additional_headers={"Authorization": "Bearer viewer"})
    assert refused.value.response.status_code == 403
    assert [(item.operation, item.outcome) for item in server.trail.entries] == [
        ("note.talk", "refused")
    ]


def test_a_client_that_is_held_back_is_not_taken_for_dead(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(serve, "_PING_INTERVAL", 0.05)
    monkeypatch.setattr(socket_input, "AHEAD_BYTES", 1)
    late = []
    timeout = SocketProtocol.keepalive_timeout

    def watched(self: SocketProtocol) -> None:
        late.append(self.read_paused)
        timeout(self)

    monkeypatch.setattr(SocketProtocol, "keepalive_timeout", watched)
    with running() as server, dial(server, HOLD, subprotocols=BINARY) as web:
        web.send(pack({}))
        for _ in range(4):
            web.send(pack({"type": "say", "data": b"12"}))
        web.send(pack({"end": None}))
        server.eventually(lambda: len(late) >= 3)
        assert all(late)
        server.run(_set(server))
        assert unpack(web.recv(DEADLINE)) == 8
