"""The peer port's routes: join, recover and renew by request, replicate by WebSocket."""

from __future__ import annotations

import asyncio
import contextlib
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from time import monotonic
from typing import Any, Protocol

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from covey.errors import CoveyError, RateLimitedError, RefusedError, TooLargeError
from covey.operations.networks import network_of
from covey.surfaces.peer.service import (
    AUTHORITY_PATH,
    CALLS_PATH,
    CHALLENGE_PATH,
    JOIN_PATH,
    MAX_REQUEST_BYTES,
    RECOVER_PATH,
    RENEW_PATH,
    REPLICATE_PATH,
    ChannelClosedError,
    PeerChannel,
    PeerService,
)
from covey.surfaces.peer.shared_secret import (
    NONCE_HEADER,
    PROOF_HEADER,
    Handshake,
    new_nonce,
    read_nonce,
)

CertificateOf = Callable[[Mapping[str, Any]], bytes | None]
_REFUSED = 4403
_PROOF_S = 10.0
_MINUTE_S = 60
_TRIES_PER_MINUTE = 20
_MOST_ADDRESSES = 10_000


class Wire(Protocol):
    """A WebSocket below its messages."""

    async def ping(self) -> None:
        """Return once the client has answered; raises `ConnectionError` if it is gone."""

    def abort(self) -> None:
        """Cut the connection."""


WireOf = Callable[[Any], Wire | None]


class Attempts:
    """Limits requests of strangers by network: a fixed budget that refills each minute."""

    def __init__(self, per_minute: int = _TRIES_PER_MINUTE) -> None:
        self._per_minute = per_minute
        self._spent: OrderedDict[str, tuple[float, int]] = OrderedDict()

    def spend(self, address: str) -> None:
        """Count one request; raises `RateLimitedError` when the minute's budget is spent."""
        now, network = monotonic(), network_of(address)
        began, count = self._spent.pop(network, (now, 0))
        if now - began >= _MINUTE_S:
            began, count = now, 0
        self._spent[network] = (began, count + 1)
        if len(self._spent) > _MOST_ADDRESSES:
            self._spent.popitem(last=False)
        if count >= self._per_minute:
            wait = max(1, round(_MINUTE_S - (now - began)))
            raise RateLimitedError(
                "Too many attempts from this address.",
                hint=f"Try again in {wait} s.",
                details={"retry_after": wait},
            )


def peer_routes(
    service: PeerService, certificate_of: CertificateOf, wire_of: WireOf
) -> list[BaseRoute]:
    """Return the routes; `certificate_of` reads the TLS client certificate from an ASGI scope."""
    attempts = Attempts()

    def posted(handle: Callable[[bytes, str], Awaitable[bytes]]) -> Any:
        async def endpoint(request: Request) -> Response:
            address = _address(request.client)
            try:
                attempts.spend(address)
                answer = await handle(await _body(request), address)
            except CoveyError as error:
                return _refusal(error)
            return Response(answer, media_type="application/octet-stream")

        return endpoint

    async def authority(_request: Request) -> Response:
        return Response(service.authority(), media_type="application/x-pem-file")

    async def challenge(_body: bytes, address: str) -> bytes:
        return await service.challenge(address)

    def channel(
        serve: Callable[[PeerChannel, str], Awaitable[None]],
    ) -> Callable[[WebSocket], Awaitable[None]]:
        async def endpoint(socket: WebSocket) -> None:
            peer = await admit(service, socket, certificate_of(socket.scope))
            if peer is None:
                return
            channel = AcceptedChannel(peer, socket, wire_of(socket.scope))
            try:
                await serve(channel, _address(socket.client))
            finally:
                await channel.close()

        return endpoint

    return [
        Route(AUTHORITY_PATH, authority, methods=["GET"]),
        Route(CHALLENGE_PATH, posted(challenge), methods=["POST"]),
        Route(JOIN_PATH, posted(service.join), methods=["POST"]),
        Route(RECOVER_PATH, posted(service.recover), methods=["POST"]),
        Route(RENEW_PATH, posted(service.renew), methods=["POST"]),
        WebSocketRoute(REPLICATE_PATH, channel(service.replicate)),
        WebSocketRoute(CALLS_PATH, channel(service.calls)),
    ]


async def admit(service: PeerService, socket: WebSocket, certificate: bytes | None) -> str | None:
    """Accept a member's WebSocket and return its node id; None if it was refused and closed."""
    try:
        if certificate is None:
            raise RefusedError("Replication needs a member's certificate.")
        peer = service.member(certificate)
        gate = service.gate()
        if gate.secret is None:
            await socket.accept()
            return peer
        nonces = read_nonce(socket.headers), new_nonce()
        handshake = Handshake(gate.secret, peer, gate.node_id, *nonces)
        proof = handshake.acceptor_proof().hex().encode()
        await socket.accept(
            headers=[
                (NONCE_HEADER.lower().encode(), nonces[1].encode()),
                (PROOF_HEADER.lower().encode(), proof),
            ]
        )
        async with asyncio.timeout(_PROOF_S):
            handshake.check_caller(await socket.receive_bytes())
    except CoveyError as error:
        await socket.close(_REFUSED, error.message[:120])
        return None
    except (TimeoutError, WebSocketDisconnect, RuntimeError, KeyError):
        with contextlib.suppress(RuntimeError, OSError):
            await socket.close(_REFUSED, "No proof came in time.")
        return None
    return peer


class AcceptedChannel:
    """The accepting side of a channel, over a Starlette WebSocket."""

    def __init__(self, peer: str, socket: WebSocket, wire: Wire | None) -> None:
        self._peer = peer
        self._socket = socket
        self._wire = wire
        self._closed = asyncio.Event()

    @property
    def peer(self) -> str:
        """The peer's node id, proved by its certificate."""
        return self._peer

    async def send(self, frame: bytes) -> None:
        """Send one frame, waiting while the peer does not read."""
        if self._closed.is_set():
            raise ChannelClosedError("The connection to the peer is closed.")
        try:
            await self._socket.send_bytes(frame)
        except (WebSocketDisconnect, RuntimeError, OSError) as error:
            raise ChannelClosedError("The peer has gone.") from error

    async def receive(self) -> bytes:
        """Return the next frame; raises `ChannelClosedError` at the end."""
        receiving = asyncio.ensure_future(self._socket.receive_bytes())
        closing = asyncio.ensure_future(self._closed.wait())
        try:
            await asyncio.wait({receiving, closing}, return_when=asyncio.FIRST_COMPLETED)
            if not receiving.done():
                raise ChannelClosedError("The connection to the peer is closed.")
            return receiving.result()
        except (WebSocketDisconnect, RuntimeError, KeyError, OSError) as error:
            raise ChannelClosedError("The peer has gone.") from error
        finally:
            receiving.cancel()
            closing.cancel()

    async def ping(self) -> None:
        """Return once the peer has answered; raises `ChannelClosedError` if it is gone."""
        if self._wire is None:
            raise ChannelClosedError("This connection cannot be tested.")
        try:
            await self._wire.ping()
        except ConnectionError as error:
            raise ChannelClosedError("The peer has gone.") from error

    def abort(self) -> None:
        """Cut the connection without a word."""
        if self._wire is not None:
            self._wire.abort()
        self._closed.set()

    async def close(self) -> None:
        """End the connection."""
        if self._closed.is_set():
            return
        self._closed.set()
        try:
            await self._socket.close()
        except (WebSocketDisconnect, RuntimeError, OSError):
            return


def _address(client: Any) -> str:
    return client.host if client is not None else "local"


async def _body(request: Request) -> bytes:
    parts: list[bytes] = []
    size = 0
    async for part in request.stream():
        size += len(part)
        if size > MAX_REQUEST_BYTES:
            raise TooLargeError(f"A request here holds at most {MAX_REQUEST_BYTES} bytes.")
        parts.append(part)
    return b"".join(parts)


def _refusal(error: CoveyError) -> Response:
    body = {
        "error": {
            "code": error.code,
            "message": error.message,
            "hint": error.hint,
            "details": dict(error.details),
        }
    }
    headers = {}
    if "retry_after" in error.details:
        headers["Retry-After"] = str(error.details["retry_after"])
    return Response(
        msgspec.json.encode(body), error.http_status, headers, media_type="application/json"
    )
