"""Word from the system that this machine's addresses changed."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable

_GROUPS = 0x10 | 0x100 | 0x40
"""RTMGRP_IPV4_IFADDR, RTMGRP_IPV6_IFADDR, RTMGRP_IPV4_ROUTE of rtnetlink(7)."""
_SETTLE_S = 0.2
_POLL_S = 15.0
_READ_BYTES = 65_536


class AddressWatch:
    """Calls `changed` after addresses or routes changed: at once on Linux, else each 15 seconds."""

    def __init__(self, changed: Callable[[], None]) -> None:
        self._changed = changed
        self._socket: socket.socket | None = None
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin to watch."""
        loop = asyncio.get_running_loop()
        if hasattr(socket, "AF_NETLINK"):
            with contextlib.suppress(OSError):
                self._socket = _listen()
                loop.add_reader(self._socket.fileno(), self._told)
        if self._socket is None:
            self._timer = loop.call_later(_POLL_S, self._poll)

    def close(self) -> None:
        """Watch no more."""
        if self._timer is not None:
            self._timer.cancel()
        if self._socket is not None:
            asyncio.get_running_loop().remove_reader(self._socket.fileno())
            self._socket.close()
            self._socket = None

    def _told(self) -> None:
        with contextlib.suppress(OSError):
            while self._socket is not None:
                self._socket.recv(_READ_BYTES)
        # An interface that comes up is told of in many messages.
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_SETTLE_S, self._settled)

    def _settled(self) -> None:
        self._timer = None
        self._changed()

    def _poll(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(_POLL_S, self._poll)
        self._changed()


def _listen() -> socket.socket:
    opened = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
    opened.setblocking(False)  # noqa: FBT003 - the standard library's signature
    opened.bind((0, _GROUPS))
    return opened
