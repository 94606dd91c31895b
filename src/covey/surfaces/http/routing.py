"""The routing table: each row is one method and path, who may use it, and its handler."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket

from covey.errors import InvalidRequestError, NotFoundError
from covey.operations.access import Role
from covey.surfaces.http.decode import decode_text
from covey.surfaces.http.respond import error_response

WEBSOCKET = "WEBSOCKET"
"""The method of a row that answers a WebSocket handshake."""

LABEL = "covey.label"
"""Where in a scope's state the name of the matched row is, for metrics."""

HttpHandler = Callable[[Request, dict[str, str]], Awaitable[Response | ASGIApp]]
SocketHandler = Callable[[WebSocket, dict[str, str]], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table; `access` is the least role, or None for anybody.

    `head` says that GET's handler also answers HEAD.
    """

    method: str
    path: str
    access: Role | None
    name: str
    handler: HttpHandler | SocketHandler
    head: bool = True


@dataclass(slots=True)
class _Place:
    """One segment of the paths: what may follow it, and the rows that end here."""

    literal: dict[str, _Place] = field(default_factory=dict)
    any: _Place | None = None
    rows: dict[str, tuple[Row, tuple[str, ...]]] = field(default_factory=dict)


class MethodNotAllowedError(InvalidRequestError):
    """The path exists, but not for this method."""

    code = "method_not_allowed"
    http_status = 405


class Table:
    """The ASGI app that finds the row of a request; a literal segment goes before a parameter."""

    def __init__(self, rows: Iterable[Row]) -> None:
        self.rows = tuple(rows)
        self._root = _Place()
        for row in self.rows:
            self._add(row)

    def _add(self, row: Row) -> None:
        place = self._root
        names: list[str] = []
        for segment in row.path.strip("/").split("/"):
            if segment.startswith("{"):
                names.append(segment[1:-1])
                place.any = place.any or _Place()
                place = place.any
            else:
                place = place.literal.setdefault(segment, _Place())
        methods = [row.method]
        if row.method == "GET" and row.head:
            methods.append("HEAD")
        for method in methods:
            if method in place.rows:
                raise ValueError(f"{method} {row.path} is in the table twice")
            place.rows[method] = (row, tuple(names))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request; raises `CoveyError`, for 404 and 405 as well."""
        place, values = self._find(scope)
        method = WEBSOCKET if scope["type"] == "websocket" else scope["method"]
        found = place.rows.get(method)
        if found is None:
            await self._not_found(place, method)(scope, receive, send)
            return
        row, names = found
        scope.setdefault("state", {})[LABEL] = row.name
        params = dict(zip(names, values, strict=True))
        if scope["type"] == "websocket":
            await row.handler(WebSocket(scope, receive, send), params)  # type: ignore[arg-type]
            return
        response = await row.handler(Request(scope, receive, send), params)  # type: ignore[arg-type]
        await response(scope, receive, send)  # type: ignore[misc]

    def _find(self, scope: Scope) -> tuple[_Place, list[str]]:
        raw: bytes = scope.get("raw_path") or scope["path"].encode()
        if len(raw) > 1 and raw.endswith(b"/"):
            raise _nothing(raw)
        segments = [decode_text(part) for part in raw.removeprefix(b"/").split(b"/")]
        found = _descend(self._root, segments)
        if found is None:
            raise _nothing(raw)
        return found

    def _not_found(self, place: _Place, method: str) -> Response:
        """Answer a method that the path has not: OPTIONS tells which it has."""
        allowed = sorted({*place.rows.keys() - {WEBSOCKET}, "OPTIONS"})
        headers = {"allow": ", ".join(allowed)}
        if method == "OPTIONS":
            return Response(status_code=204, headers=headers)
        if method == WEBSOCKET:
            raise NotFoundError("Nothing streams at this path.")
        error = MethodNotAllowedError(
            f"{method} is not possible here.",
            hint=f"Possible are: {headers['allow']}",
            details={"allowed": allowed},
        )
        return error_response(error, headers)


def _descend(place: _Place, segments: list[str]) -> tuple[_Place, list[str]] | None:
    if not segments:
        return (place, []) if place.rows else None
    first, rest = segments[0], segments[1:]
    if first in place.literal:
        found = _descend(place.literal[first], rest)
        if found is not None:
            return found
    if place.any is not None and first:
        found = _descend(place.any, rest)
        if found is not None:
            return found[0], [first, *found[1]]
    return None


def _nothing(raw: bytes) -> NotFoundError:
    return NotFoundError(
        f"There is nothing at {raw[:200].decode('ascii', 'replace')}.",
        hint="GET /openapi.json describes every path; /docs shows them.",
    )
