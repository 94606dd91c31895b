"""A call over a WebSocket (RFC 6455) as bytes in and out, without input or output of its own.

Frames are masked with zeros: on the daemon's own socket, and inside TLS, there is no
intermediary that a mask would protect.
"""

from __future__ import annotations

from covey.client.failure import CallFailedError, broken_off
from covey.client.packed import unpack

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

_HEAD_LIMIT = 64 << 10
_MESSAGE_LIMIT = 64 << 20
_KEY = "Y292ZXktY292ZXktY292ZQ=="
_TEXT, _BINARY, _CLOSE, _PING, _PONG = 1, 2, 8, 9, 10
_SWITCHING = 101
_WELL = (1000).to_bytes(2, "big")


class Framing:
    """One call. Put `outgoing` on the wire, and what comes from there into `feed`.

    `ended` is set by the call's good end. `feed` raises `CallFailedError` for any other.
    """

    def __init__(self) -> None:
        self.outgoing = bytearray()
        self.ended = False
        self.open = False
        self._incoming = bytearray()
        self._message = bytearray()

    def begin(self, path: str, headers: Mapping[str, str]) -> None:
        """Ask for the WebSocket."""
        lines = [
            f"GET {path} HTTP/1.1",
            "Host: covey",
            "Connection: Upgrade",
            "Upgrade: websocket",
            "Sec-WebSocket-Version: 13",
            f"Sec-WebSocket-Key: {_KEY}",
            "Sec-WebSocket-Protocol: covey.msgpack",
            *(f"{name}: {value}" for name, value in headers.items()),
        ]
        self.outgoing += ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")

    def send(self, message: bytes) -> None:
        """Send one message."""
        self._frame(_BINARY, message)

    def feed(self, data: bytes) -> list[bytes]:
        """Take what came, and return the messages that are whole."""
        if not data and not self.ended:
            raise broken_off()
        self._incoming += data
        if not self.open and not self._read_head():
            return []
        found: list[bytes] = []
        self._read_frames(found)
        return found

    def _read_head(self) -> bool:
        buffer = self._incoming
        end = buffer.find(b"\r\n\r\n")
        if end < 0:
            if len(buffer) > _HEAD_LIMIT:
                raise broken_off()
            return False
        status, length = _read_status(bytes(buffer[:end]))
        if status == _SWITCHING:
            del buffer[: end + 4]
            self.open = True
            return True
        if len(buffer) < end + 4 + length:
            return False
        raise CallFailedError.from_answer(status, bytes(buffer[end + 4 :]))

    def _read_frames(self, found: list[bytes]) -> None:
        buffer = self._incoming
        at = 0
        while not self.ended:
            frame = _parse(buffer, at)
            if frame is None:
                break
            final, opcode, start, at = frame
            if opcode == _PING:
                self._frame(_PONG, bytes(buffer[start:at]))
            elif opcode == _CLOSE:
                if bytes(buffer[start : start + 2]) != _WELL:
                    raise broken_off()
                self.ended = True
            elif opcode in {0, _TEXT, _BINARY}:
                if final and not self._message:
                    self._take(bytes(memoryview(buffer)[start:at]), found)
                    continue
                self._message += memoryview(buffer)[start:at]
                if final:
                    whole = bytes(self._message)
                    self._message.clear()
                    self._take(whole, found)
        del buffer[:at]

    def _take(self, data: bytes, found: list[bytes]) -> None:
        """Keep a message, unless it is the call's end: a mapping of `end` or `error` alone."""
        if data.startswith(b"\x81\xa3end"):
            self.ended = True
        elif data.startswith(b"\x81\xa5error"):
            raise CallFailedError.from_envelope(_inside(data))
        else:
            found.append(data)

    def _frame(self, opcode: int, payload: bytes) -> None:
        size = len(payload)
        out = self.outgoing
        if size < 126:  # noqa: PLR2004 - the protocol's bounds
            out += bytes((0x80 | opcode, 0x80 | size))
        elif size < 1 << 16:
            out += bytes((0x80 | opcode, 0xFE)) + size.to_bytes(2, "big")
        else:
            out += bytes((0x80 | opcode, 0xFF)) + size.to_bytes(8, "big")
        out += b"\0\0\0\0"
        out += payload


def _inside(data: bytes) -> Any:
    try:
        return unpack(data)["error"]
    except ValueError:
        return None


def _read_status(head: bytes) -> tuple[int, int]:
    """Return an answer's status and the length of its body."""
    first, *lines = head.split(b"\r\n")
    words = first.split()
    if len(words) < 2 or not words[1].isdigit():  # noqa: PLR2004 - version and status
        raise broken_off()
    length = 0
    for line in lines:
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length" and value.strip().isdigit():
            length = min(int(value), _HEAD_LIMIT)
    return int(words[1]), length


def _parse(buffer: bytearray, at: int) -> tuple[bool, int, int, int] | None:
    """Return a whole frame at `at`: final or not, opcode, where its payload begins and ends."""
    have = len(buffer) - at
    if have < 2:  # noqa: PLR2004 - a frame's least
        return None
    first, size = buffer[at], buffer[at + 1] & 127
    width = 8 if size == 127 else 2 if size == 126 else 0  # noqa: PLR2004 - the protocol's
    if have < 2 + width:
        return None
    start = at + 2 + width
    if width:
        size = int.from_bytes(buffer[at + 2 : start], "big")
    if size > _MESSAGE_LIMIT:
        raise broken_off()
    if len(buffer) < start + size:
        return None
    return bool(first & 0x80), first & 15, start, start + size
