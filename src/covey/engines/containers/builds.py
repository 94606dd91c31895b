"""Builds that leave nothing behind when they fail, are cut short, or their daemon is killed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from pathlib import Path

from covey.apps.containers import BuildRequest, Log
from covey.engines.containers.api import Api, RefusalError
from covey.engines.containers.build import Told, build_over_api
from covey.engines.containers.docker_build import build_by_program
from covey.engines.containers.unfinished import BuildJournal, Record
from covey.errors import CoveyError

_log = logging.getLogger(__name__)


class Builds:
    """Runs builds and keeps the journal of them."""

    def __init__(self, directory: Path, environ: Mapping[str, str]) -> None:
        self._journal = BuildJournal(directory)
        self._environ = environ
        self._recovering = asyncio.Lock()
        self._recovered = False
        self._clearing: set[asyncio.Task[None]] = set()

    async def recover(self, api: Api, engine: str) -> None:
        """Once: remove what the builds of a killed daemon left."""
        if self._recovered:
            return
        async with self._recovering:
            if not self._recovered:
                for record in self._journal.unfinished():
                    await self._clear(api, engine, record)
                self._recovered = True

    async def build(self, api: Api, engine: str, request: BuildRequest, log: Log) -> str:
        """Build an image and return its id."""
        told = Told(log, request.secrets)
        record = await self._journal.begin(api, request.labels, podman=engine == "podman")
        try:
            if engine == "podman":
                image = await build_over_api(api, request, told, record.mark)
            else:
                image = await build_by_program(api, request, told, self._environ)
        except BaseException:
            clearing = asyncio.create_task(self._clear(api, engine, record))
            self._clearing.add(clearing)
            clearing.add_done_callback(self._clearing.discard)
            await asyncio.shield(clearing)
            raise
        self._journal.end(record)
        return image

    async def close(self) -> None:
        """Wait for what is being removed."""
        await asyncio.gather(*self._clearing, return_exceptions=True)

    async def _clear(self, api: Api, engine: str, record: Record) -> None:
        try:
            await self._journal.clear(api, record, podman=engine == "podman")
        except (CoveyError, RefusalError) as error:
            # The file stays: the next start tries again.
            _log.warning("What a build left could not be removed: %s", error)
