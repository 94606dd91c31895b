"""From the registry to the rows of the table: identify, limit, decode, dispatch, respond."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Scope
from starlette.websockets import WebSocket, WebSocketDisconnect

from covey.errors import CoveyError, InvalidRequestError, UnauthenticatedError
from covey.operations.access import Caller, authorize
from covey.operations.audit import AuditSink
from covey.operations.context import Context, Services
from covey.operations.dispatch import Call, Dispatcher, LocalPlace, Place, Target, fan_out
from covey.operations.invoke import authorize_early
from covey.operations.registry import Operation
from covey.operations.wire import Wire, wire_of
from covey.surfaces.http.authentication import Authenticator, identify
from covey.surfaces.http.connection import address_of, connection_of
from covey.surfaces.http.decode import read_arguments
from covey.surfaces.http.limits import FailedAttempts, RateLimits
from covey.surfaces.http.messages import choose_messages
from covey.surfaces.http.respond import result_response
from covey.surfaces.http.routing import WEBSOCKET, Row
from covey.surfaces.http.socket_input import SocketInput
from covey.surfaces.http.sockets import answer_socket, fail_socket, first_message
from covey.surfaces.http.streaming import EventStream
from covey.surfaces.http.target import read_target

REQUEST_ID = "covey.request_id"
"""Where in a scope's state the request's id is."""

TIMEOUT_HEADER = "covey-timeout"
"""Seconds that the caller gives the operation; without it, `default_timeout`."""

_RECHECK = 1.0
"""Seconds for which a stream may go on before its caller's rights are looked at again."""

_SHORTEST = 1.0
_LONGEST = 3600.0


class UpgradeRequiredError(InvalidRequestError):
    """The operation takes input while it runs, which an HTTP request cannot carry."""

    code = "upgrade_required"
    http_status = 426


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
    dispatcher: Dispatcher
    default_timeout: float = 300.0
    _wires: dict[str, Wire] = field(default_factory=dict, init=False, repr=False)

    def rows(self, operation: Operation) -> list[Row]:
        """Return the operation's row, and for a stream or a duplex call its WebSocket's."""
        route = operation.route

        async def over_http(request: Request, params: dict[str, str]) -> Response | ASGIApp:
            return await self._http(operation, request, params)

        async def over_websocket(socket: WebSocket, params: dict[str, str]) -> None:
            await self._websocket(operation, socket, params)

        streams = operation.streams
        rows = [
            Row(route.method, route.path, operation.access, operation.name, over_http, not streams)
        ]
        if streams or operation.duplex:
            rows.append(
                Row(WEBSOCKET, route.path, operation.access, operation.name, over_websocket)
            )
        return rows

    async def _http(
        self, operation: Operation, request: Request, params: dict[str, str]
    ) -> Response | ASGIApp:
        caller = self.gate.enter(request.scope)
        target = read_target(request.headers)
        streams = operation.streams or target.several
        lasting = operation.streams or operation.duplex
        context = self._context(request.scope, caller, lasting=lasting)
        if operation.duplex:
            authorize_early(operation, context, self.audit)
            raise UpgradeRequiredError(
                f"{operation.name} takes input while it runs.",
                hint="Connect to the same path by WebSocket.",
            )
        wire = self._wire(operation)
        try:
            arguments = await read_arguments(
                operation, wire, params, request.scope, request.receive, self.max_body_bytes
            )
        except InvalidRequestError:
            # Whoever may not call the operation learns that, not what is wrong with the call.
            authorize_early(operation, context, self.audit)
            raise
        call = Call(operation, arguments, context)
        if streams:
            place = None if target.several else self._place(target)
            items = self._items(call, target, place, request.scope)
            return EventStream(items, connection_of(request.scope).stopping, context.remaining())
        result = await self._place(target).invoke(operation, arguments, context)
        return result_response(result, wire, request.headers, request.method)

    async def _websocket(
        self, operation: Operation, socket: WebSocket, params: dict[str, str]
    ) -> None:
        caller = self.gate.enter(socket.scope)
        target = read_target(socket.headers)
        context = self._context(socket.scope, caller, lasting=True)
        if target.here:
            authorize_early(operation, context, self.audit)
        place = None
        if target.several:
            self.dispatcher.names(target)
        else:
            place = self._place(target)
        messages = choose_messages(socket.scope["subprotocols"])
        await socket.accept(subprotocol=messages.protocol)
        try:
            message = await first_message(socket)
            arguments = messages.arguments(operation, self._wire(operation), params, message)
            given = None
            if operation.signature.input is not None:
                lost = connection_of(socket.scope).lost
                given = SocketInput(socket, messages, operation.signature.input.item, lost)
            # Who is silent, and only sends, is looked at as well.
            allowed = given and self._while_allowed(given, operation, socket.scope)
            call = Call(operation, arguments, context, allowed)
            items = self._items(call, target, place, socket.scope)
            await answer_socket(socket, messages, items, given, context.remaining())
        except CoveyError as error:
            await fail_socket(socket, messages, error)
        except WebSocketDisconnect:
            return

    async def _items(
        self, call: Call, target: Target, place: Place | None, scope: Scope
    ) -> AsyncGenerator[Any, None]:
        """Yield what comes while the caller's token is not revoked and its node not removed."""
        async with aclosing(self._results(call, target, place)) as found:
            async for item in self._while_allowed(found, call.operation, scope):
                yield item

    async def _while_allowed(
        self, items: AsyncIterator[Any], operation: Operation, scope: Scope
    ) -> AsyncGenerator[Any, None]:
        """Yield items; raises instead of yielding more once the caller may not go on."""
        checked = time.monotonic()
        async for item in items:
            if time.monotonic() - checked >= _RECHECK:
                self.gate.recheck(scope, operation)
                checked = time.monotonic()
            yield item

    def _results(
        self, call: Call, target: Target, place: Place | None
    ) -> AsyncGenerator[Any, None]:
        if place is not None:
            return call.results(place)
        names = self.dispatcher.names(target)
        return fan_out(call, names, self.dispatcher.place, target.parallel)

    def _place(self, target: Target) -> Place:
        if target.here:
            return LocalPlace(self.audit)
        return self.dispatcher.place(target.hosts[0])

    def _wire(self, operation: Operation) -> Wire:
        """Return an operation's HTTP form, made for its first request: most never see one."""
        found = self._wires.get(operation.name)
        if found is None:
            found = self._wires[operation.name] = wire_of(operation)
        return found

    def _context(self, scope: Scope, caller: Caller, *, lasting: bool) -> Context:
        seconds = _timeout(scope)
        if seconds is None and not lasting:
            seconds = self.default_timeout
        return Context(
            caller=caller,
            services=self.services,
            request_id=scope["state"][REQUEST_ID],
            deadline=None if seconds is None else time.monotonic() + seconds,
        )


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
