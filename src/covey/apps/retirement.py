"""Versions that were replaced: each ends once its requests have, however long they take.

This is no job: a few versions that drain for an hour would keep all deployments waiting. What is to
be retired is recorded, so the next start goes on with it.
"""

from __future__ import annotations

import asyncio
import logging

from covey.apps.hosting import Hosting
from covey.apps.layout import pool_of
from covey.apps.sides import known_side
from covey.errors import CoveyError

_log = logging.getLogger("covey.apps")


class Retirements:
    """Retires versions in the background, each once at a time."""

    def __init__(self, hosting: Hosting) -> None:
        self._hosting = hosting
        self._tasks: dict[tuple[str, int], asyncio.Task[None]] = {}
        self._stopped = False

    async def begin(self, app: str, number: int) -> asyncio.Task[None]:
        """See to it that a version is retired, also if the daemon ends before."""
        await self._hosting.deployments.set_retiring(app, number, retiring=True)
        return self._spawn(app, number)

    def resume(self) -> None:
        """Go on with what was begun: after a start, or when the engine is back."""
        for app, number in self._hosting.deployments.retiring():
            self._spawn(app, number)

    async def stop(self) -> None:
        """Break off; the containers run on, and the next start goes on."""
        self._stopped = True
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _spawn(self, app: str, number: int) -> asyncio.Task[None]:
        place = (app, number)
        if place not in self._tasks:
            task = self._tasks[place] = asyncio.create_task(self._run(app, number))
            task.add_done_callback(lambda _: self._tasks.pop(place, None))
        return self._tasks[place]

    async def _run(self, app: str, number: int) -> None:
        try:
            if not self._stopped:
                await self._retire(app, number)
        except CoveyError as error:
            _log.warning("deployment %d of %s is not retired yet: %s", number, app, error)
        except Exception:  # noqa: BLE001 - logged whole
            _log.exception("deployment %d of %s is not retired yet", number, app)

    async def _retire(self, app: str, number: int) -> None:
        hosting = self._hosting
        found, deployment = hosting.records.find(app), hosting.deployments.find(app, number)
        if found is None or deployment is None or deployment.release is None:
            await hosting.rollout.remove(app, number)
        elif found.stopped or not hosting.deployments.serves(app, number):
            side = known_side(hosting, found, deployment, deployment.release)
            await hosting.rollout.retire(side, lambda text: _log.info("%s: %s", app, text))
            async with hosting.lock(app):
                latest = hosting.records.find(app)
                rests = latest is not None and latest.stopped
                if rests and hosting.deployments.serves(app, number):
                    await hosting.routes.switch(pool_of(app), ())
        await hosting.deployments.set_retiring(app, number, retiring=False)
        await hosting.sweep.run()
