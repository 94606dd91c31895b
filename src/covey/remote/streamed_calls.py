"""A call on a stream of a link: the caller's end and the serving end."""

from __future__ import annotations

import msgspec

from covey.errors import InvalidRequestError, UnreachableError
from covey.remote.call_errors import CallCancelledError, decode_error
from covey.remote.call_link import LinkStream, StreamResetError
from covey.remote.calls import CallHeader, Route

_header = msgspec.msgpack.Decoder(CallHeader)


class OutgoingCall:
    """Implements `CallStream`."""

    def __init__(self, stream: LinkStream, route: Route) -> None:
        self._stream = stream
        self._route = route
        self._over = False

    @property
    def route(self) -> Route:
        """Which way the call goes."""
        return self._route

    async def begin(self, call: CallHeader) -> None:
        """Send the header."""
        await self._stream.send(msgspec.msgpack.encode(call))

    async def send(self, item: bytes) -> None:
        """Send one input item; what the far side wants no more is dropped."""
        try:
            await self._stream.send(item)
        except UnreachableError:
            return

    async def end_input(self) -> None:
        """Say that there is no more input."""
        self._stream.end()

    async def receive(self) -> bytes | None:
        """Return the next item, or None at the good end; raises the far side's error."""
        try:
            item = await self._stream.receive()
        except StreamResetError as error:
            self._over = True
            if error.reason:
                raise decode_error(error.reason) from error
            raise
        if item is not None:
            return item
        self._over = True
        self._stream.end()
        if self._stream.trailer:
            raise decode_error(self._stream.trailer)
        return None

    async def cancel(self) -> None:
        """Give the call up."""
        if not self._over:
            self._over = True
            self._stream.reset()


class ServedCall:
    """Implements `IncomingCall`."""

    def __init__(self, stream: LinkStream) -> None:
        self._stream = stream

    async def header(self) -> CallHeader:
        """Return the first message; raises `InvalidRequestError`."""
        first = await self._stream.receive()
        try:
            return _header.decode(first or b"")
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise InvalidRequestError("The call's header is not valid.") from error

    async def receive(self) -> bytes | None:
        """Return the next message, or None when there is no more input."""
        try:
            return await self._stream.receive()
        except UnreachableError as error:
            raise CallCancelledError(error.message) from error

    async def send(self, item: bytes) -> None:
        """Send one item."""
        try:
            await self._stream.send(item)
        except UnreachableError as error:
            raise CallCancelledError(error.message) from error

    async def finish(self, error: bytes = b"") -> None:
        """End the call: well, or with an encoded error."""
        self._stream.end(error)
        if not self._stream.closed.is_set():
            await self._drain()

    async def _drain(self) -> None:
        """Drop input that nobody wants any more, so that the stream can close."""
        try:
            while await self._stream.receive() is not None:
                pass
        except UnreachableError:
            return

    async def cancelled(self) -> None:
        """Return once the caller gave the call up or is gone."""
        await self._stream.closed.wait()
