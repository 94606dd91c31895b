"""The calling side of the peer port: replication channels by WebSocket to proven members."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

from covey.errors import CoveyError, RefusedError, UnreachableError
from covey.surfaces.peer.service import MAX_FRAME_BYTES, REPLICATE_PATH, ChannelClosedError

_OPEN_S = 10.0
_CLOSE_S = 2.0
_PING_S = 20.0


class DialledChannel:
    """The calling side of a channel, over a WebSocket that it owns."""

    def __init__(self, peer: str, socket: ClientConnection) -> None:
        self._peer = peer
        self._socket = socket

    @property
    def peer(self) -> str:
        """The peer's node id, proved by its certificate."""
        return self._peer

    async def send(self, frame: bytes) -> None:
        """Send one frame, waiting while the peer does not read."""
        try:
            await self._socket.send(frame)
        except ConnectionClosed as error:
            raise ChannelClosedError("The peer has gone.") from error

    async def receive(self) -> bytes:
        """Return the next frame; raises `ChannelClosedError` at the end."""
        try:
            frame = await self._socket.recv(decode=False)
        except ConnectionClosed as error:
            raise ChannelClosedError("The peer has ended the connection.") from error
        return frame

    async def close(self) -> None:
        """End the connection."""
        await self._socket.close()


class PeerClient:
    """Calls to peer ports; `context` gives the TLS context of now, `member` names its holder."""

    def __init__(
        self, context: Callable[[], ssl.SSLContext], member: Callable[[bytes], str]
    ) -> None:
        self._context = context
        self._member = member

    async def dial(self, address: str) -> DialledChannel:
        """Open a replication channel; raises `UnreachableError` or `RefusedError`."""
        try:
            socket = await connect(
                f"wss://{address}{REPLICATE_PATH}",
                ssl=self._context(),
                compression=None,
                max_size=MAX_FRAME_BYTES,
                open_timeout=_OPEN_S,
                close_timeout=_CLOSE_S,
                ping_interval=_PING_S,
                ping_timeout=_PING_S,
                proxy=None,
            )
        except (OSError, TimeoutError, ValueError, InvalidHandshake) as error:
            raise translate(address, error) from error
        try:
            # A required certificate has been verified by now: the handshake fails without one.
            certificate = socket.transport.get_extra_info("ssl_object").getpeercert(True)  # noqa: FBT003
            return DialledChannel(self._member(certificate), socket)
        except CoveyError:
            await socket.close()
            raise


def translate(address: str, error: Exception) -> CoveyError:
    """Return the error for the user when a call to `address` failed."""
    match error:
        case ssl.SSLCertVerificationError():
            return RefusedError(
                f"The certificate of {address} is not from this fleet.",
                hint="Check the address; if the fleet's CA was replaced, join again.",
            )
        case ssl.SSLError() | ConnectionResetError():
            return RefusedError(
                f"{address} ended the TLS handshake: it does not accept this node.",
                hint="Check that it is a Covey node, and there: covey fleet list",
            )
        case InvalidStatus():
            return RefusedError(
                f"{address} refused the connection (status {error.response.status_code}).",
                hint="Check on that node: covey fleet list",
            )
        case TimeoutError() | asyncio.TimeoutError():
            return UnreachableError(
                f"{address} did not answer in time.", hint="Check that the node is up."
            )
        case OSError():
            reason = error.strerror or type(error).__name__
            return UnreachableError(
                f"{address} cannot be reached: {reason.split('[')[0].strip()}.",
                hint="Check that the node is up and the address and port are right.",
            )
        case _:
            return UnreachableError(
                f"{address} does not answer as a Covey node.",
                hint="Check that the address and port are those of a Covey node.",
            )
