"""What a machine tells of itself when it joins."""

from __future__ import annotations

import platform
import socket
from typing import Annotated

import msgspec
from msgspec import Meta

from covey import __version__
from covey.errors import InvalidRequestError

# Python's `$` also matches before a last line break, hence the `(?!\n)`.
NAME_PATTERN = r"^[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?(?!\n)$"
NodeName = Annotated[
    str, Meta(pattern=NAME_PATTERN, max_length=63, description="A machine's name in the fleet.")
]


class Machine(msgspec.Struct, frozen=True):
    """A machine's own description; `name` is the name that it would like to have."""

    name: NodeName
    hostname: Annotated[str, Meta(max_length=255)] = ""
    os: Annotated[str, Meta(max_length=255)] = ""
    covey_version: Annotated[str, Meta(max_length=64)] = ""
    tailscale: Annotated[str, Meta(max_length=255)] = ""


def this_machine(name: str = "", tailscale: str = "") -> Machine:
    """Describe this machine; without a name it takes its host name."""
    hostname = socket.gethostname()
    system = f"{platform.system()} {platform.release()} {platform.machine()}"
    chosen = check_name(name or suggest_name(hostname))
    return Machine(chosen, hostname, system, __version__, tailscale)


def check_name(name: str) -> str:
    """Return the name if it is fit to be one; raises `InvalidRequestError`."""
    try:
        return msgspec.convert(name, NodeName)
    except msgspec.ValidationError as error:
        raise InvalidRequestError(
            f"{name[:80]!r} is not a name for a machine.",
            hint="Use up to 63 letters, digits, dots, hyphens and underscores.",
        ) from error


def suggest_name(hostname: str) -> str:
    """Make a fit name from a host name."""
    first = hostname.split(".", maxsplit=1)[0]
    kept = "".join(char if char.isascii() and char.isalnum() else "-" for char in first)
    return kept.strip("-")[:63].strip("-").lower() or "node"
