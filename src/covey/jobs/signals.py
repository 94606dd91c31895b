"""Wakes those who wait for a change of one job."""

from __future__ import annotations

import asyncio


class Signals:
    """Events by name: take one, look, then wait for it, and no change is missed."""

    def __init__(self) -> None:
        self._events: dict[str, asyncio.Event] = {}

    def event(self, name: str) -> asyncio.Event:
        """Return the event that the next change sets."""
        return self._events.setdefault(name, asyncio.Event())

    def fire(self, name: str) -> None:
        """Wake all who wait for a change of this name."""
        event = self._events.pop(name, None)
        if event is not None:
            event.set()

    def fire_all(self) -> None:
        """Wake everyone."""
        for name in list(self._events):
            self.fire(name)
