"""Addresses that people added by hand on this machine."""

from __future__ import annotations

import time

import msgspec

from covey.errors import InvalidRequestError, NotFoundError
from covey.settings import DEFAULT_PORT, parse_address
from covey.store.ports import LocalState

_NAMESPACE = "addresses"
_MOST = 256


class AddedAddress(msgspec.Struct, frozen=True):
    """An address that is dialled because somebody said so; `added_at` is seconds since 1970."""

    address: str
    added_at: float


class AddedAddresses:
    """Keeps them in this node's own state."""

    def __init__(self, local: LocalState) -> None:
        self._local = local

    def list(self) -> list[AddedAddress]:
        """Return all of them."""
        found = self._local.scan_local(_NAMESPACE)
        return [msgspec.json.decode(value, type=AddedAddress) for _, value in found]

    async def add(self, text: str) -> AddedAddress:
        """Keep an address; raises `InvalidRequestError` if it is none, or if there are too many."""
        address = read_address(text)
        present = {item.address: item for item in self.list()}
        if address in present:
            return present[address]
        if len(present) >= _MOST:
            raise InvalidRequestError(
                f"There are {_MOST} added addresses already.",
                hint="Remove one: covey fleet forget ADDRESS",
            )
        added = AddedAddress(address, time.time())
        await self._local.put_local(_NAMESPACE, address, msgspec.json.encode(added))
        return added

    async def forget(self, text: str) -> str:
        """Drop an address and return it; raises `NotFoundError`."""
        address = read_address(text)
        if self._local.get_local(_NAMESPACE, address) is None:
            raise NotFoundError(
                f"{address} was not added on this machine.",
                hint="See what is known: covey fleet discover",
            )
        await self._local.put_local(_NAMESPACE, address, None)
        return address


def read_address(text: str) -> str:
    """Return `host:port`; raises `InvalidRequestError`."""
    try:
        return str(parse_address(text, default_port=DEFAULT_PORT))
    except ValueError as error:
        raise InvalidRequestError(
            f"{error}.", hint="Write a host name or an IP address, and :PORT if it is not 13500."
        ) from error
