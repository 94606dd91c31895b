"""The node's own pages: health, metrics, the OpenAPI document and its reader."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.resources import files

from starlette.requests import Request
from starlette.responses import Response

from covey.operations.access import Role, authorize
from covey.operations.codec import to_json
from covey.operations.openapi import METRICS, encode_openapi
from covey.operations.registry import Registry
from covey.surfaces.http.endpoints import Gate
from covey.surfaces.http.metrics import Metrics
from covey.surfaces.http.respond import media_response
from covey.surfaces.http.routing import HttpHandler, Row

_DOCS_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_STATIC = {
    "/docs": ("index.html", "text/html; charset=utf-8"),
    "/docs/reader.css": ("reader.css", "text/css; charset=utf-8"),
    "/docs/reader.js": ("reader.js", "text/javascript; charset=utf-8"),
    "/docs/schema.js": ("schema.js", "text/javascript; charset=utf-8"),
    "/docs/dom.js": ("dom.js", "text/javascript; charset=utf-8"),
    "/docs/try.js": ("try.js", "text/javascript; charset=utf-8"),
    "/docs/icon.svg": ("icon.svg", "image/svg+xml"),
}


@dataclass(slots=True)
class Pages:
    """Makes the rows of the pages; the OpenAPI document is made when it is first asked for."""

    gate: Gate
    registry: Registry
    metrics: Metrics
    health: Callable[[], str]
    _openapi: bytes = field(default=b"", init=False)

    def rows(self) -> list[Row]:
        """Return the pages' rows; of them, only the metrics need a caller."""
        rows = [
            Row("GET", "/health", None, "health", self._health),
            Row("GET", "/metrics", Role.VIEWER, METRICS, self._metrics),
            Row("GET", "/openapi.json", None, "openapi", self._document),
            Row("GET", "/", None, "docs", self._to_docs),
        ]
        rows += [
            Row("GET", path, None, "docs", self._static(name, media_type))
            for path, (name, media_type) in _STATIC.items()
        ]
        return rows

    async def _health(self, request: Request, _params: dict[str, str]) -> Response:
        self.gate.pass_anybody(request.scope)
        return media_response(to_json({"status": "ok", "state": self.health()}), "application/json")

    async def _metrics(self, request: Request, _params: dict[str, str]) -> Response:
        authorize(self.gate.enter(request.scope), METRICS, Role.VIEWER)
        return media_response(self.metrics.render(), self.metrics.media_type)

    async def _document(self, request: Request, _params: dict[str, str]) -> Response:
        self.gate.pass_anybody(request.scope)
        self._openapi = self._openapi or encode_openapi(self.registry)
        return media_response(self._openapi, "application/json")

    async def _to_docs(self, request: Request, _params: dict[str, str]) -> Response:
        self.gate.pass_anybody(request.scope)
        return Response(status_code=307, headers={"location": "/docs"})

    def _static(self, name: str, media_type: str) -> HttpHandler:
        async def serve(request: Request, _params: dict[str, str]) -> Response:
            self.gate.pass_anybody(request.scope)
            content = (files("covey.surfaces.http") / "static" / name).read_bytes()
            headers = {"content-security-policy": _DOCS_POLICY, "cache-control": "no-cache"}
            return media_response(content, media_type, headers)

        return serve
