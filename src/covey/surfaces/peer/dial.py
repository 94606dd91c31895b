"""The calling side of the peer port: replication channels by WebSocket to proven members."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

from covey.errors import CoveyError, RefusedError, UnreachableError
from covey.surfaces.peer.service import (
    MAX_FRAME_BYTES,
    REPLICATE_PATH,
    ChannelClosedError,
    Gate,
)
from covey.surfaces.peer.shared_secret import (
    NONCE_HEADER,
    PROOF_HEADER,
    Handshake,
    new_nonce,
    read_proof,
)

_CONNECT_S = 2.0
_MOST_PLACES = 4
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

    async def ping(self) -> None:
        """Return once the peer has answered; raises `ChannelClosedError` if it is gone."""
        try:
            await (await self._socket.ping())
        except ConnectionClosed as error:
            raise ChannelClosedError("The peer has gone.") from error

    def abort(self) -> None:
        """Cut the connection without a word."""
        self._socket.transport.abort()

    async def close(self) -> None:
        """End the connection."""
        await self._socket.close()


class PeerClient:
    """Calls to peer ports; `context` gives the TLS context of now, `member` names its holder."""

    def __init__(
        self,
        context: Callable[[], ssl.SSLContext],
        member: Callable[[bytes], str],
        gate: Callable[[], Gate],
    ) -> None:
        self._context = context
        self._member = member
        self._gate = gate

    async def dial(self, address: str, path: str = REPLICATE_PATH) -> DialledChannel:
        """Open a channel, for replication or calls; raises `UnreachableError` or `RefusedError`."""
        return DialledChannel(*await self.open(address, path))

    async def open(self, address: str, path: str) -> tuple[str, ClientConnection]:
        """Open a WebSocket to a member; returns its node id as well. Raises as `dial`."""
        nonce = new_nonce()
        try:
            place = await _connected(address)
            opened = await connect(
                f"wss://{address}{path}",
                sock=place,
                ssl=self._context(),
                additional_headers={NONCE_HEADER: nonce},
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
            certificate = opened.transport.get_extra_info("ssl_object").getpeercert(True)  # noqa: FBT003
            peer = self._member(certificate)
            await self._prove(opened, peer, address, nonce)
        except CoveyError:
            await opened.close()
            raise
        return peer, opened

    async def _prove(self, opened: ClientConnection, peer: str, address: str, nonce: str) -> None:
        gate = self._gate()
        answer = {} if opened.response is None else opened.response.headers
        told = {name: answer.get(name, "") for name in (NONCE_HEADER, PROOF_HEADER)}
        if gate.secret is None:
            if told[PROOF_HEADER]:
                raise RefusedError(
                    f"The node at {address} wants to be shown a shared secret.",
                    hint="Give this machine the same: fleet.shared_secret_file in covey.toml",
                )
            return
        handshake = Handshake(gate.secret, gate.node_id, peer, nonce, told[NONCE_HEADER])
        handshake.check_acceptor(read_proof(told), address)
        try:
            await opened.send(handshake.caller_proof())
        except ConnectionClosed as error:
            raise ChannelClosedError("The peer has ended the connection.") from error


async def _connected(address: str) -> socket.socket:
    """Connect by TCP to the first of a host's addresses that answers in time."""
    loop = asyncio.get_running_loop()
    host, _, port = address.rpartition(":")
    found = await loop.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)
    failure: OSError = TimeoutError()
    for family, kind, protocol, _, place in found[:_MOST_PLACES]:
        opened = socket.socket(family, kind, protocol)
        try:
            opened.setblocking(False)  # noqa: FBT003 - the standard library's signature
            async with asyncio.timeout(_CONNECT_S):
                await loop.sock_connect(opened, place)
        except OSError as error:
            opened.close()
            failure = error
        except BaseException:
            opened.close()
            raise
        else:
            return opened
    raise failure


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
