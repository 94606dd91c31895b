"""A part of a node that begins with its first use: one that is never used has nothing in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from covey.operations.context import locked


class Part(Protocol):
    """What is started once, and stopped with the node."""

    async def start(self) -> None:
        """Offer its services, and go on with what is left from before."""

    async def stop(self) -> None:
        """Take the services back; also after a start that failed."""


P = TypeVar("P", bound=Part)


class PartOnDemand(Generic[P]):
    """Makes a part and starts it when it is needed, once. `make` imports its modules."""

    def __init__(self, make: Callable[[], P]) -> None:
        self._make = make
        self._beginning: asyncio.Task[None] | None = None
        self._stopped = False
        self.begun: P | None = None
        """What was started; None while nobody needed it."""

    async def begin(self) -> None:
        """Have it started; raises `CoveyError` if that is not possible."""
        if self.begun is not None:
            return
        if self._stopped:
            raise locked()
        if self._beginning is None or self._beginning.done():
            self._beginning = asyncio.create_task(self._make_and_start(), name="a part begins")
        # A caller who gives up does not leave it half begun.
        await asyncio.shield(self._beginning)

    async def stop(self) -> None:
        """End it, and let it begin no more."""
        self._stopped = True
        if self._beginning is not None:
            await asyncio.gather(self._beginning, return_exceptions=True)
        if self.begun is not None:
            await self.begun.stop()

    async def _make_and_start(self) -> None:
        part = self._make()
        try:
            await part.start()
        except BaseException:
            await part.stop()
            raise
        self.begun = part
