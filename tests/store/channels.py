"""Two ends of a connection within one event loop."""

from __future__ import annotations

import asyncio

from covey.errors import UnreachableError
from covey.store.api import NodeId


class MemoryChannel:
    """One end; `room` is how many frames the connection holds before `send` waits."""

    def __init__(self, peer: NodeId, room: int) -> None:
        self.peer = peer
        self.other: MemoryChannel
        self.most_waiting = 0
        self.sent = 0
        self.closed = asyncio.Event()
        self._frames: asyncio.Queue[bytes] = asyncio.Queue(room)

    async def send(self, frame: bytes) -> None:
        self.sent += 1
        await self._or_end(self.other._frames.put(frame))
        self.other.most_waiting = max(self.other.most_waiting, self.other._frames.qsize())

    async def receive(self) -> bytes:
        if not self._frames.empty():
            return self._frames.get_nowait()
        return await self._or_end(self._frames.get())

    async def close(self) -> None:
        self.closed.set()

    async def _or_end(self, work):  # noqa: ANN001, ANN202
        task = asyncio.ensure_future(work)
        ends = [asyncio.ensure_future(each.closed.wait()) for each in (self, self.other)]
        try:
            await asyncio.wait([task, *ends], return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                return task.result()
            raise UnreachableError("The connection was lost.")
        finally:
            for each in (task, *ends):
                each.cancel()


def connected(left: NodeId, right: NodeId, room: int = 2) -> tuple[MemoryChannel, MemoryChannel]:
    """Return the ends of the nodes `left` and `right`."""
    ends = MemoryChannel(right, room), MemoryChannel(left, room)
    ends[0].other, ends[1].other = ends[1], ends[0]
    return ends
