"""Wait for what other programs do."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")


async def until(
    condition: Callable[[], T | Awaitable[T]], *, within_s: float = 15.0, every_s: float = 0.02
) -> T:
    """Ask until the answer is true, and return it."""
    deadline = time.monotonic() + within_s
    while True:
        found = condition()
        answer: T = await found if inspect.isawaitable(found) else found
        if answer:
            return answer
        assert time.monotonic() < deadline, "what was waited for did not come"
        await asyncio.sleep(every_s)
