"""Calls between nodes: what is asked of a peer, and the stream that the call runs over."""

from __future__ import annotations

from enum import StrEnum
from typing import Protocol

import msgspec

from covey.store.api import NodeId

MAX_MESSAGE_BYTES = 16 << 20
"""One item, one result, or one call's arguments, encoded."""


class Route(StrEnum):
    """Which way a call reaches its host."""

    LOCAL = "local"
    DIRECT = "direct"
    RELAYED = "relayed"
    SSH = "ssh"


class CallHeader(msgspec.Struct, frozen=True, array_like=True):
    """The first message of a call.

    `arguments` is the operation's arguments struct in MessagePack; `assertion` says who calls,
    signed by the calling node; `deadline_ms` is how long the caller waits, or None.
    """

    operation: str
    arguments: bytes
    assertion: bytes
    deadline_ms: int | None = None


class CallStream(Protocol):
    """One call, as its caller holds it. Items are MessagePack, one message each."""

    @property
    def route(self) -> Route:
        """Which way the call goes."""

    async def send(self, item: bytes) -> None:
        """Send one input item; waits while the far side does not read.

        Input that the far side wants no more is dropped; `receive` tells how the call ended.
        """

    async def end_input(self) -> None:
        """Say that there is no more input."""

    async def receive(self) -> bytes | None:
        """Return the next item, or None at the good end; raises the far side's `CoveyError`."""

    async def cancel(self) -> None:
        """Give the call up: the far side's operation is cancelled. After the end, a no-op."""


class IncomingCall(Protocol):
    """One call, as the node that serves it holds it."""

    async def receive(self) -> bytes | None:
        """Return the next message, or None when there is no more input.

        Raises `CallCancelledError` when the caller gave the call up or is gone.
        """

    async def send(self, item: bytes) -> None:
        """Send one item; waits while the caller does not read. Raises `CallCancelledError`."""

    async def finish(self, error: bytes = b"") -> None:
        """End the call: well, or with an encoded error."""

    async def cancelled(self) -> None:
        """Return once the caller gave the call up or is gone."""


class PeerCalls(Protocol):
    """Opens calls to other members, over whichever way reaches them."""

    async def open(self, node_id: NodeId, call: CallHeader) -> CallStream:
        """Start a call; raises `UnreachableError` when no way leads to the member."""
