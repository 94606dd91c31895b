"""The headers that choose the hosts of a call."""

from __future__ import annotations

from starlette.datastructures import Headers

from covey.errors import InvalidRequestError
from covey.operations.dispatch import MOST_PARALLEL, PARALLEL, Target

HOST_HEADER = "covey-host"
"""Names of hosts, separated by commas. One name: the answer is that host's own."""

ALL_HEADER = "covey-all"
"""`1`: every host of the fleet."""

TAG_HEADER = "covey-tag"
"""Every host with this tag."""

PARALLEL_HEADER = "covey-parallel"
"""How many hosts work at one time."""


def read_target(headers: Headers) -> Target:
    """Return the hosts that a request is for; raises `InvalidRequestError`."""
    hosts = _one(headers, HOST_HEADER)
    everyone = _one(headers, ALL_HEADER)
    tag = _one(headers, TAG_HEADER)
    if hosts is None and everyone is None and tag is None:
        return Target()
    if [hosts, everyone, tag].count(None) != 2:  # noqa: PLR2004 - one of the three is given
        raise InvalidRequestError(
            "The request names its hosts in more than one way.",
            hint="Send one of the headers Covey-Host, Covey-All and Covey-Tag.",
        )
    if everyone is not None and everyone != "1":
        raise InvalidRequestError("The header Covey-All must be 1.")
    if tag is not None and not tag:
        raise InvalidRequestError("The header Covey-Tag names no tag.")
    return Target(
        () if hosts is None else _names(hosts),
        everyone is not None,
        tag,
        _parallel(_one(headers, PARALLEL_HEADER)),
    )


def _names(value: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(name.strip() for name in value.split(",")))
    if not all(names):
        raise InvalidRequestError(
            "The header Covey-Host holds an empty name.", hint="For example: Covey-Host: frigg,odin"
        )
    return names


def _parallel(value: str | None) -> int:
    if value is None:
        return PARALLEL
    if not (value.isascii() and value.isdecimal() and 1 <= int(value[:6]) <= MOST_PARALLEL):
        raise InvalidRequestError(
            f"The header Covey-Parallel must be a number, 1 to {MOST_PARALLEL}."
        )
    return int(value)


def _one(headers: Headers, name: str) -> str | None:
    values = headers.getlist(name)
    if len(values) > 1:
        raise InvalidRequestError(f"The header {name} is given more than once.")
    return values[0].strip() if values else None
