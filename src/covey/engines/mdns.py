"""The LAN by mDNS and DNS-SD (RFC 6762, RFC 6763), over IPv4 and IPv6."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import secrets
from collections.abc import Callable, Coroutine

from zeroconf import (  # type: ignore[attr-defined] # old public names
    DNSOutgoing,
    DNSQuestion,
    Error,
    IPVersion,
    NonUniqueNameException,
    ServiceListener,
    Zeroconf,
    current_time_millis,
)
from zeroconf.asyncio import AsyncServiceBrowser, AsyncServiceInfo, AsyncZeroconf

from covey.fleet.beacon import SERVICE_TYPE, Announcement, Heard

_ASK_MS = 3000
_QUERY, _PTR, _INTERNET = 0, 12, 1
_MOST_HEARD = 256
_log = logging.getLogger("covey.lan")
# It warns of each interface that has no multicast, which is nothing to be done about.
logging.getLogger("zeroconf").setLevel(logging.ERROR)


class MdnsRadio:
    """Announces this node and hears others; `changed` is called when what is heard changes.

    An interface that cannot be used, or none at all, is no error: `open` tries again with each
    change of the machine's addresses.
    """

    def __init__(self, changed: Callable[[], None]) -> None:
        self._changed = changed
        self._zeroconf: AsyncZeroconf | None = None
        self._browser: AsyncServiceBrowser | None = None
        self._info: AsyncServiceInfo | None = None
        self._heard: dict[str, Heard] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        # Two homes on one machine may bear one name, and an instance's name is unique on a LAN.
        self._suffix = secrets.token_hex(4)

    @property
    def heard(self) -> list[Heard]:
        """What the other machines announce now."""
        return list(self._heard.values())

    async def announce(self, what: Announcement) -> None:
        """Say this from now on, on every interface that the machine has now."""
        if self._zeroconf is None:
            self._open()
        if self._zeroconf is None:
            return
        fresh = self._service(what)
        try:
            await self._zeroconf.async_update_interfaces()
            if self._info is None:
                await self._zeroconf.async_register_service(fresh)
            elif _said(self._info) != _said(fresh):
                await self._zeroconf.async_update_service(fresh)
            self._info = fresh
        except (OSError, Error, NonUniqueNameException) as error:
            _log.info("the LAN cannot be told of this node: %s", error)

    def ask(self) -> None:
        """Ask who is there: two LANs that were joined hear nothing of each other unasked."""
        if self._zeroconf is None:
            return
        question = DNSOutgoing(_QUERY)
        question.add_question(DNSQuestion(SERVICE_TYPE, _PTR, _INTERNET))
        self._zeroconf.zeroconf.async_send(question)

    async def close(self) -> None:
        """Take leave of the LAN."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        zeroconf, self._zeroconf = self._zeroconf, None
        if zeroconf is None:
            return
        with contextlib.suppress(OSError, Error, TimeoutError):
            if self._browser is not None:
                await self._browser.async_cancel()
            await zeroconf.async_close()

    def _open(self) -> None:
        for version in (IPVersion.All, IPVersion.V4Only):
            try:
                self._zeroconf = AsyncZeroconf(ip_version=version)
                break
            except (OSError, RuntimeError) as error:
                _log.info("mDNS cannot be used (%s): %s", version.name, error)
        else:
            return
        self._browser = AsyncServiceBrowser(
            self._zeroconf.zeroconf, SERVICE_TYPE, listener=_Listener(self._seen, self._gone)
        )

    def _service(self, what: Announcement) -> AsyncServiceInfo:
        instance = f"{what.name}-{self._suffix}"
        return AsyncServiceInfo(
            SERVICE_TYPE,
            f"{instance}.{SERVICE_TYPE}",
            port=what.port,
            properties=dict(what.properties),
            server=f"covey-{self._suffix}.local.",
            parsed_addresses=list(what.addresses),
        )

    def _seen(self, name: str) -> None:
        if self._info is not None and name == self._info.name:
            return
        if name in self._heard or len(self._heard) < _MOST_HEARD:
            self._start(self._ask(name))

    def _gone(self, name: str) -> None:
        if self._heard.pop(name, None) is not None:
            self._changed()

    async def _ask(self, name: str) -> None:
        if self._zeroconf is None:
            return
        info = AsyncServiceInfo(SERVICE_TYPE, name)
        zeroconf = self._zeroconf.zeroconf
        complete = info.load_from_cache(zeroconf, current_time_millis())
        try:
            if not complete and not await info.async_request(zeroconf, _ASK_MS):
                return
        except (OSError, Error):
            return
        heard = _heard(name, info)
        if self._heard.get(name) != heard:
            self._heard[name] = heard
            self._changed()

    def _start(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


class _Listener(ServiceListener):
    def __init__(self, seen: Callable[[str], None], gone: Callable[[str], None]) -> None:
        self._seen = seen
        self._gone = gone

    def add_service(self, zc: Zeroconf, type_: str, name: str) -> None:
        self._seen(name)

    def update_service(self, zc: Zeroconf, type_: str, name: str) -> None:
        self._seen(name)

    def remove_service(self, zc: Zeroconf, type_: str, name: str) -> None:
        self._gone(name)


def _heard(name: str, info: AsyncServiceInfo) -> Heard:
    properties = {key: value or "" for key, value in info.decoded_properties.items()}
    return Heard(
        name.removesuffix("." + SERVICE_TYPE),
        info.port or 0,
        tuple(item for item in info.parsed_addresses() if _can_be_dialled(item)),
        properties,
    )


def _can_be_dialled(address: str) -> bool:
    found = ipaddress.ip_address(address)
    return not (found.is_link_local or found.is_loopback or found.is_multicast)


def _said(info: AsyncServiceInfo) -> tuple[object, ...]:
    return info.port, info.text, sorted(info.parsed_addresses())
