"""A small HTTP/1.1 client (RFC 9112) for the daemon's socket, where start-up time matters."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping
from typing import BinaryIO

_LINE_LIMIT = 65_536
_HEADER_LIMIT = 100
_BODYLESS = frozenset({204, 304})


class ProtocolError(Exception):
    """The answer is not HTTP/1.1, or it broke off."""


class LocalResponse:
    """A response whose body is read once, whole or line by line."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        parts = self._line().split(b" ", 2)
        if len(parts) < 2 or not parts[0].startswith(b"HTTP/1.") or not parts[1].isdigit():  # noqa: PLR2004
            raise ProtocolError("the answer is not HTTP")
        self.status = int(parts[1])
        self._headers = self._read_headers()

    @property
    def content_type(self) -> str:
        """The header Content-Type, or nothing."""
        return self._headers.get("content-type", "")

    @property
    def keeps_alive(self) -> bool:
        """Whether the connection may carry another request after this body."""
        sized = "content-length" in self._headers or self._chunked or self.status in _BODYLESS
        return sized and self._headers.get("connection", "").lower() != "close"

    def read(self) -> bytes:
        """Return the whole body."""
        return b"".join(self._pieces())

    def lines(self) -> Iterator[bytes]:
        """Yield the body's lines as they come."""
        partial = b""
        for piece in self._pieces():
            *whole, partial = (partial + piece).split(b"\n")
            yield from whole
        if partial:
            yield partial

    @property
    def _chunked(self) -> bool:
        return self._headers.get("transfer-encoding", "").lower() == "chunked"

    def _pieces(self) -> Iterator[bytes]:
        if self.status in _BODYLESS:
            return
        if self._chunked:
            while size := self._chunk_size():
                yield self._exactly(size)
                self._line()
            while self._line():
                pass
        elif "content-length" in self._headers:
            yield self._exactly(int(self._headers["content-length"]))
        else:
            yield self._stream.read()

    def _chunk_size(self) -> int:
        try:
            return int(self._line().split(b";")[0], 16)
        except ValueError as error:
            raise ProtocolError("the answer broke off") from error

    def _exactly(self, size: int) -> bytes:
        data = self._stream.read(size)
        if len(data) != size:
            raise ProtocolError("the answer broke off")
        return data

    def _line(self) -> bytes:
        line = self._stream.readline(_LINE_LIMIT)
        if not line.endswith(b"\n"):
            raise ProtocolError("the answer broke off")
        return line.rstrip(b"\r\n")

    def _read_headers(self) -> dict[str, str]:
        headers: dict[str, str] = {}
        for _ in range(_HEADER_LIMIT):
            line = self._line()
            if not line:
                return headers
            name, _, value = line.partition(b":")
            headers[name.decode("latin-1").lower()] = value.strip().decode("latin-1")
        raise ProtocolError("the answer has too many headers")


class LocalConnection:
    """One connection over a socket that is connected already."""

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected
        self._stream = connected.makefile("rb")

    def request(
        self, method: str, target: str, body: bytes | None, headers: Mapping[str, str]
    ) -> LocalResponse:
        """Send a request and read the response's head; raises `OSError` or `ProtocolError`."""
        lines = [f"{method} {target} HTTP/1.1"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        if body is not None or method in {"POST", "PUT", "PATCH"}:
            lines.append(f"Content-Length: {len(body or b'')}")
        head = "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n"
        self._socket.sendall(head + (body or b""))
        return LocalResponse(self._stream)

    def close(self) -> None:
        """Close the connection."""
        self._stream.close()
        self._socket.close()
