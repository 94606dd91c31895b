"""From the registry to the rows of the table: identify, limit, decode, invoke, respond."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, cast

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Scope
from starlette.websockets import WebSocket, WebSocketDisconnect

from covey.errors import CoveyError, InvalidRequestError, UnauthenticatedError
from covey.operations.access import Caller, authorize
from covey.operations.audit import AuditSink
from covey.operations.context import Context, Services
from covey.operations.invoke import invoke, stream
from covey.operations.registry import Operation
from covey.operations.wire import Wire, wire_of
from covey.surfaces.http.authentication import PROTOCOL_TOKEN, Authenticator, identify
from covey.surfaces.http.connection import address_of, connection_of
from covey.surfaces.http.decode import SlowRequestError, read_arguments, read_message
from covey.surfaces.http.limits import FailedAttempts, RateLimits
from covey.surfaces.http.respond import result_response
from covey.surfaces.http.routing import WEBSOCKET, Row
from covey.surfaces.http.streaming import EventStream, fail_websocket, send_over_websocket

REQUEST_ID = "covey.request_id"
"""Where in a scope's state the request's id is."""

TIMEOUT_HEADER = "covey-timeout"
"""Seconds that the caller gives the operation; without it, `default_timeout`."""

_RECHECK = 1.0
"""Seconds for which a stream may go on before its caller's rights are looked at again."""

_SHORTEST = 1.0
_LONGEST = 3600.0
_FIRST_MESSAGE_TIMEOUT = 30.0
_PROTOCOL = "covey.v1"


@dataclass(frozen=True, slots=True)
class Gate:
    """Who is calling, and whether they call too often."""

    authenticator: Authenticator
    limits: RateLimits
    failures: FailedAttempts

    def enter(self, scope: Scope) -> Caller:
        """Return the caller; raises `UnauthenticatedError` or `RateLimitedError`."""
        try:
            caller = identify(scope, self.authenticator, self.failures)
        except UnauthenticatedError:
            self.limits.stranger(address_of(scope))
            raise
        self.limits.caller(caller)
        return caller

    def recheck(self, scope: Scope, operation: Operation) -> None:
        """Raise unless whoever began a stream may still call its operation."""
        caller = identify(scope, self.authenticator, self.failures)
        authorize(caller, operation.name, operation.access)

    def pass_anybody(self, scope: Scope) -> None:
        """Count a request for a public page; raises `RateLimitedError`."""
        if not connection_of(scope).local:
            self.limits.stranger(address_of(scope))


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Makes the rows of operations; `default_timeout` is in seconds."""

    gate: Gate
    services: Services
    audit: AuditSink
    max_body_bytes: int
    default_timeout: float = 300.0

    def rows(self, operation: Operation) -> list[Row]:
        """Return the operation's row, and for a stream its WebSocket's."""
        wire = wire_of(operation)
        route = operation.route

        async def over_http(request: Request, params: dict[str, str]) -> Response | ASGIApp:
            return await self._http(operation, wire, request, params)

        async def over_websocket(socket: WebSocket, params: dict[str, str]) -> None:
            await self._websocket(operation, wire, socket, params)

        streams = operation.signature.streams
        rows = [
            Row(route.method, route.path, operation.access, operation.name, over_http, not streams)
        ]
        if streams:
            rows.append(
                Row(WEBSOCKET, route.path, operation.access, operation.name, over_websocket)
            )
        return rows

    async def _http(
        self, operation: Operation, wire: Wire, request: Request, params: dict[str, str]
    ) -> Response | ASGIApp:
        caller = self.gate.enter(request.scope)
        context = self._context(request.scope, caller, streams=operation.signature.streams)
        arguments = await _decode(
            operation,
            caller,
            lambda: read_arguments(
                operation, wire, params, request.scope, request.receive, self.max_body_bytes
            ),
        )
        if operation.signature.streams:
            items = self._items(operation, arguments, context, request.scope)
            return EventStream(items, connection_of(request.scope).stopping, context.remaining())
        result = await invoke(operation, arguments, context, self.audit)
        return result_response(result, wire, request.headers, request.method)

    async def _websocket(
        self, operation: Operation, wire: Wire, socket: WebSocket, params: dict[str, str]
    ) -> None:
        caller = self.gate.enter(socket.scope)
        authorize(caller, operation.name, operation.access)
        context = self._context(socket.scope, caller, streams=True)
        await socket.accept(subprotocol=_chosen(socket.scope["subprotocols"]))
        try:
            arguments = read_message(operation, wire, params, await _first_message(socket))
            items = self._items(operation, arguments, context, socket.scope)
            stopping = connection_of(socket.scope).stopping
            await send_over_websocket(socket, items, stopping, context.remaining())
        except CoveyError as error:
            await fail_websocket(socket, error)
        except WebSocketDisconnect:
            return

    async def _items(
        self, operation: Operation, arguments: msgspec.Struct, context: Context, scope: Scope
    ) -> AsyncGenerator[Any, None]:
        """Yield a stream's items while its token is not revoked and its node not removed."""
        items = cast("AsyncGenerator[Any, None]", stream(operation, arguments, context, self.audit))
        checked = time.monotonic()
        async with aclosing(items) as found:
            async for item in found:
                if time.monotonic() - checked >= _RECHECK:
                    self.gate.recheck(scope, operation)
                    checked = time.monotonic()
                yield item

    def _context(self, scope: Scope, caller: Caller, *, streams: bool) -> Context:
        seconds = _timeout(scope)
        if seconds is None and not streams:
            seconds = self.default_timeout
        return Context(
            caller=caller,
            services=self.services,
            request_id=scope["state"][REQUEST_ID],
            deadline=None if seconds is None else time.monotonic() + seconds,
        )


async def _decode(operation: Operation, caller: Caller, read: Callable[[], Any]) -> Any:
    """Read the arguments; whoever may not call the operation learns that, not what is wrong."""
    try:
        return await read()
    except InvalidRequestError:
        authorize(caller, operation.name, operation.access)
        raise


def _timeout(scope: Scope) -> float | None:
    name = TIMEOUT_HEADER.encode()
    value = next((value for key, value in scope["headers"] if key == name), None)
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        seconds = 0.0
    if not _SHORTEST <= seconds <= _LONGEST:
        raise InvalidRequestError(
            f"{TIMEOUT_HEADER} must be a number of seconds, {_SHORTEST:.0f} to {_LONGEST:.0f}."
        )
    return seconds


def _chosen(offered: list[str]) -> str | None:
    """Answer a client that offers subprotocols with ours, and never with its token."""
    if _PROTOCOL in offered:
        return _PROTOCOL
    if any(item.startswith(PROTOCOL_TOKEN) for item in offered):
        raise InvalidRequestError(
            "A token was offered as a subprotocol without the protocol itself.",
            hint=f"Offer {_PROTOCOL} too.",
        )
    return None


async def _first_message(socket: WebSocket) -> str:
    try:
        async with asyncio.timeout(_FIRST_MESSAGE_TIMEOUT):
            message = await socket.receive()
    except TimeoutError as error:
        raise SlowRequestError("The arguments did not arrive.") from error
    if message["type"] == "websocket.disconnect":
        raise WebSocketDisconnect(message.get("code", 1000))
    text = message.get("text")
    if not isinstance(text, str):
        raise InvalidRequestError("The arguments must be a text message that holds JSON.")
    return text
