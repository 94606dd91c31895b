"""The serving side of a call: who calls, what, with which arguments; then the one path to run it.

Any transport that proves its peer may bring a call: a link, a relayed link, or memory in tests.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any

import msgspec

from covey.errors import (
    CoveyError,
    DeadlineExceededError,
    InvalidRequestError,
    NotFoundError,
    RefusedError,
)
from covey.operations.access import Caller, authorize
from covey.operations.audit import AuditSink
from covey.operations.codec import from_msgpack, to_msgpack
from covey.operations.context import Context, Services
from covey.operations.dispatch import Call, LocalPlace
from covey.operations.invoke import InternalError, authorize_early
from covey.operations.registry import Operation, Registry
from covey.remote.call_errors import CallCancelledError, encode_error
from covey.remote.caller_assertion import AssertionVerifier
from covey.remote.calls import MAX_MESSAGE_BYTES, CallHeader, IncomingCall
from covey.remote.refusals import RefusalTrails
from covey.store.api import NodeId


class CallServer:
    """Runs the calls of other members on this node."""

    def __init__(
        self,
        registry: Registry,
        services: Services,
        audit: AuditSink,
        verifier: AssertionVerifier,
    ) -> None:
        self._registry = registry
        self._services = services
        self._trails = RefusalTrails(audit)
        self._verifier = verifier
        self._calls: dict[asyncio.Task[Any], tuple[Caller, Operation]] = {}
        self._withdrawn: dict[asyncio.Future[None], RefusedError] = {}

    def check_rights(self) -> None:
        """End the calls whose callers may not make them any more; for when a role changes."""
        for task, (caller, operation) in list(self._calls.items()):
            try:
                authorize(self._verifier.renewed(caller), operation.name, operation.access)
            except RefusedError as error:
                self._withdrawn[task] = error
                task.cancel()

    async def serve(
        self, header: CallHeader, call: IncomingCall, peer: NodeId, address: str
    ) -> None:
        """Run one call that the proven member `peer` sent, to its end."""
        running = asyncio.create_task(self._run(header, call, peer, address))
        running.add_done_callback(lambda task: self._calls.pop(task, None))
        leaving = asyncio.ensure_future(call.cancelled())
        error = b""
        try:
            await asyncio.wait({running, leaving}, return_when=asyncio.FIRST_COMPLETED)
            running.cancel()
            await running
        except (CallCancelledError, asyncio.CancelledError):
            if leaving.done():
                return
            if running not in self._withdrawn:
                raise
            error = encode_error(self._withdrawn[running])
        except CoveyError as problem:
            error = encode_error(problem)
        finally:
            for task in (running, leaving):
                task.cancel()
            await asyncio.gather(running, leaving, return_exceptions=True)
            self._withdrawn.pop(running, None)
        await call.finish(error)

    async def _run(
        self, header: CallHeader, call: IncomingCall, peer: NodeId, address: str
    ) -> None:
        caller = self._verifier.verify(header.assertion, peer, address)
        operation = self._registry.get(header.operation)
        if operation is None:
            raise NotFoundError(
                f"This host does not have the operation {header.operation[:80]}.",
                hint="Its version of Covey differs: covey -H HOST status",
            )
        context = self._context(caller, header)
        items = None
        if operation.signature.input is not None:
            items = _input(call, operation.signature.input.item)
        audit = self._trails.of(peer)
        arguments = self._arguments(operation, header, context, audit)
        task = asyncio.current_task()
        if task is not None:
            self._calls[task] = caller, operation
        work = Call(operation, arguments, context, items)
        await _send_results(work.results(LocalPlace(audit)), call, context, operation)

    def _context(self, caller: Caller, header: CallHeader) -> Context:
        deadline = None
        if header.deadline_ms is not None:
            deadline = time.monotonic() + max(0, header.deadline_ms) / 1000
        return Context(caller, self._services, secrets.token_hex(8), deadline)

    def _arguments(
        self, operation: Operation, header: CallHeader, context: Context, audit: AuditSink
    ) -> msgspec.Struct:
        try:
            return from_msgpack(header.arguments, operation.signature.arguments)
        except InvalidRequestError:
            authorize_early(operation, context, audit)
            raise


async def _input(call: IncomingCall, kind: Any) -> AsyncIterator[Any]:
    while (data := await call.receive()) is not None:
        yield from_msgpack(data, kind)


async def _send_results(
    results: AsyncGenerator[Any, None], call: IncomingCall, context: Context, operation: Operation
) -> None:
    try:
        async with asyncio.timeout(context.remaining()), aclosing(results):
            async for item in results:
                await call.send(_encoded(item, operation))
    except TimeoutError as error:
        raise DeadlineExceededError("The time that was given to the call is over.") from error


def _encoded(item: Any, operation: Operation) -> bytes:
    data = to_msgpack(item)
    if len(data) > MAX_MESSAGE_BYTES:
        raise InternalError(
            f"The result of {operation.name} is too large to travel between hosts.",
            hint="Ask for less of it, or run the command on that host itself.",
        )
    return data
