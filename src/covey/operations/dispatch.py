"""Where an operation runs: on this node, on one other, or on several at the same time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec

from covey.errors import CoveyError, NotFoundError
from covey.operations.audit import AuditSink
from covey.operations.context import Context
from covey.operations.invoke import invoke, stream
from covey.operations.registry import Operation
from covey.operations.shared_input import SharedInput

LOCAL_ROUTE = "local"
PARALLEL = 16
"""Hosts that work at one time unless the caller says otherwise."""

MOST_PARALLEL = 256
_QUEUED = 8


@dataclass(frozen=True, slots=True)
class Target:
    """Which hosts a call is for: some by name, all, or those with a tag; none of it is this node.

    `several` is whether the answer is one `HostResult` for each host rather than the one host's
    own answer.
    """

    hosts: tuple[str, ...] = ()
    everyone: bool = False
    tag: str | None = None
    parallel: int = PARALLEL

    @property
    def here(self) -> bool:
        """Whether the call is for this node alone."""
        return not (self.hosts or self.everyone or self.tag is not None)

    @property
    def several(self) -> bool:
        """Whether the answer comes host by host."""
        return self.everyone or self.tag is not None or len(self.hosts) > 1


class HostError(msgspec.Struct, frozen=True):
    """Why a host did not do it: the error as it would be shown there."""

    code: str
    message: str
    hint: str | None
    details: dict[str, Any]
    exit_code: int

    @classmethod
    def of(cls, error: CoveyError) -> HostError:
        """Return the form of an error."""
        return cls(error.code, error.message, error.hint, dict(error.details), int(error.exit_code))


class HostResult(msgspec.Struct, frozen=True):
    """What one host answered: its result or error, by which way, and after how many milliseconds.

    Of a stream each item is one such, with `last` false, and the end is one without a value.
    """

    host: str
    ok: bool
    value: Any
    error: HostError | None
    route: str
    ms: float
    last: bool = True


class Place(Protocol):
    """One host, for one call. It raises `CoveyError` alone: the host's own, or `UnreachableError`.

    `route` is `local`, `direct`, `relayed` or `ssh`, and right once the call has begun.
    """

    @property
    def route(self) -> str:
        """Which way the call goes."""

    async def invoke(
        self,
        operation: Operation,
        arguments: msgspec.Struct,
        context: Context,
        items: AsyncIterator[Any] | None = None,
    ) -> Any:
        """Run an operation that returns one result."""

    def stream(
        self,
        operation: Operation,
        arguments: msgspec.Struct,
        context: Context,
        items: AsyncIterator[Any] | None = None,
    ) -> AsyncGenerator[Any, None]:
        """Run a streaming operation."""


class Dispatcher(Protocol):
    """Finds the hosts that a call is for."""

    def names(self, target: Target) -> list[str]:
        """Return the names of the target's hosts.

        Raises `NotFoundError` with the nearest name for one that is not known.
        """

    def place(self, host: str) -> Place:
        """Return a host by its name, for one call; raises `NotFoundError` as `names` does."""


class LocalPlace:
    """This node."""

    route = LOCAL_ROUTE

    def __init__(self, audit: AuditSink) -> None:
        self._audit = audit

    async def invoke(
        self,
        operation: Operation,
        arguments: msgspec.Struct,
        context: Context,
        items: AsyncIterator[Any] | None = None,
    ) -> Any:
        """Run an operation that returns one result."""
        return await invoke(operation, arguments, context, self._audit, items)

    def stream(
        self,
        operation: Operation,
        arguments: msgspec.Struct,
        context: Context,
        items: AsyncIterator[Any] | None = None,
    ) -> AsyncGenerator[Any, None]:
        """Run a streaming operation."""
        return stream(operation, arguments, context, self._audit, items)


class NoOtherHosts:
    """Implements `Dispatcher` for a node that knows no other."""

    def names(self, target: Target) -> list[str]:
        """Find nothing."""
        named = ", ".join(target.hosts) or "another host"
        raise NotFoundError(f"{named} is not known here: this node serves itself alone.")

    def place(self, host: str) -> Place:
        """Find nothing."""
        raise NotFoundError(f"{host} is not known here: this node serves itself alone.")


@dataclass(frozen=True, slots=True)
class Call:
    """One call of one operation, wherever it runs."""

    operation: Operation
    arguments: msgspec.Struct
    context: Context
    items: AsyncIterator[Any] | None = None

    async def results(self, place: Place) -> AsyncGenerator[Any, None]:
        """Run it at `place`, and yield its items or its one result."""
        if not self.operation.streams:
            yield await place.invoke(self.operation, self.arguments, self.context, self.items)
            return
        items = place.stream(self.operation, self.arguments, self.context, self.items)
        async with aclosing(items):
            async for item in items:
                yield item


async def fan_out(
    call: Call, hosts: Sequence[str], place: Callable[[str], Place], parallel: int = PARALLEL
) -> AsyncGenerator[HostResult, None]:
    """Run a call on several hosts, `parallel` at one time, and yield results as they come.

    A host's failure is its result, and ends no other's work. Leaving early cancels all of it.
    """
    queue: asyncio.Queue[HostResult | None] = asyncio.Queue(_QUEUED)
    slots = asyncio.Semaphore(max(1, parallel))
    shared = None if call.items is None else SharedInput(call.items, len(hosts))

    async def work(host: str) -> None:
        async with slots:
            items = None if shared is None else shared.reader()
            each = Call(call.operation, call.arguments, call.context, items)
            async with aclosing(_one_host(host, each, place(host))) as results:
                async for result in results:
                    await queue.put(result)
            if items is not None and shared is not None:
                shared.leave(items)

    async def all_work() -> None:
        async with asyncio.TaskGroup() as group:
            for host in hosts:
                group.create_task(work(host))
        await queue.put(None)

    running = asyncio.create_task(all_work())
    try:
        while (result := await queue.get()) is not None:
            yield result
        await running
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        if shared is not None:
            await shared.close()


async def _one_host(host: str, call: Call, place: Place) -> AsyncGenerator[HostResult, None]:
    began = time.monotonic()

    def answer(value: Any, error: HostError | None = None, *, last: bool) -> HostResult:
        ms = round((time.monotonic() - began) * 1000, 3)
        return HostResult(host, error is None, value, error, place.route, ms, last)

    streams = call.operation.streams
    try:
        async with aclosing(call.results(place)) as results:
            async for item in results:
                yield answer(item, last=not streams)
        if streams:
            yield answer(None, last=True)
    except CoveyError as error:
        yield answer(None, HostError.of(error), last=True)
