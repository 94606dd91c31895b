"""A bad cable between two namespaces: frames are lost by chance, or come late.

`tc netem` would do the same, but many kernels for containers and virtual machines come without
it. Here two TAP devices are the cable's ends, and a thread carries frames from one to the other.
"""

from __future__ import annotations

import fcntl
import heapq
import os
import random
import select
import struct
import subprocess
import threading
import time

_TUNSETIFF = 0x400454CA
_IFF_TAP = 0x0002
_IFF_NO_PI = 0x1000
_FRAME_BYTES = 65_535
_LONGEST_QUEUE = 10_000


class Wire:
    """Carries frames both ways until it is closed, and its ends vanish with it."""

    def __init__(
        self, here: str, name: str, there: str, far_name: str, loss: float, delay_s: float
    ) -> None:
        self._loss = loss
        self._delay_s = delay_s
        self._chance = random.Random(13_500)
        self._ends = [_tap(here, name), _tap(there, far_name)]
        self._waiting: list[tuple[float, int, int, bytes]] = []
        self._count = 0
        self.lost = 0
        self._wake, self._waker = os.pipe()
        self._thread = threading.Thread(target=self._carry, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Take the cable away."""
        os.write(self._waker, b"x")
        self._thread.join(5)
        for end in (*self._ends, self._wake, self._waker):
            os.close(end)

    def _carry(self) -> None:
        while True:
            due = self._waiting[0][0] - time.monotonic() if self._waiting else None
            wait = None if due is None else max(0.0, due)
            ready, _, _ = select.select([*self._ends, self._wake], [], [], wait)
            if self._wake in ready:
                return
            for end in ready:
                self._take(end)
            self._deliver()

    def _take(self, end: int) -> None:
        frame = os.read(end, _FRAME_BYTES)
        if self._chance.random() < self._loss or len(self._waiting) > _LONGEST_QUEUE:
            self.lost += 1
            return
        other = self._ends[1] if end == self._ends[0] else self._ends[0]
        self._count += 1
        heapq.heappush(self._waiting, (time.monotonic() + self._delay_s, self._count, other, frame))

    def _deliver(self) -> None:
        while self._waiting and self._waiting[0][0] <= time.monotonic():
            _, _, end, frame = heapq.heappop(self._waiting)
            try:
                os.write(end, frame)
            except OSError:
                self.lost += 1


def _tap(space: str, name: str) -> int:
    """Make a TAP device, move it into a namespace, and return what reads and writes its frames."""
    end = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
    made = f"t{os.getpid() % 100_000}x{end}"
    request = struct.pack("16sH22x", made.encode(), _IFF_TAP | _IFF_NO_PI)
    fcntl.ioctl(end, _TUNSETIFF, request)
    subprocess.run(["ip", "link", "set", made, "netns", space, "name", name], check=True)
    return end
