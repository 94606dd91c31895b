"""Whether the other end of a link is there still, and how far away it is."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Protocol

from covey.errors import UnreachableError
from covey.fleet.waiting import wait_a_while
from covey.store.api import NodeId
from covey.store.ports import Channel

FAST_S = 0.8
SLOW_S = 15.0
DOUBT_S = 1.2
ANSWER_S = 1.0
GIVE_UP_S = 8.0
_LEAST_WAIT_S = 0.02


class LinkChannel(Channel, Protocol):
    """A channel that can be tested and cut."""

    async def ping(self) -> None:
        """Return once the peer has answered; raises `UnreachableError` if it is gone."""

    def abort(self) -> None:
        """Cut the connection without a word."""


class Pulse:
    """A channel that is listened to: what is heard or answered shows that the peer lives.

    A peer that is silent for `DOUBT_S` after it was asked is doubted, and cut off after
    `GIVE_UP_S`: a busy one answers late, and a lost line that is not cut off stays slow after its
    return, because TCP waits ever longer.
    """

    def __init__(self, channel: LinkChannel) -> None:
        self._channel = channel
        self._interval = SLOW_S
        self._hurry = asyncio.Event()
        self._heard = self._asked = time.monotonic()
        self._listening_since: float | None = None
        self.heard_at = time.time()
        self.round_trip_s: float | None = None
        self.doubted = False

    @property
    def peer(self) -> NodeId:
        """The peer's node id."""
        return self._channel.peer

    async def send(self, frame: bytes) -> None:
        """Send one frame."""
        await self._channel.send(frame)

    async def receive(self) -> bytes:
        """Return the next frame."""
        self._listening_since = time.monotonic()
        frame = await self._channel.receive()
        self._note()
        self._listening_since = None
        return frame

    async def close(self) -> None:
        """End the connection."""
        await self._channel.close()

    def quicken(self, *, fast: bool) -> None:
        """Test each second, or now and then."""
        interval = FAST_S if fast else SLOW_S
        if interval < self._interval:
            self._hurry.set()
        self._interval = interval

    async def answers(self) -> bool:
        """Whether the peer answers soon."""
        try:
            async with asyncio.timeout(ANSWER_S):
                await self._channel.ping()
        except (UnreachableError, TimeoutError):
            return False
        return True

    async def beat(self, changed: Callable[[], None]) -> None:
        """Test the connection until it is lost, and cut it then.

        Calls `changed` when the peer is doubted and when it is trusted again.
        """
        while True:
            asked = asyncio.ensure_future(self._ask())
            try:
                while not asked.done():
                    await asyncio.wait({asked}, timeout=self._patience())
                    silent = self._silent_for()
                    if not asked.done() and silent >= GIVE_UP_S:
                        self._channel.abort()
                        return
                    self._doubt(not asked.done() and silent >= DOUBT_S, changed)
                asked.result()
            except UnreachableError:
                return
            finally:
                asked.cancel()
            await wait_a_while(self._hurry, self._interval)
            self._hurry.clear()

    async def _ask(self) -> None:
        self._asked = time.monotonic()
        await self._channel.ping()
        self.round_trip_s = time.monotonic() - self._asked
        self._note()

    def _silent_for(self) -> float:
        """Return how long nothing came although it was asked for, and read, here."""
        if self._listening_since is None:
            return 0.0
        since = max(self._heard, self._asked, self._listening_since)
        return time.monotonic() - since

    def _patience(self) -> float:
        """Return how long to wait until silence means more than it does now."""
        limit = GIVE_UP_S if self.doubted else DOUBT_S
        return max(_LEAST_WAIT_S, limit - self._silent_for())

    def _doubt(self, doubted: bool, changed: Callable[[], None]) -> None:  # noqa: FBT001
        if doubted != self.doubted:
            self.doubted = doubted
            changed()

    def _note(self) -> None:
        self._heard = time.monotonic()
        self.heard_at = time.time()
