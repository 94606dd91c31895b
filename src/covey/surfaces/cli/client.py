"""Run operations on a node: results, pages and streams, with its errors raised as ours."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import msgspec

from covey.client.request import EVENT_STREAM, Request, build_request
from covey.client.target import HostAnswer, Target
from covey.errors import CoveyError, ExitCode, InvalidRequestError, NotFoundError, UnreachableError
from covey.operations.command_document import Command, CommandDocument
from covey.surfaces.cli.transport import Response, Transport

_BAD_REQUEST = 400
_SERVER_ERROR = 500
_PAGE = 500
_ELSEWHERE = "elsewhere"
"""What is asked for is on another machine, which the error names; nothing was done yet."""
_EXIT_BY_STATUS = {
    400: ExitCode.USAGE,
    401: ExitCode.REFUSED,
    403: ExitCode.REFUSED,
    404: ExitCode.NOT_FOUND,
    409: ExitCode.CONFLICT,
    412: ExitCode.CONFLICT,
    413: ExitCode.USAGE,
    422: ExitCode.USAGE,
    423: ExitCode.REFUSED,
    429: ExitCode.REFUSED,
    502: ExitCode.UNREACHABLE,
    503: ExitCode.UNREACHABLE,
    504: ExitCode.UNREACHABLE,
}


class RemoteError(CoveyError):
    """The node's error as it was sent: its own code, and the exit code of its class."""

    def __init__(
        self,
        code: str,
        message: str,
        *,
        exit_code: ExitCode,
        hint: str | None = None,
        details: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__(message, hint=hint, details=details)
        self.code = code  # type: ignore[misc]
        self.exit_code = exit_code  # type: ignore[misc]


class _ErrorBody(msgspec.Struct, frozen=True):
    code: str
    message: str
    hint: str | None = None
    details: dict[str, Any] = {}


class _Envelope(msgspec.Struct, frozen=True):
    error: _ErrorBody


class Client:
    """Calls operations, named as in the command document, on the hosts of `target`."""

    def __init__(
        self, transport: Transport, document: CommandDocument, target: Target | None = None
    ) -> None:
        self.transport = transport
        self.target = target or Target()
        self._commands = {command.name: command for command in document.commands}

    def command(self, name: str) -> Command:
        """Return the description of an operation; raises `NotFoundError`."""
        try:
            return self._commands[name]
        except KeyError:
            raise NotFoundError(
                f"This version of Covey has no operation {name}.", hint="See: covey --help"
            ) from None

    def call(self, name: str, **values: Any) -> Any:
        """Run one operation and return its result as plain JSON values."""
        return self.run(self.command(name), values)

    def run(self, command: Command, values: Mapping[str, Any]) -> Any:
        """Run a described operation and return its result as plain JSON values."""
        try:
            return self._run(command, values)
        except RemoteError as error:
            if not self._goes_elsewhere(error):
                raise
        return self._run(command, values)

    def _run(self, command: Command, values: Mapping[str, Any]) -> Any:
        self._one_host(command)
        response = self.transport.send(self._request(command, values))
        with self.transport.reading(response):
            body = response.read()
        if response.status >= _BAD_REQUEST:
            raise _error_from(response.status, body)
        if not body:
            return None
        return _decode(body)

    def fetch(self, path: str) -> bytes:
        """Return what the node has at a path that is no operation's."""
        response = self.transport.send(Request("GET", path))
        with self.transport.reading(response):
            body = response.read()
        if response.status >= _BAD_REQUEST:
            raise _error_from(response.status, body)
        return body

    def pages(
        self, command: Command, values: Mapping[str, Any], limit: int | None
    ) -> Iterator[tuple[list[Any], str | None]]:
        """Yield the items of each page, and the cursor after the last one if more are left."""
        left = limit
        cursor = values.get("cursor")
        largest = _largest_page(command)
        while True:
            size = largest if left is None else min(left, largest)
            page = self.run(command, {**values, "cursor": cursor, "limit": size})
            items, cursor = page["items"], page.get("next_cursor")
            if left is not None:
                left -= len(items)
            done = cursor is None or (left is not None and left <= 0)
            yield items, cursor if done else None
            if done:
                return

    def stream(self, command: Command, values: Mapping[str, Any]) -> Iterator[Any]:
        """Yield the items of a streaming operation as they come."""
        self._one_host(command)
        try:
            yield from self._stream(self._request(command, values))
        except RemoteError as error:
            if not self._goes_elsewhere(error):
                raise
            yield from self._stream(self._request(command, values))

    def _goes_elsewhere(self, error: RemoteError) -> bool:
        """Turn to the machine that the node named, unless the user named one."""
        host = error.details.get("host")
        if error.code != _ELSEWHERE or not self.target.here or not isinstance(host, str):
            return False
        self.target.add_hosts(host)
        return True

    def on_hosts(self, command: Command, values: Mapping[str, Any]) -> Iterator[HostAnswer]:
        """Run an operation on several hosts, and yield what each answers as it comes."""
        for item in self._stream(self._request(command, values)):
            try:
                yield msgspec.convert(item, HostAnswer)
            except msgspec.ValidationError as error:
                raise _not_covey() from error

    def _one_host(self, command: Command) -> None:
        if self.target.several:
            raise InvalidRequestError(
                f"covey {' '.join(command.path)} works on one host at a time.",
                hint="Name one: --host NAME",
            )

    def _request(self, command: Command, values: Mapping[str, Any]) -> Request:
        request = build_request(command, values)
        chosen = self.target.headers()
        if self.target.several:
            chosen["Accept"] = EVENT_STREAM
        return replace(request, headers={**request.headers, **chosen}) if chosen else request

    def _stream(self, request: Request) -> Iterator[Any]:
        response = self.transport.send(request)
        if response.status >= _BAD_REQUEST:
            with self.transport.reading(response):
                body = response.read()
            raise _error_from(response.status, body)
        if not response.content_type.startswith(EVENT_STREAM):
            raise _not_covey()
        try:
            with self.transport.reading(response):
                yield from _events(response)
        finally:
            self.transport.close()

    def is_up(self) -> bool:
        """Whether the node answers its health check."""
        try:
            response = self.transport.send(Request("GET", "/health"))
            with self.transport.reading(response):
                response.read()
        except CoveyError:
            return False
        return response.status < _SERVER_ERROR


def _largest_page(command: Command) -> int:
    for param in command.params:
        if param.name == "limit" and param.maximum is not None:
            return min(int(param.maximum), _PAGE)
    return _PAGE


def _events(response: Response) -> Iterator[Any]:
    """Read Server-Sent Events (HTML Living Standard, 9.2.6) until the stream ends."""
    event, data = "", list[bytes]()
    for raw in response.lines():
        line = raw.rstrip(b"\r")
        if line:
            field, _, value = line.partition(b":")
            value = value.removeprefix(b" ")
            if field == b"event":
                event = value.decode()
            elif field == b"data":
                data.append(value)
            continue
        if event == "error":
            raise _error_from(None, b"\n".join(data))
        if event == "end":
            return
        if data:
            yield _decode(b"\n".join(data))
        event, data = "", []
    raise UnreachableError(
        "The stream broke off before its end.", hint="See what the node is doing: covey agent logs"
    )


def _decode(body: bytes) -> Any:
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _not_covey() from error


def _not_covey() -> UnreachableError:
    return UnreachableError(
        "What answered is not a Covey node of this version.",
        hint="Check --url, and that the daemon and this command are of the same version.",
    )


def _error_from(status: int | None, body: bytes) -> CoveyError:
    try:
        found = msgspec.json.decode(body, type=_Envelope).error
    except (msgspec.DecodeError, UnicodeDecodeError):
        return UnreachableError(
            f"The answer was HTTP status {status}, and not from a Covey node.",
            hint="Check --url, and whether a proxy stands in between.",
        )
    exit_code = _exit_by_code(found.code) if status is None else _EXIT_BY_STATUS.get(status)
    return RemoteError(
        found.code,
        found.message,
        exit_code=exit_code or ExitCode.FAILED,
        hint=found.hint,
        details=found.details,
    )


def _exit_by_code(code: str) -> ExitCode | None:
    waiting: list[type[CoveyError]] = [CoveyError]
    while waiting:
        kind = waiting.pop()
        if kind.code == code:
            return kind.exit_code
        waiting.extend(kind.__subclasses__())
    return None
