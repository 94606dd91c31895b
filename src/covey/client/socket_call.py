"""A call over a connected socket, by the standard library's smallest parts."""

from __future__ import annotations

from covey.client.failure import broken_off
from covey.client.framing import Framing
from covey.client.packed import pack, unpack

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


class SocketCall:
    """One call: `send` messages, and `flush` them; `receive` what has come."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self._framing = Framing()
        self._pending = getattr(stream, "pending", None)

    @property
    def outgoing(self) -> bytearray:
        """What is to be flushed."""
        return self._framing.outgoing

    @property
    def ended(self) -> bool:
        """Whether the call came to its good end."""
        return self._framing.ended

    def begin(self, path: str, headers: Mapping[str, str], arguments: Mapping[str, Any]) -> None:
        """Shake hands and send the arguments.

        Raises `CallFailedError` with the node's answer, and `OSError`.
        """
        self._framing.begin(path, headers)
        self._send_all()
        while not self._framing.open:
            self._framing.feed(self.stream.recv(_CHUNK))
        self.send(arguments)
        self._send_all()
        self.stream.setblocking(False)  # noqa: FBT003 - as the library has it

    def send(self, message: Any) -> None:
        """Put a message into `outgoing`."""
        self._framing.send(pack(message))

    def forward(self, message: bytes) -> None:
        """Put a message that is encoded already into `outgoing`."""
        self._framing.send(message)

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
        """Return the messages that have come, without waiting.

        Raises `CallFailedError` when the call failed or broke off.
        """
        try:
            return [unpack(message) for message in self.receive_encoded()]
        except ValueError as error:
            raise broken_off() from error

    def receive_encoded(self) -> list[bytes]:
        """Return the messages that have come as they are; raises as `receive`."""
        found: list[bytes] = []
        while not self.ended:
            try:
                data = self.stream.recv(_CHUNK)
            except (BlockingIOError, InterruptedError):
                break
            except OSError as error:
                if _would_wait(error):
                    break
                data = b""
            found += self._framing.feed(data)
            if self._pending is None or not self._pending():
                break
        return found

    def close(self) -> None:
        """Leave: what runs there for this call ends."""
        self.stream.close()

    def _send_all(self) -> None:
        left = memoryview(bytes(self.outgoing))
        self.outgoing.clear()
        while left:
            left = left[self.stream.send(left) :]


def _would_wait(error: OSError) -> bool:
    """Whether TLS wants the connection to be ready first."""
    return type(error).__name__ in {"SSLWantReadError", "SSLWantWriteError"}
