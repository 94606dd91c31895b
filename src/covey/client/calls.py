"""Calls of operations over asynchronous connections: single results, streams, and duplex ones."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import msgspec

from covey.client.endpoint import Endpoint
from covey.client.failure import CallFailedError, broken_off
from covey.client.framing import Framing
from covey.client.request import EVENT_STREAM, Request, build_request
from covey.client.target import Target
from covey.errors import CoveyError, ExitCode, InvalidRequestError, NotFoundError
from covey.operations.command_document import Command, CommandDocument, load_commands

_CHUNK = 256 << 10
_BAD_REQUEST = 400


class Caller:
    """Calls operations of one node, by their names, on the hosts of a target."""

    def __init__(self, endpoint: Endpoint, document: CommandDocument | None = None) -> None:
        self._endpoint = endpoint
        commands = (document or load_commands()).commands
        self._commands = {command.name: command for command in commands}

    def command(self, name: str) -> Command:
        """Return an operation's description; raises `NotFoundError`."""
        try:
            return self._commands[name]
        except KeyError:
            raise NotFoundError(
                f"This version of Covey has no operation {name}.",
                hint="They are listed by: covey --help",
            ) from None

    async def result(self, name: str, values: Mapping[str, Any], target: Target) -> Any:
        """Run an operation on one host and return its result as plain values."""
        command = self.command(name)
        if command.streams or command.duplex:
            raise InvalidRequestError(f"{name} answers with a stream.")
        reader, writer = await self._send(build_request(command, values), target)
        try:
            body = b"".join([piece async for piece in _body(reader, await _head(reader))])
        except (OSError, EOFError) as error:
            raise raised(broken_off()) from error
        finally:
            writer.transport.abort()
        return msgspec.json.decode(body) if body else None

    async def items(
        self, name: str, values: Mapping[str, Any], target: Target
    ) -> AsyncGenerator[Any, None]:
        """Yield what a streaming operation, or any on several hosts, answers as it comes."""
        request = build_request(self.command(name), values)
        request = replace(request, headers={**request.headers, "Accept": EVENT_STREAM})
        reader, writer = await self._send(request, target)
        try:
            async for event, data in _events(reader, await _head(reader)):
                if event == b"error":
                    raise raised(CallFailedError.from_answer(0, data))
                if event == b"end":
                    return
                yield msgspec.json.decode(data)
        except (OSError, EOFError) as error:
            raise raised(broken_off()) from error
        finally:
            writer.transport.abort()
        raise raised(broken_off())

    async def open(
        self, name: str, values: Mapping[str, Any], target: Target, *items: bytes
    ) -> Call:
        """Start an operation over a WebSocket; `items` are its first input, encoded."""
        command = self.command(name)
        given = {key: value for key, value in values.items() if value is not None}
        in_path = {param.name for param in command.params if param.location == "path"}
        target_path = build_request(command, given).target.partition("?")[0]
        arguments = {key: value for key, value in given.items() if key not in in_path}
        reader, writer = await self._endpoint.connect()
        call = Call(reader, writer)
        try:
            headers = {**self._endpoint.headers, **target.headers()}
            await call.begin(target_path, headers, arguments, items)
        except BaseException:
            call.close()
            raise
        return call

    async def _send(
        self, request: Request, target: Target
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await self._endpoint.connect()
        headers = {
            "Host": "covey",
            "Connection": "close",
            **request.headers,
            **self._endpoint.headers,
            **target.headers(),
        }
        lines = [f"{request.method} {request.target} HTTP/1.1"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        lines.append(f"Content-Length: {len(request.body or b'')}")
        writer.write("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + (request.body or b""))
        return reader, writer


class Call:
    """A running call over a WebSocket; leaving it ends what runs there for it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._framing = Framing()
        self._messages: list[bytes] = []

    async def begin(
        self,
        path: str,
        headers: Mapping[str, str],
        arguments: Mapping[str, Any],
        items: Sequence[bytes] = (),
    ) -> None:
        """Shake hands, send the arguments and first items; raises the node's `CoveyError`."""
        self._framing.begin(path, headers)
        self._flush()
        while not self._framing.open:
            await self._read()
        for message in (msgspec.msgpack.encode(arguments), *items):
            self._framing.send(message)
        self._flush()

    async def send(self, item: bytes) -> None:
        """Send an encoded item; waits while the node does not read."""
        self._framing.send(item)
        self._flush()
        try:
            await self._writer.drain()
        except OSError:
            # What went wrong is told by `receive`.
            return

    async def receive(self) -> bytes | None:
        """Return the next encoded item, or None at the good end; raises `CoveyError`."""
        while not self._messages:
            if self._framing.ended:
                return None
            await self._read()
        return self._messages.pop(0)

    def close(self) -> None:
        """Leave."""
        self._writer.transport.abort()

    async def _read(self) -> None:
        try:
            data = await self._reader.read(_CHUNK)
        except OSError:
            data = b""
        try:
            self._messages += self._framing.feed(data)
        except CallFailedError as error:
            raise raised(error) from error
        self._flush()

    def _flush(self) -> None:
        if self._framing.outgoing:
            self._writer.write(bytes(self._framing.outgoing))
            self._framing.outgoing.clear()


def raised(error: CallFailedError) -> CoveyError:
    """Return a failed call's error as the class that has its code."""
    waiting: list[type[CoveyError]] = [CoveyError]
    while waiting:
        kind = waiting.pop()
        if kind.code == error.code:
            return kind(error.message, hint=error.hint, details=error.details)
        waiting.extend(kind.__subclasses__())
    other = CoveyError(error.message, hint=error.hint, details=error.details)
    other.code = error.code  # type: ignore[misc]
    other.exit_code = _exit_code(error.exit_code)  # type: ignore[misc]
    return other


def _exit_code(number: int) -> ExitCode:
    try:
        return ExitCode(number)
    except ValueError:
        return ExitCode.FAILED


async def _head(reader: asyncio.StreamReader) -> dict[bytes, bytes]:
    """Read an answer's head; raises what a bad status tells."""
    head = await reader.readuntil(b"\r\n\r\n")
    first, *lines = head.rstrip().split(b"\r\n")
    headers = {}
    for line in lines:
        name, _, value = line.partition(b":")
        headers[name.strip().lower()] = value.strip()
    status = int(first.split()[1])
    if status >= _BAD_REQUEST:
        body = b"".join([piece async for piece in _body(reader, headers)])
        raise raised(CallFailedError.from_answer(status, body))
    return headers


async def _body(
    reader: asyncio.StreamReader, headers: Mapping[bytes, bytes]
) -> AsyncGenerator[bytes, None]:
    if headers.get(b"transfer-encoding", b"").lower() == b"chunked":
        while size := int((await reader.readline()).split(b";")[0] or b"0", 16):
            yield await reader.readexactly(size)
            await reader.readexactly(2)
    elif b"content-length" in headers:
        yield await reader.readexactly(int(headers[b"content-length"]))


async def _events(
    reader: asyncio.StreamReader, headers: Mapping[bytes, bytes]
) -> AsyncGenerator[tuple[bytes, bytes], None]:
    """Read Server-Sent Events (HTML Living Standard, 9.2.6)."""
    partial, event, data = b"", b"", list[bytes]()
    async for piece in _body(reader, headers):
        *lines, partial = (partial + piece).split(b"\n")
        for line in lines:
            field, _, value = line.rstrip(b"\r").partition(b":")
            value = value.removeprefix(b" ")
            if field == b"event":
                event = value
            elif field == b"data":
                data.append(value)
            elif not line.strip() and data:
                yield event, b"\n".join(data)
                event, data = b"", []
