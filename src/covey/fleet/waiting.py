"""Waiting for an event for a limited time."""

from __future__ import annotations

import asyncio
import contextlib


async def wait_a_while(event: asyncio.Event, seconds: float | None) -> None:
    """Return when the event is set or the time is over; None waits for the event alone.

    Before Python 3.12, `asyncio.wait_for` ignores a cancellation that comes just after the event.
    """
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
