"""How long to wait before another attempt."""

from __future__ import annotations

import random

from covey.jobs.api import Retry

_LARGEST_POWER = 64


def wait_before_next(retry: Retry, attempt: int, spread: float | None = None) -> float:
    """Return the seconds between attempt number `attempt` and the next one.

    `spread` from -1 to 1 says where in the jitter the wait lies; None chooses at random.
    """
    if spread is None:
        spread = random.uniform(-1, 1)  # noqa: S311 - spreads load, guards nothing
    power = min(attempt - 1, _LARGEST_POWER)
    wait = min(retry.first_wait_s * retry.factor**power, retry.longest_wait_s)
    return max(0.0, wait * (1 + retry.jitter * spread))
