"""Discovery, put together from the settings and the engines that they switch on."""

from __future__ import annotations

import ipaddress
from collections.abc import Awaitable, Callable
from pathlib import Path

from covey.engines.interfaces import AddressWatch
from covey.engines.tailscale import TailscaleClient
from covey.errors import InvalidRequestError, StorageError
from covey.fleet.core import FleetCore
from covey.fleet.neighbourhood import Neighbourhood, Radio, Senses
from covey.settings import Settings, parse_address
from covey.surfaces.peer.service import Gate

_SHORTEST_SECRET = 16
_LONGEST_SECRET = 4096


def make_neighbourhood(
    core: FleetCore,
    settings: Settings,
    *,
    own_addresses: Callable[[], list[str]],
    lan_addresses: Callable[[], list[str]],
    seeded: Callable[[], list[str]],
    announce: Callable[[], Awaitable[None]],
) -> Neighbourhood:
    """Return a node's discovery.

    A node that listens on loopback alone takes no part in what concerns other machines.
    """
    outward = not _is_loopback(parse_address(settings.server.listen).host)
    found = settings.discovery
    return Neighbourhood(
        core,
        settings,
        Senses(
            own_addresses=own_addresses,
            lan_addresses=lan_addresses,
            seeded=seeded,
            radio=_radio if found.mdns and outward else None,
            tailnet=(
                TailscaleClient(found.tailscale_socket)
                if found.tailscale and (outward or found.tailscale_socket)
                else None
            ),
            watch=AddressWatch if outward else None,
            announce=announce,
        ),
    )


def _radio(changed: Callable[[], None]) -> Radio:
    # Not above: a node that has no LAN is spared the memory of the mDNS library.
    from covey.engines.mdns import MdnsRadio

    return MdnsRadio(changed)


def make_gate(node_id: str, settings: Settings) -> Gate:
    """Read the shared secret; raises `StorageError` or `InvalidRequestError`."""
    path = settings.fleet.shared_secret_file
    if not path:
        return Gate(node_id)
    try:
        with Path(path).open("rb") as file:
            secret = file.read(_LONGEST_SECRET + 1).strip()
    except OSError as error:
        raise StorageError(
            f"The shared secret in {path} cannot be read: {error.strerror}.",
            hint="Give your user read access to it, or unset fleet.shared_secret_file.",
        ) from error
    if not _SHORTEST_SECRET <= len(secret) <= _LONGEST_SECRET:
        raise InvalidRequestError(
            f"The shared secret in {path} has {len(secret)} characters.",
            hint=f"Use {_SHORTEST_SECRET} to {_LONGEST_SECRET}: openssl rand -hex 32 > {path}",
        )
    return Gate(node_id, secret)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
