"""What the peer port needs of the node: members, and the three ways in for those who are not."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from covey.errors import UnreachableError

MAX_FRAME_BYTES = 8 << 20
MAX_REQUEST_BYTES = 256 << 10
AUTHORITY_PATH = "/peer/v1/authority"
JOIN_PATH = "/peer/v1/join"
RECOVER_PATH = "/peer/v1/recover"
CHALLENGE_PATH = "/peer/v1/challenge"
RENEW_PATH = "/peer/v1/renew"
REPLICATE_PATH = "/peer/v1/replicate"
CALLS_PATH = "/peer/v1/calls"


class ChannelClosedError(UnreachableError):
    """The connection to the peer has ended."""

    code = "channel_closed"


class PeerChannel(Protocol):
    """Ordered frames to one authenticated peer."""

    @property
    def peer(self) -> str:
        """The peer's node id, proved by its certificate."""

    async def send(self, frame: bytes) -> None:
        """Send one frame, waiting while the peer does not read."""

    async def receive(self) -> bytes:
        """Return the next frame; raises `ChannelClosedError` at the end."""

    async def close(self) -> None:
        """End the connection."""

    async def ping(self) -> None:
        """Return once the peer has answered; raises `ChannelClosedError` if it is gone."""

    def abort(self) -> None:
        """Cut the connection without a word."""


@dataclass(frozen=True, slots=True)
class Gate:
    """What peers must prove besides a certificate: nothing, or that they know `secret`."""

    node_id: str
    secret: bytes | None = field(default=None, repr=False)


class PeerService(Protocol):
    """The node behind the peer port. Each raises `CoveyError` with a message fit for the peer."""

    def gate(self) -> Gate:
        """Return what a member must prove besides its certificate."""

    def authority(self) -> bytes:
        """Return the trusted CA certificates as PEM; public."""

    async def join(self, request: bytes, address: str) -> bytes:
        """Answer a holder of an invitation."""

    async def challenge(self, address: str) -> bytes:
        """Return a fresh challenge for a recovery."""

    async def recover(self, request: bytes, address: str) -> bytes:
        """Answer a holder of the recovery key."""

    async def renew(self, request: bytes, address: str) -> bytes:
        """Issue a certificate to a member whose own has expired."""

    def member(self, certificate: bytes) -> str:
        """Return the node id of an active member; raises `RefusedError` for all others."""

    async def replicate(self, channel: PeerChannel, address: str) -> None:
        """Run a replication session that a member opened."""

    async def calls(self, channel: PeerChannel, address: str) -> None:
        """Carry operation calls with a member that connected for them."""
