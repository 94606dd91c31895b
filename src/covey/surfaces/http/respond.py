"""From results and errors to HTTP responses: JSON, the error envelope, ETag."""

from __future__ import annotations

import re
from typing import Any

from starlette.datastructures import Headers
from starlette.responses import Response

from covey.errors import CoveyError, RateLimitedError, UnauthenticatedError
from covey.operations.codec import to_json
from covey.operations.wire import VERSION, Wire

_JSON = "application/json"
_UPGRADE_REQUIRED = 426
_SURE = re.compile(r"[\x21\x23-\x7e]+\Z")


def result_response(result: Any, wire: Wire, headers: Headers, method: str) -> Response:
    """Answer with a result; a reader who already has this version gets 304 (RFC 9110, 13.1.2)."""
    extra = {}
    if wire.versioned and _SURE.match(getattr(result, VERSION)):
        tag = f'"{getattr(result, VERSION)}"'
        extra["etag"] = tag
        if method in {"GET", "HEAD"} and _names(headers.getlist("if-none-match"), tag):
            return Response(status_code=304, headers=extra)
    return Response(to_json(result), 200, extra, _JSON)


def _names(values: list[str], tag: str) -> bool:
    given = {item.strip().removeprefix("W/") for value in values for item in value.split(",")}
    return tag in given or "*" in given


def error_form(error: CoveyError) -> dict[str, object]:
    """Return an error as every surface shows it."""
    return {
        "error": {
            "code": error.code,
            "message": error.message,
            "hint": error.hint,
            "details": dict(error.details),
        }
    }


def envelope(error: CoveyError) -> bytes:
    """Encode an error as JSON."""
    return to_json(error_form(error))


def error_response(error: CoveyError, extra: dict[str, str] | None = None) -> Response:
    """Answer with the error envelope, and the headers that belong to its status."""
    headers = dict(extra or {})
    if isinstance(error, UnauthenticatedError):
        headers["www-authenticate"] = 'Bearer realm="covey"'
    if error.http_status == _UPGRADE_REQUIRED:
        headers["upgrade"] = "websocket"
    if isinstance(error, RateLimitedError) and "retry_after" in error.details:
        headers["retry-after"] = str(error.details["retry_after"])
    return Response(envelope(error), error.http_status, headers, _JSON)


def media_response(
    content: bytes, media_type: str, extra: dict[str, str] | None = None
) -> Response:
    """Answer with ready bytes."""
    return Response(content, 200, {**(extra or {}), "content-type": media_type})
