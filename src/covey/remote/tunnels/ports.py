"""What tunnels ask of the machine's network."""

from __future__ import annotations

from typing import Protocol


class TcpConnection(Protocol):
    """One TCP connection."""

    @property
    def peer(self) -> str:
        """The address at the other end."""

    async def read(self) -> bytes:
        """Return what comes next; nothing at the end. A broken connection raises `OSError`."""

    async def write(self, data: bytes) -> None:
        """Send; waits while the other end does not read. Raises `OSError`."""

    def end(self) -> None:
        """Say that no more will be sent."""

    def close(self) -> None:
        """Close it at once."""


class TcpListener(Protocol):
    """Accepts connections."""

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens."""

    async def accept(self) -> TcpConnection:
        """Return the next connection."""

    def close(self) -> None:
        """Accept no more, and close what nobody took."""


class Tcp(Protocol):
    """The network."""

    async def connect(self, host: str, port: int) -> TcpConnection:
        """Connect; raises `UnreachableError`."""

    async def listen(self, host: str, port: int) -> TcpListener:
        """Listen; port 0 is any free one. Raises `ConflictError` or `RefusedError`."""
