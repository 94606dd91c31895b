"""What surrounds every request: its id, browsers kept out, errors in the envelope, metrics."""

from __future__ import annotations

import ipaddress
import logging
import secrets
import socket
import time
from collections.abc import Iterable

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocket

from covey.errors import CoveyError, RefusedError
from covey.operations.invoke import InternalError
from covey.surfaces.http.connection import address_of, connection_of
from covey.surfaces.http.decode import ClientGoneError
from covey.surfaces.http.endpoints import REQUEST_ID
from covey.surfaces.http.metrics import Metrics
from covey.surfaces.http.respond import error_response
from covey.surfaces.http.routing import LABEL

_log = logging.getLogger("covey.http")

_API_POLICY = "default-src 'none'; frame-ancestors 'none'"
_HEADERS = {
    "cache-control": "no-store",
    "content-security-policy": _API_POLICY,
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}


class Guard:
    """ASGI middleware around the whole app; `allowed_hosts` are this node's further names."""

    def __init__(self, app: ASGIApp, metrics: Metrics, allowed_hosts: Iterable[str] = ()) -> None:
        self._app = app
        self._metrics = metrics
        names = {"localhost", "covey", socket.gethostname(), *allowed_hosts}
        self._hosts = frozenset(name.lower().rstrip(".") for name in names)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; no exception leaves this, except the cancellation."""
        if scope["type"] not in {"http", "websocket"}:
            await self._app(scope, receive, send)
            return
        request_id = secrets.token_hex(8)
        scope.setdefault("state", {})[REQUEST_ID] = request_id
        response = _Watched(send, request_id)
        began = time.perf_counter()
        try:
            self._keep_browsers_out(scope)
            await self._app(scope, receive, response)
        except ClientGoneError:
            return
        except CoveyError as error:
            await _answer(scope, receive, response, error)
        except Exception:  # noqa: BLE001 - logged, and answered without its details
            _log.exception("request %s failed", request_id)
            await _answer(scope, receive, response, _internal(request_id))
        finally:
            self._metrics.observe(
                scope["state"].get(LABEL, "none"),
                response.status,
                time.perf_counter() - began,
                streamed=response.streamed or scope["type"] == "websocket",
            )

    def _keep_browsers_out(self, scope: Scope) -> None:
        """Refuse what another website makes a browser send: by DNS rebinding or by a form.

        Raises `RefusedError`. A program that is no browser sends neither header.
        """
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if not connection_of(scope).local and _is_loopback(scope) and not self._is_ours(host):
            raise RefusedError(
                f"This node is not called {host[:100]!r}.",
                hint="Use localhost, or add the name to server.advertise in covey.toml.",
            )
        origin = headers.get("origin")
        site = headers.get("sec-fetch-site", "none")
        foreign = origin is not None and origin.partition("://")[2] != host
        navigation = scope.get("method") in {"GET", "HEAD"} and (
            headers.get("sec-fetch-mode") == "navigate"
        )
        if foreign or (site not in {"none", "same-origin"} and not navigation):
            _log.warning("cross-site request from %s refused", address_of(scope))
            raise RefusedError(
                "A page of another website sent this request.",
                hint="Call the API from a program, or from the pages that this node serves.",
            )

    def _is_ours(self, host: str) -> bool:
        name = _host_name(host)
        if name in self._hosts or name.endswith(".localhost"):
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True


class _Watched:
    """Adds the common headers to a response, and remembers how it began."""

    def __init__(self, send: Send, request_id: str) -> None:
        self._send = send
        self._request_id = request_id
        self.started = False
        self.streamed = False
        self.status = 0

    async def __call__(self, message: Message) -> None:
        """Pass a message on."""
        match message["type"]:
            case "http.response.start" | "websocket.http.response.start":
                self.started = True
                self.status = message["status"]
                headers = MutableHeaders(raw=[*message.get("headers", [])])
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
                headers["x-request-id"] = self._request_id
                self.streamed = headers.get("content-type", "").startswith("text/event-stream")
                message = {**message, "headers": headers.raw}
            case "websocket.accept":
                self.started = True
                self.status = 101
                headers = MutableHeaders(raw=[*message.get("headers", [])])
                headers["x-request-id"] = self._request_id
                message = {**message, "headers": headers.raw}
            case _:
                pass
        await self._send(message)


async def _answer(scope: Scope, receive: Receive, send: _Watched, error: CoveyError) -> None:
    if send.started:
        return
    response = error_response(error)
    if scope["type"] == "websocket":
        await WebSocket(scope, receive, send).send_denial_response(response)
    else:
        if error.http_status in {408, 413}:
            response.headers["connection"] = "close"
        await response(scope, receive, send)


def _internal(request_id: str) -> InternalError:
    return InternalError(
        "The request failed inside Covey.",
        hint=f"The log has the details: covey agent logs, request {request_id}",
        details={"request_id": request_id},
    )


def _host_name(host: str) -> str:
    """Return the name or address in a Host header, without the port and brackets."""
    host = host.strip().lower()
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.rpartition(":")[0].rstrip(".") if ":" in host else host.rstrip(".")


def _is_loopback(scope: Scope) -> bool:
    server = scope.get("server")
    try:
        return server is not None and ipaddress.ip_address(server[0]).is_loopback
    except ValueError:
        return False
