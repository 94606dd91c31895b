"""The errors in the OpenAPI document: one envelope, and which statuses an operation can have."""

from __future__ import annotations

from typing import Any

from covey.operations.registry import Operation
from covey.operations.signature import Location
from covey.operations.wire import Wire

Schema = dict[str, Any]

ERROR_SCHEMA: Schema = {
    "title": "Error",
    "description": "What happened, what it means and what to do next.",
    "type": "object",
    "required": ["error"],
    "additionalProperties": False,
    "properties": {
        "error": {
            "type": "object",
            "required": ["code", "message", "hint", "details"],
            "additionalProperties": False,
            "properties": {
                "code": {"type": "string", "description": "Stable, for programs."},
                "message": {"type": "string", "description": "For people."},
                "hint": {"type": ["string", "null"], "description": "What to do next."},
                "details": {"type": "object", "description": "Facts, for programs."},
            },
        }
    },
}

ERRORS: dict[int, tuple[str, tuple[str, ...]]] = {
    400: ("A parameter has the wrong form.", ("invalid_request",)),
    401: ("The caller did not prove who they are.", ("unauthenticated",)),
    403: ("The caller may not do this.", ("refused",)),
    404: ("The named thing does not exist.", ("not_found",)),
    408: ("The request did not arrive in time.", ("request_timeout",)),
    409: ("The request does not fit the present state.", ("conflict",)),
    412: ("The record has changed since it was read.", ("precondition_failed",)),
    413: ("The body or a value is too large.", ("too_large",)),
    415: ("The body is not JSON.", ("unsupported_media_type",)),
    423: ("The node's keys are locked; unlock it first.", ("locked",)),
    426: ("The operation is a WebSocket alone.", ("upgrade_required",)),
    429: ("Too many requests.", ("rate_limited",)),
    500: ("Covey failed; the log has the details.", ("internal", "failed", "damaged")),
    502: ("Something that Covey depends on could not be reached.", ("unreachable",)),
    504: ("The answer did not come in time.", ("deadline_exceeded",)),
    507: ("The disk or the database refused.", ("storage",)),
}
"""By HTTP status: what it means, and the codes that the envelope then holds."""

_ALWAYS = frozenset({400, 401, 403, 423, 429, 500, 504})
_WITH_BODY = frozenset({408, 413, 415})
_WHEN_CHANGING = frozenset({409, 507})


def statuses_of(operation: Operation, wire: Wire) -> list[int]:
    """Return the statuses of the errors that an operation is known to have."""
    found = set(_ALWAYS)
    if any(
        item.required and item.location is not Location.BODY
        for item in operation.signature.parameters
    ):
        found.add(404)
    if wire.body is not None:
        found |= _WITH_BODY
    if operation.route.method != "GET":
        found |= _WHEN_CHANGING
    if wire.conditional:
        found.add(412)
    if operation.duplex:
        found.add(426)
    return sorted(found)


def error_responses() -> Schema:
    """Return the reusable error responses by status, and the one for any other error."""
    return {
        **{str(status): _response(status, *ERRORS[status]) for status in sorted(ERRORS)},
        "default": _response(0, "Another error.", ()),
    }


def _response(status: int, meaning: str, codes: tuple[str, ...]) -> Schema:
    found: Schema = {
        "description": _described(meaning, codes),
        "headers": {"X-Request-Id": {"$ref": "#/components/headers/RequestId"}},
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
    }
    if status == 429:  # noqa: PLR2004 - the status itself
        found["headers"]["Retry-After"] = {"$ref": "#/components/headers/RetryAfter"}
    return found


def _described(meaning: str, codes: tuple[str, ...]) -> str:
    return f"{meaning} Code: {' or '.join(f'`{code}`' for code in codes)}." if codes else meaning
