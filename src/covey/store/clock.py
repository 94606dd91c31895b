"""The hybrid logical clock (Kulkarni et al., 2014) that orders the writes of all nodes.

A timestamp is one integer: 47 bits of milliseconds since the epoch, then a 16-bit counter, so that
it fits a signed 64-bit column and sorts by time. A full counter carries into the milliseconds.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from covey.errors import InvalidRequestError

COUNTER_BITS = 16
MAX_HLC = (1 << 63) - 1
DEFAULT_DRIFT_S = 600

_COUNTER = (1 << COUNTER_BITS) - 1
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TEXT = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3})Z/([0-9a-f]{4})")


class HybridClock:
    """Gives timestamps that only grow, near the wall clock and after everything observed.

    They go back in one case: when the wall clock was set back by more than the drift. Otherwise
    others would hold out all that this node writes until that time has really come.
    `wall_ms` returns milliseconds since the epoch and may jump; `last` is the greatest timestamp
    of an earlier process. Safe to use from several threads.
    """

    def __init__(
        self, wall_ms: Callable[[], int], *, drift_s: float = DEFAULT_DRIFT_S, last: int = 0
    ) -> None:
        self._wall_ms = wall_ms
        self._drift_ms = int(drift_s * 1000)
        self._last = last
        self._lock = threading.Lock()

    @property
    def last(self) -> int:
        """The greatest timestamp given or observed."""
        return self._last

    def wall_ms(self) -> int:
        """Return the wall clock's milliseconds since the epoch, never negative."""
        return max(0, self._wall_ms())

    def tick(self, after: int = 0) -> int:
        """Return a new timestamp, greater than `after` and than all before it that are credible."""
        with self._lock:
            last = self._last if self._last < self.horizon() else 0
            self._last = max(from_ms(self.wall_ms()), last + 1, after + 1)
            return self._last

    def admits(self, hlc: int) -> bool:
        """Whether a timestamp is at most the bounded drift ahead of the wall clock."""
        return 0 <= hlc <= self.horizon()

    def horizon(self) -> int:
        """Return the greatest timestamp that `admits` accepts now."""
        return min(MAX_HLC, from_ms(self.wall_ms() + self._drift_ms) | _COUNTER)

    def observe(self, hlc: int) -> bool:
        """Take note of another node's timestamp; returns False and ignores an absurd one."""
        if not self.admits(hlc):
            return False
        with self._lock:
            self._last = max(self._last, hlc)
        return True


def from_ms(ms: int, counter: int = 0) -> int:
    """Return the timestamp of a millisecond since the epoch."""
    return min(MAX_HLC, (ms << COUNTER_BITS) | counter)


def to_ms(hlc: int) -> int:
    """Return the milliseconds since the epoch of a timestamp."""
    return hlc >> COUNTER_BITS


def format_hlc(hlc: int) -> str:
    """Return `2026-01-31T12:00:00.000Z/0000`: UTC, then the counter in hexadecimal."""
    at = _EPOCH + timedelta(milliseconds=to_ms(hlc))
    return f"{at:%Y-%m-%dT%H:%M:%S}.{at.microsecond // 1000:03}Z/{hlc & _COUNTER:04x}"


def parse_hlc(text: str) -> int:
    """Return the timestamp that `format_hlc` wrote; raises `InvalidRequestError`."""
    match = _TEXT.fullmatch(text)
    try:
        at = datetime.fromisoformat(f"{match[1]}+00:00") if match else None
    except ValueError:
        at = None
    if match is None or at is None:
        raise InvalidRequestError(
            f"{text!r} is not a timestamp of this fleet.",
            hint="write it like 2026-01-31T12:00:00.000Z/0000",
        )
    ms = (at - _EPOCH) // timedelta(milliseconds=1)
    if ms < 0 or ms > to_ms(MAX_HLC):
        raise InvalidRequestError(
            f"{text!r} is outside the years that a timestamp can hold.",
            hint="use a year from 1970 to 6429",
        )
    return from_ms(ms, int(match[2], 16))
