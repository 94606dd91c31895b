"""The messages of a WebSocket in either form: JSON text, or MessagePack with bytes intact."""

from __future__ import annotations

from typing import Any, Protocol

import msgspec
from starlette.types import Message
from starlette.websockets import WebSocket

from covey.errors import CoveyError, InvalidRequestError
from covey.operations.codec import from_json, from_msgpack, to_json, to_msgpack
from covey.operations.registry import Operation
from covey.operations.signature import END_KEY
from covey.operations.wire import Wire
from covey.surfaces.http.authentication import PROTOCOL_TOKEN
from covey.surfaces.http.decode import check_json, fields_of, read_lax, read_message
from covey.surfaces.http.respond import envelope, error_form

JSON_PROTOCOL = "covey.v1"
MSGPACK_PROTOCOL = "covey.msgpack"

_LONGEST_END = 64
_END = {END_KEY: None}


class Messages(Protocol):
    """One form of messages; reading raises `InvalidRequestError`."""

    @property
    def protocol(self) -> str | None:
        """The subprotocol to answer the client with, or None if it offered none."""

    def arguments(
        self, operation: Operation, wire: Wire, path: dict[str, str], message: Message
    ) -> msgspec.Struct:
        """Read the first message: every parameter that is not in the path."""

    def item(self, kind: Any, message: Message) -> Any:
        """Read an input item; None is the end of the input."""

    async def send(self, socket: WebSocket, value: Any) -> None:
        """Send an item."""

    async def send_error(self, socket: WebSocket, error: CoveyError) -> None:
        """Send an error in the envelope."""

    async def send_end(self, socket: WebSocket) -> None:
        """Say that no item follows."""


def choose_messages(offered: list[str]) -> Messages:
    """Return the form that a client's subprotocols ask for; its token is never sent back.

    Raises `InvalidRequestError` for a token that is offered alone.
    """
    if MSGPACK_PROTOCOL in offered:
        return MsgpackMessages()
    if JSON_PROTOCOL in offered:
        return JsonMessages(JSON_PROTOCOL)
    if any(item.startswith(PROTOCOL_TOKEN) for item in offered):
        raise InvalidRequestError(
            "A token was offered as a subprotocol without the protocol itself.",
            hint=f"Offer {JSON_PROTOCOL} too.",
        )
    return JsonMessages(None)


class JsonMessages:
    """Text messages that hold JSON; bytes are base64."""

    def __init__(self, protocol: str | None) -> None:
        self.protocol = protocol

    def arguments(
        self, operation: Operation, wire: Wire, path: dict[str, str], message: Message
    ) -> msgspec.Struct:
        """Read the first message."""
        return read_message(operation, wire, path, _text(message))

    def item(self, kind: Any, message: Message) -> Any:
        """Read an input item; None is the end of the input."""
        text = _text(message)
        if len(text) <= _LONGEST_END and _is_end(text.encode(), msgspec.json.decode):
            return None
        return from_json(check_json(text), kind)

    async def send(self, socket: WebSocket, value: Any) -> None:
        """Send an item."""
        await socket.send_text(to_json(value).decode())

    async def send_error(self, socket: WebSocket, error: CoveyError) -> None:
        """Send an error."""
        await socket.send_text(envelope(error).decode())

    async def send_end(self, socket: WebSocket) -> None:
        """Say that no item follows."""
        await socket.send_text(to_json(_END).decode())


class MsgpackMessages:
    """Binary messages that hold MessagePack."""

    protocol: str | None = MSGPACK_PROTOCOL

    def arguments(
        self, operation: Operation, wire: Wire, path: dict[str, str], message: Message
    ) -> msgspec.Struct:
        """Read the first message."""
        given = from_msgpack(_bytes(message), wire.message)
        return operation.signature.arguments(**read_lax(path, wire.path), **fields_of(given))

    def item(self, kind: Any, message: Message) -> Any:
        """Read an input item; None is the end of the input."""
        data = _bytes(message)
        if len(data) <= _LONGEST_END and _is_end(data, msgspec.msgpack.decode):
            return None
        return from_msgpack(data, kind)

    async def send(self, socket: WebSocket, value: Any) -> None:
        """Send an item."""
        await socket.send_bytes(to_msgpack(value))

    async def send_error(self, socket: WebSocket, error: CoveyError) -> None:
        """Send an error."""
        await socket.send_bytes(to_msgpack(error_form(error)))

    async def send_end(self, socket: WebSocket) -> None:
        """Say that no item follows."""
        await socket.send_bytes(to_msgpack(_END))


def size_of(message: Message) -> int:
    """Return a message's length in bytes or characters."""
    return len(message.get("bytes") or message.get("text") or "")


def _is_end(data: bytes, decode: Any) -> bool:
    try:
        return bool(decode(data) == _END)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False


def _text(message: Message) -> str:
    text = message.get("text")
    if not isinstance(text, str):
        raise InvalidRequestError("A message here must be a text that holds JSON.")
    return text


def _bytes(message: Message) -> bytes:
    data = message.get("bytes")
    if not isinstance(data, bytes):
        raise InvalidRequestError("A message here must be bytes that hold MessagePack.")
    return data
