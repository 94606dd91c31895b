"""A route: which requests go where, and under which rules."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import msgspec

Host = Annotated[
    str,
    msgspec.Meta(
        min_length=1,
        max_length=253,
        description="A host name, or *.example.org for all names one level below.",
    ),
]


class Balance(StrEnum):
    """How requests are spread over the addresses of a pool."""

    ROUND_ROBIN = "round-robin"
    LEAST_CONNECTIONS = "least-connections"
    RANDOM = "random"


class HealthCheck(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The proxy's own check of the addresses behind a pool."""

    path: str = "/"
    interval_s: float = 10.0
    timeout_s: float = 5.0


class Pool(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Addresses (`host:port`) behind a name that can be exchanged without a reload.

    `weight` is this pool's share among the pools of its route.
    """

    name: str
    weight: int = 1


class Proxied(msgspec.Struct, frozen=True, tag="proxy", tag_field="to", forbid_unknown_fields=True):
    """Requests go to the addresses of pools."""

    pools: tuple[Pool, ...]
    balance: Balance = Balance.ROUND_ROBIN
    health: HealthCheck | None = None
    tls_upstream: bool = False


class Files(msgspec.Struct, frozen=True, tag="files", tag_field="to", forbid_unknown_fields=True):
    """Requests get files of a directory, which may be a link that is renamed over.

    `fallback` is served with 200 where nothing is found (single-page apps), `not_found` with 404.
    """

    root: str
    fallback: str | None = None
    not_found: str | None = None


class Redirect(
    msgspec.Struct, frozen=True, tag="redirect", tag_field="to", forbid_unknown_fields=True
):
    """Requests are sent elsewhere; the path and query are kept unless the target has a path."""

    target: str
    permanent: bool = True


class Answer(msgspec.Struct, frozen=True, tag="answer", tag_field="to", forbid_unknown_fields=True):
    """Requests get this page, such as that of maintenance."""

    status: int
    body: str
    content_type: str = "text/html; charset=utf-8"


Target = Proxied | Files | Redirect | Answer


class TlsMode(StrEnum):
    """Where a host's certificate comes from."""

    AUTO = "auto"
    """ACME for public names, the node's own authority for private ones: `*.localhost`,
    `*.internal`, addresses, names without a dot."""
    ACME = "acme"
    INTERNAL = "internal"
    CUSTOM = "custom"
    """A certificate that was uploaded for this host."""
    OFF = "off"
    """Plain HTTP."""


class BasicAuth(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A user and the bcrypt hash of the password."""

    username: str
    password_hash: str


class RouteRules(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What holds for requests of a route besides where they go."""

    tls: TlsMode = TlsMode.AUTO
    basic_auth: tuple[BasicAuth, ...] = ()
    allow_from: tuple[str, ...] = ()
    """Networks that may ask; empty means all."""
    max_body_bytes: int | None = None
    compress: bool = True
    response_timeout_s: float | None = None
    headers: dict[str, str] = {}
    """Added to each answer."""


class Route(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Requests for one of `hosts` whose path starts with `path` go to `target`.

    The longest path of a host wins. `strip` takes the prefix off before passing a request on.
    """

    hosts: tuple[Host, ...]
    target: Target
    path: str = "/"
    strip: bool = False
    rules: RouteRules = RouteRules()
