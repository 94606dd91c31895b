"""Commands and files begin with their first use, or with a node that has some from before."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from covey.errors import CoveyError, RefusedError
from covey.paths import Paths
from covey.wiring.part_on_demand import PartOnDemand

if TYPE_CHECKING:
    from covey.wiring.remote import RemoteServices

REMOTE_MODULES = ("covey.remote.",)
"""Whose operations need it: those on commands, files and tunnels."""
_LEFT = ("exec/*", "recordings/*", "transfers/*.place")
"""What they leave in the node's state, to be followed or removed later."""


class RemoteOnDemand:
    """The services behind commands and files on this machine."""

    def __init__(self, make: Callable[[], RemoteServices], paths: Paths) -> None:
        self._part = PartOnDemand(make)
        self._state = Path(paths.state_dir)

    async def start(self) -> None:
        """Find what runs from before, if there is anything."""
        if sys.platform == "win32":
            return
        if any(next(self._state.glob(pattern), None) is not None for pattern in _LEFT):
            await self._part.begin()

    async def stop(self) -> None:
        """End it; detached commands run on."""
        await self._part.stop()

    async def prepare(self) -> None:
        """Be there for an operation; raises `RefusedError` on Windows."""
        if sys.platform == "win32":
            raise _not_on_windows()
        await self._part.begin()


def _not_on_windows() -> CoveyError:
    return RefusedError(
        "This machine runs Windows, where Covey runs no commands and shares no files.",
        hint="Every other machine of the fleet can: name it with --host.",
    )
