"""A call over a WebSocket: arguments first, input while it runs, results as they come."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from starlette.types import Message
from starlette.websockets import WebSocket, WebSocketDisconnect

from covey.errors import CoveyError
from covey.surfaces.http.connection import connection_of
from covey.surfaces.http.decode import SlowRequestError
from covey.surfaces.http.messages import Messages
from covey.surfaces.http.socket_input import SocketInput
from covey.surfaces.http.streaming import race

_FIRST_MESSAGE_TIMEOUT = 30.0
_CLOSE_BASE = 4000
_NORMAL = 1000

Items = AsyncGenerator[Any, None]


async def first_message(socket: WebSocket) -> Message:
    """Return the message with the arguments; raises `SlowRequestError`."""
    try:
        async with asyncio.timeout(_FIRST_MESSAGE_TIMEOUT):
            message = await socket.receive()
    except TimeoutError as error:
        raise SlowRequestError("The arguments did not arrive.") from error
    if message["type"] == "websocket.disconnect":
        raise WebSocketDisconnect(message.get("code", 1000))
    return message


async def answer_socket(
    socket: WebSocket,
    messages: Messages,
    items: Items,
    given: SocketInput | None,
    seconds: float | None,
) -> None:
    """Send each item as a message and close; raises what the operation raises.

    A duplex call, which has input `given`, ends with the message `{"end": null}`. Of any other
    nothing more is expected from the client, and whatever it sends is ignored.
    """

    async def work() -> None:
        async with aclosing(items) as found:
            async for item in found:
                await messages.send(socket, item)
        if given is not None:
            await messages.send_end(socket)
        await socket.close(_NORMAL)

    gone = _left(socket) if given is None else given.run()
    await race(work(), gone, connection_of(socket.scope).stopping, seconds)


async def fail_socket(socket: WebSocket, messages: Messages, error: CoveyError) -> None:
    """Send the envelope of an error and close with 4000 + its HTTP status."""
    try:
        await messages.send_error(socket, error)
        await socket.close(_CLOSE_BASE + error.http_status, error.code)
    except (WebSocketDisconnect, RuntimeError):
        return


async def _left(socket: WebSocket) -> None:
    while (await socket.receive())["type"] != "websocket.disconnect":
        pass
