"""Git's smart HTTP (gitprotocol-http) at /git/APP.git: the same calls, callers and limits."""

from __future__ import annotations

import asyncio
import base64
import binascii
import zlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from covey.errors import (
    CoveyError,
    InvalidRequestError,
    NotFoundError,
    TooLargeError,
    UnauthenticatedError,
)
from covey.operations.audit import AuditSink
from covey.operations.codec import convert
from covey.operations.context import Context, Services
from covey.operations.dispatch import LocalPlace
from covey.operations.registry import Operation, Registry
from covey.surfaces.http.connection import connection_of
from covey.surfaces.http.decode import ClientGoneError, SlowRequestError
from covey.surfaces.http.endpoints import REQUEST_ID, Gate
from covey.surfaces.http.routing import Row
from covey.surfaces.http.streaming import race

_REFS, _PULL, _PUSH = "apps.git-refs", "apps.pull", "apps.push"
_SUFFIX = ".git"
_IDLE_S = 60.0
_BLOCK = 1 << 18
_SLACK = 1 << 20


@dataclass(frozen=True, slots=True)
class GitPages:
    """Makes the rows of the repositories that a node serves; `most_bytes` is a push's limit."""

    gate: Gate
    registry: Registry
    services: Services
    audit: AuditSink
    most_bytes: int

    def rows(self) -> list[Row]:
        """Return the rows, or none if the node has no such operations."""
        if _PUSH not in set(self.registry):
            return []
        refs, pull, push = (self.registry[name] for name in (_REFS, _PULL, _PUSH))
        return [
            Row("GET", "/git/{name}/info/refs", refs.access, _REFS, self._refs, head=False),
            Row("POST", "/git/{name}/git-upload-pack", pull.access, _PULL, self._talk(pull)),
            Row("POST", "/git/{name}/git-receive-pack", push.access, _PUSH, self._talk(push)),
        ]

    async def _refs(self, request: Request, params: dict[str, str]) -> Response:
        try:
            context = self._context(request.scope)
            service = request.query_params.get("service", "")
            if not service:
                raise InvalidRequestError(
                    "This repository speaks git's smart protocol alone.", hint="Use a newer git."
                )
            given = {"app": _app(params), "service": service, **_protocol(request.headers)}
            operation = self.registry[_REFS]
            arguments = convert(given, operation.signature.arguments)
            found = await LocalPlace(self.audit).invoke(operation, arguments, context)
        except CoveyError as error:
            return _refusal(error)
        return Response(found.data, headers=_headers(f"{service}-advertisement"))

    def _talk(self, operation: Operation) -> Callable[[Request, dict[str, str]], Any]:
        service = "git-upload-pack" if operation.name == _PULL else "git-receive-pack"

        async def handle(request: Request, params: dict[str, str]) -> Response | ASGIApp:
            try:
                context = self._context(request.scope)
                given = {"app": _app(params), **_protocol(request.headers)}
                arguments = convert(given, operation.signature.arguments)
                part = operation.signature.input
                assert part is not None  # noqa: S101 - both operations read an input
                body = _Body(request, self.most_bytes + _SLACK)
                items = body.parts(part.item)
                stream = LocalPlace(self.audit).stream(operation, arguments, context, items)
            except CoveyError as error:
                return _refusal(error)
            return _Answer(stream, body, _headers(f"{service}-result"))

        return handle

    def _context(self, scope: Scope) -> Context:
        caller = self.gate.enter(_as_bearer(scope))
        return Context(caller, self.services, scope["state"][REQUEST_ID])


class _Body:
    """A request's body, unpacked if it is compressed, within a limit and never idle for long."""

    def __init__(self, request: Request, most_bytes: int) -> None:
        self._request = request
        self._most = most_bytes
        self._seen = 0
        self.read = asyncio.Event()

    async def parts(self, kind: Callable[[bytes], Any]) -> AsyncIterator[Any]:
        """Yield the body as items; raises `CoveyError`, `ClientGoneError` if it breaks off."""
        encoding = self._request.headers.get("content-encoding", "identity").lower()
        if encoding not in {"identity", "gzip", "x-gzip"}:
            raise InvalidRequestError(f"The encoding {encoding[:20]!r} is not read here.")
        unpacking = None if encoding == "identity" else zlib.decompressobj(zlib.MAX_WBITS | 16)
        try:
            async for data in self._raw():
                if unpacking is None:
                    yield kind(self._counted(data))
                    continue
                while data:
                    plain = unpacking.decompress(data, _BLOCK)
                    data = unpacking.unconsumed_tail  # noqa: PLW2901 - what is left of it
                    if plain:
                        yield kind(self._counted(plain))
        except zlib.error as error:
            raise InvalidRequestError("The body is not compressed as it says.") from error
        finally:
            self.read.set()

    async def _raw(self) -> AsyncIterator[bytes]:
        while True:
            try:
                async with asyncio.timeout(_IDLE_S):
                    message = await self._request.receive()
            except TimeoutError as error:
                raise SlowRequestError(f"Nothing came for {_IDLE_S:.0f} s.") from error
            if message["type"] == "http.disconnect":
                raise ClientGoneError("The client is gone.")
            if message.get("body"):
                yield message["body"]
            if not message.get("more_body"):
                return

    def _counted(self, data: bytes) -> bytes:
        self._seen += len(data)
        if self._seen > self._most:
            raise TooLargeError(
                f"The push has more than {self._most >> 20} MiB.",
                hint="Put large files elsewhere, or raise [apps] max_upload",
            )
        return data


class _Answer:
    """A streamed response; what fails before its first byte is answered with its own status."""

    def __init__(
        self, items: AsyncGenerator[Any, None], body: _Body, headers: Mapping[str, str]
    ) -> None:
        self._items = items
        self._body = body
        self._headers = headers
        self._started = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the response."""
        stopping = connection_of(scope).stopping
        try:
            await race(self._work(send), self._gone(receive), stopping, None)
        except ClientGoneError:
            return
        except CoveyError as error:
            if self._started:
                # Without the end of the chunks, the client knows that it broke off.
                raise ClientGoneError("The answer broke off.") from error
            await _refusal(error)(scope, receive, send)

    async def _work(self, send: Send) -> None:
        async with aclosing(self._items) as items:
            async for item in items:
                await self._begin(send)
                await send({"type": "http.response.body", "body": item.data, "more_body": True})
        await self._begin(send)
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _begin(self, send: Send) -> None:
        if self._started:
            return
        self._started = True
        headers = [(name.encode(), value.encode()) for name, value in self._headers.items()]
        await send({"type": "http.response.start", "status": 200, "headers": headers})

    async def _gone(self, receive: Receive) -> None:
        await self._body.read.wait()
        while (await receive())["type"] != "http.disconnect":
            pass


def _as_bearer(scope: Scope) -> Scope:
    """Return a scope in which the password of basic authentication is the bearer token."""
    values = Headers(scope=scope).getlist("authorization")
    scheme, _, text = values[0].partition(" ") if values else ("", "", "")
    if len(values) != 1 or scheme.lower() != "basic":
        return scope
    try:
        user, _, password = base64.b64decode(text.strip(), validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError) as error:
        raise UnauthenticatedError(
            "The Authorization header is not of the form that git sends."
        ) from error
    token = password or user
    headers = [item for item in scope["headers"] if item[0] != b"authorization"]
    return {**scope, "headers": [*headers, (b"authorization", f"Bearer {token}".encode())]}


def _app(params: dict[str, str]) -> str:
    name = params["name"]
    if not name.endswith(_SUFFIX):
        raise NotFoundError(f"There is no repository {name[:60]!r}.", hint="Its name is APP.git.")
    return name.removesuffix(_SUFFIX)


def _protocol(headers: Headers) -> dict[str, str]:
    value = headers.get("git-protocol", "")
    return {"protocol": value} if value else {}


def _headers(kind: str) -> dict[str, str]:
    return {
        "content-type": f"application/x-{kind}",
        "cache-control": "no-cache, max-age=0, must-revalidate",
    }


def _refusal(error: CoveyError) -> Response:
    """Return an error in the form that git shows to its user."""
    text = f"{error.message}\n{error.hint}\n" if error.hint else f"{error.message}\n"
    headers = {}
    if isinstance(error, UnauthenticatedError):
        headers["www-authenticate"] = 'Basic realm="Covey: an API token as password"'
        text += "Any user name, with an API token as the password: covey token create NAME\n"
    retry = error.details.get("retry_after")
    if retry is not None:
        headers["retry-after"] = str(retry)
    if error.http_status in {408, 413}:
        headers["connection"] = "close"
    return Response(text, error.http_status, headers, "text/plain")
