"""From a command and its values to an HTTP request; pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlencode

import msgspec

from covey.operations.command_document import Command

EVENT_STREAM = "text/event-stream"

_SAFE_TO_REPEAT = frozenset({"GET", "HEAD", "PUT", "DELETE"})


@dataclass(frozen=True, slots=True)
class Request:
    """What is sent: `target` is the path with its query."""

    method: str
    target: str
    body: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def repeatable(self) -> bool:
        """Whether sending it twice does the same as once (RFC 9110, 9.2.2)."""
        return self.method in _SAFE_TO_REPEAT


def build_request(command: Command, values: Mapping[str, Any]) -> Request:
    """Put each value where the route wants it; what is None is left to its default."""
    in_path: dict[str, Any] = {}
    query: list[tuple[str, str]] = []
    body: dict[str, Any] = {}
    has_body = False
    for param in command.params:
        value = values.get(param.name)
        match param.location:
            case "path":
                in_path[param.name] = value
            case "query" if value is not None:
                items = value if isinstance(value, (list, tuple)) else (value,)
                query.extend((param.name, _plain(item)) for item in items)
            case "body":
                has_body = True
                if value is not None:
                    body[param.name] = value
            case _:
                pass
    headers = {"Accept": EVENT_STREAM if command.streams else "application/json"}
    content = None
    if has_body:
        headers["Content-Type"] = "application/json"
        content = msgspec.json.encode(body)
    path = fill_route(command.route, in_path)
    target = f"{path}?{urlencode(query)}" if query else path
    return Request(command.method, target, content, headers)


def fill_route(route: str, values: Mapping[str, Any]) -> str:
    """Put values into their places in a route; none of them reaches out of its place."""
    for name, value in values.items():
        route = route.replace("{" + name + "}", quote(_plain(value), safe=""))
    return route


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return str(value)
