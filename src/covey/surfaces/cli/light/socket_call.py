"""A call over a WebSocket (RFC 6455), by the standard library's smallest parts.

Frames are masked with zeros: on the daemon's own socket, and inside TLS, there is no
intermediary that a mask would protect.
"""

from __future__ import annotations

from covey.surfaces.cli.light.failure import CallFailedError, broken_off
from covey.surfaces.cli.light.packed import pack, unpack

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, Protocol

    class Stream(Protocol):
        """A connected socket."""

        def fileno(self) -> int:
            """Return the descriptor to poll."""

        def setblocking(self, flag: bool, /) -> None:  # noqa: FBT001 - as the library has it
            """Choose whether reads and writes wait."""

        def recv(self, size: int, /) -> bytes:
            """Read."""

        def send(self, data: bytes | bytearray | memoryview, /) -> int:
            """Write some."""

        def close(self) -> None:
            """Close."""


_CHUNK = 256 << 10
_HEAD_LIMIT = 64 << 10
_MESSAGE_LIMIT = 64 << 20
_KEY = "Y292ZXktY292ZXktY292ZQ=="
_TEXT, _BINARY, _CLOSE, _PING = 1, 2, 8, 9
_SWITCHING = 101
_WELL = (1000).to_bytes(2, "big")


class SocketCall:
    """One call: send messages into `outgoing`, and `flush` it; `receive` what has come."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.outgoing = bytearray()
        self.ended = False
        self._incoming = bytearray()
        self._message = bytearray()
        self._pending = getattr(stream, "pending", None)

    def begin(self, path: str, headers: Mapping[str, str], arguments: Mapping[str, Any]) -> None:
        """Shake hands and send the arguments.

        Raises `CallFailedError` with the node's answer, and `OSError`.
        """
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
        self._send_all(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))
        status, length = self._read_head()
        if status != _SWITCHING:
            while len(self._incoming) < length and self._more():
                pass
            raise CallFailedError.from_answer(status, bytes(self._incoming))
        self.send(arguments)
        self._send_all(bytes(self.outgoing))
        self.outgoing.clear()
        self.stream.setblocking(False)  # noqa: FBT003 - as the library has it

    def send(self, message: Any) -> None:
        """Put a message into `outgoing`."""
        self._frame(_BINARY, pack(message))

    def flush(self) -> None:
        """Send as much of `outgoing` as is taken; raises `OSError`."""
        try:
            sent = self.stream.send(self.outgoing)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            if _would_wait(error):
                return
            raise
        del self.outgoing[:sent]

    def receive(self) -> list[Any]:
        """Return the messages that have come, without waiting; `ended` is set by the last.

        Raises `CallFailedError` when the call failed or broke off.
        """
        found: list[Any] = []
        while True:
            try:
                more = self._more()
            except (BlockingIOError, InterruptedError):
                return found
            except OSError as error:
                if _would_wait(error):
                    return found
                more = False
            if more:
                self._read_frames(found)
            elif not self.ended:
                raise broken_off()
            if self.ended or self._pending is None or not self._pending():
                return found

    def close(self) -> None:
        """Leave: what runs there for this call ends."""
        self.stream.close()

    def _read_frames(self, found: list[Any]) -> None:
        buffer = self._incoming
        at = 0
        while not self.ended:
            frame = _parse(buffer, at)
            if frame is None:
                break
            final, opcode, start, at = frame
            if opcode == _PING:
                self._frame(0xA, bytes(buffer[start:at]))
            elif opcode == _CLOSE:
                if bytes(buffer[start : start + 2]) != _WELL:
                    raise broken_off()
                self.ended = True
            elif opcode in {0, _TEXT, _BINARY}:
                if final and not self._message:
                    self._take(bytes(memoryview(buffer)[start:at]), found)
                    continue
                self._message += buffer[start:at]
                if final:
                    whole = bytes(self._message)
                    self._message.clear()
                    self._take(whole, found)
        del buffer[:at]

    def _take(self, data: bytes, found: list[Any]) -> None:
        try:
            message = unpack(data)
        except ValueError as error:
            raise broken_off() from error
        if isinstance(message, dict) and len(message) == 1:
            if "end" in message:
                self.ended = True
                return
            if "error" in message:
                raise CallFailedError.from_envelope(message["error"])
        found.append(message)

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

    def _more(self) -> bool:
        data = self.stream.recv(_CHUNK)
        self._incoming += data
        return bool(data)

    def _send_all(self, data: bytes) -> None:
        left = memoryview(data)
        while left:
            left = left[self.stream.send(left) :]

    def _read_head(self) -> tuple[int, int]:
        """Return the answer's status and the length of its body."""
        while b"\r\n\r\n" not in self._incoming:
            if len(self._incoming) > _HEAD_LIMIT or not self._more():
                raise broken_off()
        head, _, body = bytes(self._incoming).partition(b"\r\n\r\n")
        self._incoming[:] = body
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


def _would_wait(error: OSError) -> bool:
    """Whether TLS wants the connection to be ready first."""
    return type(error).__name__ in {"SSLWantReadError", "SSLWantWriteError"}
