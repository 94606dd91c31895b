"""A member between two others: it joins a stream of the one to a stream of the other.

The two speak TLS inside, so the member between sees no more than how much they say. It joins
streams of direct links alone: what came through a relay goes through no second one.
"""

from __future__ import annotations

import asyncio
from typing import TypeVar

import msgspec

from covey.errors import CoveyError, InvalidRequestError, UnreachableError
from covey.remote.call_errors import encode_error
from covey.remote.call_link import LinkStream
from covey.store.api import NodeId

_STEP_S = 10.0


class RelayRequest(msgspec.Struct, frozen=True, array_like=True):
    """The first message of a stream that is to be joined: who is meant."""

    target: str


class RelayedFrom(msgspec.Struct, frozen=True, array_like=True):
    """The first message of the stream to the target: who asks. The TLS inside proves it."""

    origin: str


_T = TypeVar("_T", RelayRequest, RelayedFrom)


async def ask_for_relay(stream: LinkStream, target: NodeId) -> None:
    """Have the peer of a stream join it to `target`."""
    await stream.send(msgspec.msgpack.encode(RelayRequest(target)))


async def read_relay_request(stream: LinkStream) -> NodeId:
    """Return who a stream is to be joined to; raises `InvalidRequestError`."""
    return NodeId((await _first(stream, RelayRequest)).target)


async def introduce(stream: LinkStream, origin: NodeId) -> None:
    """Tell the target who asks."""
    await stream.send(msgspec.msgpack.encode(RelayedFrom(origin)))


async def read_introduction(stream: LinkStream) -> NodeId:
    """Return who asks for a relayed connection; raises `InvalidRequestError`."""
    return NodeId((await _first(stream, RelayedFrom)).origin)


async def splice(one: LinkStream, other: LinkStream) -> None:
    """Pass messages both ways until either stream ends; then both are ended."""
    pumps = [asyncio.create_task(_pump(one, other)), asyncio.create_task(_pump(other, one))]
    try:
        await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for pump in pumps:
            pump.cancel()
        await asyncio.gather(*pumps, return_exceptions=True)
        one.reset()
        other.reset()


def refuse(stream: LinkStream, error: CoveyError) -> None:
    """End a stream with the reason."""
    stream.reset(encode_error(error))


async def _pump(source: LinkStream, sink: LinkStream) -> None:
    while (message := await source.receive()) is not None:
        await sink.send(message)


async def _first(stream: LinkStream, kind: type[_T]) -> _T:
    try:
        async with asyncio.timeout(_STEP_S):
            data = await stream.receive()
    except TimeoutError as error:
        raise UnreachableError("The relayed connection was not begun.") from error
    try:
        return msgspec.msgpack.decode(data or b"", type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidRequestError("The request to relay is not valid.") from error
