"""Streams: Server-Sent Events and WebSocket, with heartbeats, ended by either side."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Coroutine
from contextlib import aclosing
from typing import Any

from starlette.types import Message, Receive, Scope, Send

from covey.errors import CoveyError, DeadlineExceededError, UnreachableError
from covey.operations.codec import to_json
from covey.surfaces.http.respond import envelope

HEARTBEAT = 15.0
"""Seconds between comments on a silent event stream, so that no proxy takes it for dead."""

_PATIENCE = 1.0

Items = AsyncGenerator[Any, None]


async def race(
    work: Coroutine[Any, Any, None],
    gone: Coroutine[Any, Any, None],
    stopping: asyncio.Event,
    seconds: float | None,
) -> None:
    """Run `work` until it ends, the client is `gone`, the server stops or the time is over.

    Raises what `work` or `gone` raises, `UnreachableError` when the server stops, and
    `DeadlineExceededError` after `seconds`.
    """
    working = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(gone)
    halting = asyncio.ensure_future(stopping.wait())
    tasks = (working, leaving, halting)
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED, timeout=seconds)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    if not working.cancelled():
        working.result()
    elif not leaving.cancelled() and (fault := leaving.exception()) is not None:
        raise fault
    elif not halting.cancelled():
        raise UnreachableError("The node is stopping.", hint="Connect again when it is back.")
    elif leaving.cancelled():
        raise DeadlineExceededError("The time that was given to the stream is over.")


class EventStream:
    """A response of Server-Sent Events: `item`s, then `end`, or `error` with the envelope.

    An error before the first item is raised, so that it is answered with its own status.
    """

    def __init__(self, items: Items, stopping: asyncio.Event, seconds: float | None) -> None:
        self._items = items
        self._stopping = stopping
        self._seconds = seconds
        self._started = False

    async def __call__(self, _scope: Scope, receive: Receive, send: Send) -> None:
        """Send the response."""
        try:
            await race(self._work(send), _disconnected(receive), self._stopping, self._seconds)
        except CoveyError as error:
            # A stream with nothing to tell in the time it was given has not failed.
            if not self._started and not isinstance(error, DeadlineExceededError):
                raise
            await self._send(send, b"event: error\ndata: " + envelope(error) + b"\n\n")
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _work(self, send: Send) -> None:
        beating = asyncio.ensure_future(self._beat(send))
        number = 0
        try:
            async with aclosing(self._items) as items:
                async for item in items:
                    number += 1
                    head = f"event: item\nid: {number}\ndata: ".encode()
                    await self._send(send, head + to_json(item) + b"\n\n")
        finally:
            beating.cancel()
        await self._send(send, b"event: end\ndata: {}\n\n")
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _beat(self, send: Send) -> None:
        await asyncio.sleep(_PATIENCE)
        while True:
            await self._send(send, b": heartbeat\n\n")
            await asyncio.sleep(HEARTBEAT)

    async def _send(self, send: Send, chunk: bytes) -> None:
        if not self._started:
            self._started = True
            await send(_START)
        await send({"type": "http.response.body", "body": chunk, "more_body": True})


_START: Message = {
    "type": "http.response.start",
    "status": 200,
    "headers": [
        (b"content-type", b"text/event-stream; charset=utf-8"),
        (b"cache-control", b"no-store"),
        (b"x-accel-buffering", b"no"),
    ],
}


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
