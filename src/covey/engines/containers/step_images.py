"""The images that Docker makes step by step without BuildKit, which a failed build leaves."""

from __future__ import annotations

import asyncio
import re

from covey.engines.containers.api import Api, RefusalError
from covey.engines.containers.failures import is_missing
from covey.errors import CoveyError

_STEP = re.compile(r"Step \d+/\d+ : (\w+)")
_IMAGE = re.compile(r" ---> ([0-9a-f]{12,64})")
_TRIES = 20
_PAUSE_S = 0.1


class StepImages:
    """Reads off a build's output what it made: neither base images nor what was in the cache."""

    def __init__(self) -> None:
        self.made: list[str] = []
        self._own = False

    def line(self, line: str) -> None:
        """Take one line."""
        if step := _STEP.match(line):
            self._own = step[1].upper() != "FROM"
        elif line.startswith(" ---> Using cache"):
            self._own = False
        elif self._own and (image := _IMAGE.fullmatch(line.rstrip())):
            self.made.append(image[1])

    async def remove(self, api: Api) -> None:
        """Remove them, the last first; one that has a name or is in use stays."""
        for image in reversed(self.made):
            await _remove(api, image)


async def _remove(api: Api, image: str) -> None:
    for _ in range(_TRIES):
        try:
            found = await api.call("GET", f"/images/{image}/json")
            if not found.get("RepoTags"):
                await api.call("DELETE", f"/images/{image}", {"force": False, "noprune": True})
            return
        except RefusalError as error:
            if is_missing(error):
                return
        except CoveyError:
            return
        # The container of the step that was broken off may take a moment to go.
        await asyncio.sleep(_PAUSE_S)
