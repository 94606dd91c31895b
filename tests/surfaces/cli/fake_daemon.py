"""A daemon of canned answers on a Unix socket: it fails the test on any other request."""

from __future__ import annotations

import json
import os
import shutil
import socket
import socketserver
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

_TARGETS = ("Covey-Host", "Covey-All", "Covey-Tag", "Covey-Parallel")


@dataclass
class Answer:
    """What to say to one request; a list of `events` is sent as Server-Sent Events."""

    result: Any = None
    status: int = 200
    events: list[Any] | None = None
    raw: bytes | None = None
    unended: bool = False


@dataclass
class FakeDaemon:
    """Requests it expects, in order for each method and target, and what it got."""

    home: Path
    answers: dict[tuple[str, str], list[Answer]] = field(default_factory=dict)
    bodies: list[Any] = field(default_factory=list)
    targets: list[dict[str, str]] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)

    def on(self, method: str, target: str, result: Any = None, **more: Any) -> None:
        """Answer the next such request; the last answer given for it is repeated."""
        self.answers.setdefault((method, target), []).append(Answer(result, **more))

    def refuse(self, method: str, target: str, status: int, code: str) -> None:
        """Answer with the error envelope."""
        error = {"code": code, "message": f"No: {code}.", "hint": "Do better.", "details": {"a": 1}}
        self.on(method, target, {"error": error}, status=status)


class _Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
    fake: FakeDaemon

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a client that hangs up; anything else fails the test."""
        error = sys.exception()
        if not isinstance(error, ConnectionError):
            self.fake.unexpected.append(repr(error))


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def _answer(self) -> None:
        fake = self.server.fake
        size = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(size)
        chosen = {name: value for name, value in self.headers.items() if name in _TARGETS}
        if chosen:
            fake.targets.append(chosen)
        if body:
            fake.bodies.append(json.loads(body))
        expected = fake.answers.get((self.command, self.path))
        if not expected:
            fake.unexpected.append(f"{self.command} {self.path}")
            self._send(Answer({"error": {"code": "unexpected", "message": self.path}}, 500))
            return
        answer = expected.pop(0) if len(expected) > 1 else expected[0]
        wants_stream = self.headers["Accept"] == "text/event-stream"
        if wants_stream is not (answer.events is not None) and answer.status == 200:
            fake.unexpected.append(f"{self.command} {self.path} Accept: {self.headers['Accept']}")
        self._send(answer)

    do_GET = do_PUT = do_POST = do_DELETE = _answer  # noqa: N815 - named by http.server

    def _send(self, answer: Answer) -> None:
        self.send_response(answer.status)
        if answer.events is not None:
            self._stream(answer.events, ended=not answer.unended)
            return
        data = answer.raw if answer.raw is not None else json.dumps(answer.result).encode()
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _stream(self, events: list[Any], *, ended: bool) -> None:
        self.send_header("Content-Type", "text/event-stream; charset=utf-8")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        chunks = [b": heartbeat\n\n"]
        for item in events:
            kind = "error" if isinstance(item, dict) and item.keys() == {"error"} else "item"
            text = f"event: {kind}\ndata: {json.dumps(item)}\n\n".encode()
            # Cut in the middle, as a network may.
            chunks += [text[:9], text[9:]]
        if ended:
            chunks.append(b"event: end\ndata: {}\n\n")
        for chunk in chunks:
            self.wfile.write(f"{len(chunk):x}\r\n".encode() + chunk + b"\r\n")
        self.wfile.write(b"0\r\n\r\n")

    def address_string(self) -> str:
        return "local"

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        pass


@contextmanager
def short_home() -> Iterator[Path]:
    """Give a home whose socket's path is short enough."""
    home = Path(tempfile.mkdtemp(prefix="cli-"))
    try:
        yield home
    finally:
        shutil.rmtree(home)


@contextmanager
def fake_daemon(home: Path) -> Iterator[FakeDaemon]:
    """Run a fake daemon on the home's socket; fails if it met a request it did not expect."""
    (home / "run").mkdir()
    fake = FakeDaemon(home)
    server = _Server(os.fspath(home / "run" / "covey.sock"), _Handler)
    server.fake = fake
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield fake
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
    assert fake.unexpected == []


def socket_that_hangs_up(path: Path) -> threading.Thread:
    """Accept one connection on `path` and close it without a word."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(os.fspath(path))
    listener.listen(1)

    def accept() -> None:
        connection, _ = listener.accept()
        connection.recv(1)
        connection.close()
        listener.close()

    thread = threading.Thread(target=accept)
    thread.start()
    return thread
