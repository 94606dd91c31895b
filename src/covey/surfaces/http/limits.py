"""Rate limits: token buckets by caller and by address, in bounded memory."""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Callable

from covey.errors import RateLimitedError
from covey.operations.access import Caller, CallerKind
from covey.operations.networks import network_of

_MOST_BUCKETS = 10_000
_MINUTE = 60.0


class TokenBuckets:
    """One bucket for each key: `per_minute` tokens, refilled evenly; the least used are forgotten.

    A `per_minute` of 0 is no limit. `clock` returns seconds that never go back.
    """

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._size = float(per_minute)
        self._rate = per_minute / _MINUTE
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._buckets)

    def take(self, key: str) -> float:
        """Take a token and return 0, or take none and return the seconds until there is one."""
        level = self._level(key)
        wait = self._until_one(level)
        if wait > 0 or self._rate <= 0:
            return wait
        self._buckets[key] = (level - 1.0, self._clock())
        self._buckets.move_to_end(key)
        while len(self._buckets) > _MOST_BUCKETS:
            self._buckets.popitem(last=False)
        return 0.0

    def _until_one(self, level: float) -> float:
        return max(0.0, (1.0 - level) / self._rate) if self._rate > 0 else 0.0

    def _level(self, key: str) -> float:
        level, since = self._buckets.get(key, (self._size, 0.0))
        return min(self._size, level + (self._clock() - since) * self._rate)


class FailedAttempts:
    """A stricter bucket by address for credentials that were refused.

    A valid token is let in whatever its neighbours do: with 256 random bits there is nothing to
    guess, and one program with an old token must not lock out the others behind its address.
    """

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._buckets = TokenBuckets(per_minute, clock)

    def count(self, address: str) -> None:
        """Count one refused credential; raises `RateLimitedError` when there were too many."""
        wait = self._buckets.take(network_of(address))
        if wait > 0:
            raise _limited("Too many wrong tokens came from this address.", wait)


class RateLimits:
    """The limits on requests; this machine's own user on the Unix socket has none."""

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._callers = TokenBuckets(per_minute, clock)
        self._addresses = TokenBuckets(per_minute, clock)

    def caller(self, caller: Caller) -> None:
        """Count a request of a known caller; raises `RateLimitedError`."""
        if caller.kind is CallerKind.LOCAL:
            return
        wait = self._callers.take(f"{caller.kind} {caller.name}")
        if wait > 0:
            raise _limited(f"{caller.name} has sent too many requests.", wait)

    def stranger(self, address: str) -> None:
        """Count a request of nobody known; raises `RateLimitedError`."""
        wait = self._addresses.take(network_of(address))
        if wait > 0:
            raise _limited("Too many requests came from this address.", wait)


def _limited(message: str, wait: float) -> RateLimitedError:
    seconds = max(1, math.ceil(wait))
    return RateLimitedError(
        message,
        hint=f"Try again in {seconds} s; api.rate_limit_per_minute in covey.toml sets the limit.",
        details={"retry_after": seconds},
    )
