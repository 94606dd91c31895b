"""The arguments and results of the operations on routes."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import msgspec
from msgspec import Meta

RouteName = Annotated[
    str,
    Meta(pattern="^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$", description="The route's name."),
]
Upstream = Annotated[
    str,
    Meta(
        min_length=3,
        max_length=300,
        description="Where requests go, as HOST:PORT; or HOST:PORT=WEIGHT, such as a percentage.",
    ),
]
HeaderLine = Annotated[
    str,
    Meta(
        pattern=r"^[!#$%&'*+.^_`|~0-9A-Za-z-]+:",
        max_length=4000,
        description="A header, as 'Name: value'.",
    ),
]
Network = Annotated[
    str, Meta(max_length=50, description="A network or address that may ask, such as 10.0.0.0/8.")
]


class RouteView(msgspec.Struct, frozen=True):
    """A route: whose it is, where it is reached, and where it leads.

    `tls` says where the certificate comes from. `problem` says why the routes of an owner are not
    served; then the rest is empty.
    """

    owner: str
    url: str = ""
    hosts: list[str] = []
    path: str = "/"
    to: list[str] = []
    tls: str = ""
    strip: bool = False
    users: list[str] = []
    allow_from: list[str] = []
    max_body_bytes: int | None = None
    headers: dict[str, str] = {}
    problem: str = ""


class CertificateView(msgspec.Struct, frozen=True):
    """A certificate that was uploaded, or that clients are shown at present."""

    host: str
    source: str
    names: list[str] = []
    issuer: str = ""
    expires: datetime | None = None


class AuthorityView(msgspec.Struct, frozen=True):
    """The root certificate (PEM) that signs the certificates of private names."""

    certificate: str


class ProxyStopped(msgspec.Struct, frozen=True):
    """How many routes are served no more until the next start."""

    routes: int
