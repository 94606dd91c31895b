"""The calling side of a call: one host of the fleet as a place where operations run."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any

import msgspec

from covey.errors import CoveyError, DeadlineExceededError, UnreachableError
from covey.operations.access import check_limits
from covey.operations.audit import AuditSink
from covey.operations.codec import decode_hook, to_msgpack
from covey.operations.context import Context
from covey.operations.invoke import record_call
from covey.operations.registry import Operation
from covey.remote.caller_assertion import Asserter
from covey.remote.calls import CallHeader, CallStream, PeerCalls, Route
from covey.store.api import NodeId

_GRACE_S = 2.0


class PeerPlace:
    """Implements `Place` for one call to another member. The member decides; both sides audit."""

    def __init__(
        self, host: str, node_id: NodeId, calls: PeerCalls, asserter: Asserter, audit: AuditSink
    ) -> None:
        self._host = host
        self._node_id = node_id
        self._calls = calls
        self._asserter = asserter
        self._audit = audit
        self._route = Route.DIRECT

    @property
    def route(self) -> str:
        """Which way the call goes."""
        return self._route.value

    async def invoke(
        self,
        operation: Operation,
        arguments: msgspec.Struct,
        context: Context,
        items: AsyncIterator[Any] | None = None,
    ) -> Any:
        """Run an operation that returns one result."""
        async with aclosing(self.stream(operation, arguments, context, items)) as results:
            async for item in results:
                return item
        raise UnreachableError(f"{self._host} ended the call without a result.")

    async def stream(
        self,
        operation: Operation,
        arguments: msgspec.Struct,
        context: Context,
        items: AsyncIterator[Any] | None = None,
    ) -> AsyncGenerator[Any, None]:
        """Run a streaming operation."""
        outcome = "ok"
        try:
            call = await self._open(operation, arguments, context)
            async with aclosing(_results(call, operation, items, context)) as results:
                async for item in results:
                    yield item
        except CoveyError as error:
            outcome = error.code
            raise
        finally:
            record_call(operation, arguments, context, self._audit, outcome, host=self._host)

    async def _open(
        self, operation: Operation, arguments: msgspec.Struct, context: Context
    ) -> CallStream:
        # It would go on in this node's name.
        check_limits(context.caller, operation.name)
        left = context.remaining()
        header = CallHeader(
            operation=operation.name,
            arguments=to_msgpack(arguments),
            assertion=self._asserter.assertion(context.caller, self._node_id),
            deadline_ms=None if left is None else int(left * 1000),
        )
        try:
            async with asyncio.timeout(left):
                call = await self._calls.open(self._node_id, header)
        except TimeoutError as error:
            raise DeadlineExceededError(f"{self._host} did not answer in time.") from error
        self._route = call.route
        return call


async def _results(
    call: CallStream, operation: Operation, items: AsyncIterator[Any] | None, context: Context
) -> AsyncGenerator[Any, None]:
    """Yield what the far side sends while `items` go to it; leaving early cancels the call."""
    sending = None if items is None else asyncio.create_task(_send_input(call, items))
    decoder = msgspec.msgpack.Decoder(operation.signature.result, dec_hook=decode_hook)
    # The far side keeps the deadline; this is for a far side that is silent.
    left = context.remaining()
    until = None if left is None else asyncio.get_running_loop().time() + left + _GRACE_S
    try:
        if sending is None:
            await call.end_input()
        while (data := await _next_until(until, call, sending)) is not None:
            yield _decoded(decoder, data)
    except TimeoutError as error:
        raise DeadlineExceededError(f"{operation.name} did not end in time.") from error
    finally:
        if sending is not None:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
        await call.cancel()


async def _next_until(
    until: float | None, call: CallStream, sending: asyncio.Task[None] | None
) -> bytes | None:
    async with asyncio.timeout_at(until):
        return await _next(call, sending)


async def _next(call: CallStream, sending: asyncio.Task[None] | None) -> bytes | None:
    """Return the next item; what goes wrong with the input is raised here."""
    if sending is None or sending.done():
        if sending is not None:
            sending.result()
        return await call.receive()
    receiving = asyncio.ensure_future(call.receive())
    try:
        await asyncio.wait({receiving, sending}, return_when=asyncio.FIRST_COMPLETED)
        if not receiving.done():
            sending.result()
        return await receiving
    finally:
        receiving.cancel()


async def _send_input(call: CallStream, items: AsyncIterator[Any]) -> None:
    async for item in items:
        await call.send(to_msgpack(item))
    await call.end_input()


def _decoded(decoder: msgspec.msgpack.Decoder[Any], data: bytes) -> Any:
    """Decode a result; a host of another version may send what this one only passes on."""
    try:
        return decoder.decode(data)
    except msgspec.ValidationError:
        return msgspec.msgpack.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UnreachableError("The host sent a result that cannot be read.") from error
