"""The addresses at which other machines may reach this one."""

from __future__ import annotations

import ipaddress

from covey.settings import DEFAULT_PORT, Address, parse_address

_V4 = 4


def reachable_addresses(listen: str) -> list[str]:
    """Return `host:port` texts, the most widely reachable first.

    A wildcard listener stands for every interface, with IPv4 alone if it is IPv4's.
    """
    where = parse_address(listen, default_port=DEFAULT_PORT)
    try:
        wildcard = not where.host or ipaddress.ip_address(where.host).is_unspecified
    except ValueError:
        wildcard = False
    if not wildcard:
        return [str(where)]
    import ifaddr

    found = [
        ip.ip if isinstance(ip.ip, str) else ip.ip[0]
        for adapter in ifaddr.get_adapters()
        for ip in adapter.ips
    ]
    usable = {
        item
        for item in map(ipaddress.ip_address, found)
        if not item.is_link_local and (item.version == _V4 or ":" in where.host)
    }
    outward = [item for item in usable if not item.is_loopback] or list(usable)
    return [str(Address(str(item), where.port)) for item in sorted(outward, key=_rank)]


def _rank(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> tuple[bool, int, int]:
    return (not address.is_global, address.version, int(address))
