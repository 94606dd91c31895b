"""The calling side of the peer port: certificates pinned to the fleet's CA, frames by WebSocket."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

import aiohttp
import msgspec

from covey.errors import (
    ConflictError,
    CoveyError,
    InvalidRequestError,
    NotFoundError,
    RateLimitedError,
    RefusedError,
    StorageError,
    UnauthenticatedError,
    UnreachableError,
)
from covey.surfaces.peer.service import (
    AUTHORITY_PATH,
    MAX_FRAME_BYTES,
    MAX_REQUEST_BYTES,
    REPLICATE_PATH,
    ChannelClosedError,
)

_TIMEOUT = aiohttp.ClientTimeout(total=30, sock_connect=5)
_HEARTBEAT_S = 20.0
_BY_CODE: dict[str, type[CoveyError]] = {
    kind.code: kind
    for kind in (
        ConflictError,
        InvalidRequestError,
        NotFoundError,
        RateLimitedError,
        RefusedError,
        StorageError,
        UnauthenticatedError,
    )
}


class _Envelope(msgspec.Struct):
    code: str
    message: str
    hint: str | None = None


class _Refusal(msgspec.Struct):
    error: _Envelope


class DialledChannel:
    """The calling side of a channel, over an aiohttp WebSocket that it owns with its session."""

    def __init__(
        self, peer: str, session: aiohttp.ClientSession, socket: aiohttp.ClientWebSocketResponse
    ) -> None:
        self._peer = peer
        self._session = session
        self._socket = socket

    @property
    def peer(self) -> str:
        """The peer's node id, proved by its certificate."""
        return self._peer

    async def send(self, frame: bytes) -> None:
        """Send one frame, waiting while the peer does not read."""
        try:
            await self._socket.send_bytes(frame)
        except (aiohttp.ClientError, ConnectionError, RuntimeError) as error:
            raise ChannelClosedError("The peer has gone.") from error

    async def receive(self) -> bytes:
        """Return the next frame; raises `ChannelClosedError` at the end."""
        message = await self._socket.receive()
        if message.type is aiohttp.WSMsgType.BINARY:
            return bytes(message.data)
        raise ChannelClosedError("The peer has ended the connection.")

    async def close(self) -> None:
        """End the connection."""
        await self._socket.close()
        await self._session.close()


class PeerClient:
    """Calls to peer ports; `context` gives the TLS context of now, `member` names its holder."""

    def __init__(
        self, context: Callable[[], ssl.SSLContext], member: Callable[[bytes], str]
    ) -> None:
        self._context = context
        self._member = member

    async def dial(self, address: str) -> DialledChannel:
        """Open a replication channel; raises `UnreachableError` or `RefusedError`."""
        session = aiohttp.ClientSession(timeout=_TIMEOUT, auto_decompress=False)
        try:
            socket = await session.ws_connect(
                f"wss://{address}{REPLICATE_PATH}",
                ssl=self._context(),
                max_msg_size=MAX_FRAME_BYTES,
                heartbeat=_HEARTBEAT_S,
            )
            holder = socket.get_extra_info("ssl_object")
            # A required certificate has been verified by now: the handshake fails without one.
            certificate = holder.getpeercert(binary_form=True)
            return DialledChannel(self._member(certificate), session, socket)
        except CoveyError:
            await session.close()
            raise
        except BaseException as error:
            await session.close()
            translated = _translate(address, error)
            if translated is None:
                raise
            raise translated from error


async def fetch_authority(address: str) -> bytes:
    """Fetch a fleet's CA certificates, unverified: the caller pins them by fingerprint."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return await _request("GET", address, AUTHORITY_PATH, b"", context)


async def post(address: str, path: str, body: bytes, authority_pem: bytes) -> bytes:
    """Send one request to a peer port whose certificate must come from `authority_pem`."""
    context = ssl.create_default_context(cadata=authority_pem.decode("ascii"))
    context.check_hostname = False
    return await _request("POST", address, path, body, context)


async def _request(
    method: str, address: str, path: str, body: bytes, context: ssl.SSLContext
) -> bytes:
    try:
        async with (
            aiohttp.ClientSession(timeout=_TIMEOUT) as session,
            session.request(
                method, f"https://{address}{path}", data=body, ssl=context, allow_redirects=False
            ) as response,
        ):
            answer = await response.content.read(64 * MAX_REQUEST_BYTES)
            status = response.status
    except Exception as error:
        translated = _translate(address, error)
        if translated is None:
            raise
        raise translated from error
    if status != HTTPStatus.OK:
        raise _refused(address, status, answer)
    return answer


def _refused(address: str, status: int, answer: bytes) -> CoveyError:
    try:
        found = msgspec.json.decode(answer, type=_Refusal).error
    except msgspec.DecodeError:
        return UnreachableError(
            f"{address} answered with status {status}, which is not Covey's protocol.",
            hint="Check that the address and port are those of a Covey node.",
        )
    kind = _BY_CODE.get(found.code, UnreachableError)
    return kind(found.message, hint=found.hint)


def _translate(address: str, error: BaseException) -> CoveyError | None:
    match error:
        case aiohttp.ClientConnectorCertificateError() | ssl.SSLError():
            return RefusedError(
                f"The certificate of {address} is not from this fleet.",
                hint="Check the address; if the fleet's CA was replaced, join again.",
            )
        case aiohttp.WSServerHandshakeError():
            return RefusedError(
                f"{address} refused the connection (status {error.status}).",
                hint="Check on that node: covey fleet list",
            )
        case aiohttp.ClientConnectorSSLError():
            return RefusedError(
                f"No TLS connection to {address}: it does not accept this node's certificate.",
                hint="Check on that node: covey fleet list",
            )
        case asyncio.TimeoutError():
            return UnreachableError(
                f"{address} did not answer in time.", hint="Check that the node is up."
            )
        case aiohttp.ClientError() | OSError() | ValueError():
            return UnreachableError(
                f"{address} cannot be reached: {_reason(error)}.",
                hint="Check that the node is up and the address and port are right.",
            )
        case _:
            return None


def _reason(error: Any) -> str:
    cause = getattr(error, "os_error", None) or error
    text = getattr(cause, "strerror", None) or type(cause).__name__
    return str(text).split("[")[0].strip()
