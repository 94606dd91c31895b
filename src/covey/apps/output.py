"""What the containers of an app print, as one stream of lines."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from datetime import datetime

import msgspec

from covey.apps.containers import ContainerEngine, ContainerState
from covey.apps.layout import Naming, read_labels
from covey.apps.oneoff import timed_lines_of
from covey.errors import CoveyError

_REST_S = 1.0
_LOOK_BACK = 1000
_WAITING = 1000


class AppLine(msgspec.Struct, frozen=True):
    """One line that an app printed; `source` is the process and its number, such as `web.0`."""

    source: str
    text: str
    deployment: int
    at: datetime | None = None


class AppOutput:
    """Reads the output of containers of this node's apps."""

    def __init__(
        self, engine: ContainerEngine, naming: Naming, exists: Callable[[str], bool]
    ) -> None:
        self._engine = engine
        self._naming = naming
        self._exists = exists

    async def lines(
        self, app: str, *, process: str | None, tail: int, follow: bool
    ) -> AsyncIterator[AppLine]:
        """Yield the last `tail` lines of each container, then with `follow` all that come.

        Containers that a later deployment starts are followed as well, until the app is gone.
        """
        if not follow:
            for state in await self._containers(app, process):
                async for line in self._of(state, tail, follow=False):
                    yield line
            return
        # An engine that is away is told at once; later it may come back.
        await self._containers(app, process)
        queue: asyncio.Queue[AppLine | None] = asyncio.Queue(_WAITING)
        followed: dict[str, asyncio.Task[None]] = {}
        looking = asyncio.create_task(self._find_more(app, process, tail, queue, followed))
        try:
            while (heard := await queue.get()) is not None:
                yield heard
            await looking
        finally:
            tasks = [looking, *followed.values()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _find_more(
        self,
        app: str,
        process: str | None,
        tail: int,
        queue: asyncio.Queue[AppLine | None],
        followed: dict[str, asyncio.Task[None]],
    ) -> None:
        heard: dict[str, datetime] = {}
        try:
            while self._exists(app):
                with contextlib.suppress(CoveyError):
                    for state in await self._containers(app, process):
                        task = followed.get(state.id)
                        if task is None or (task.done() and state.ended is None):
                            following = self._pass_on(state, tail, queue, heard)
                            followed[state.id] = asyncio.create_task(following)
                await asyncio.sleep(_REST_S)
        except Exception:
            await queue.put(None)
            raise
        await queue.put(None)

    async def _pass_on(
        self,
        state: ContainerState,
        tail: int,
        queue: asyncio.Queue[AppLine | None],
        heard: dict[str, datetime],
    ) -> None:
        # One that was followed and has been started again goes on with what is new.
        last = heard.get(state.id)
        lines = tail if last is None else max(tail, _LOOK_BACK)
        with contextlib.suppress(CoveyError):
            async for line in self._of(state, lines, follow=True):
                if line.at is not None:
                    if last is not None and line.at <= last:
                        continue
                    heard[state.id] = line.at
                await queue.put(line)

    async def _of(
        self, state: ContainerState, tail: int, *, follow: bool
    ) -> AsyncIterator[AppLine]:
        found = read_labels(state.labels)
        if found is None:
            return
        source = f"{found.process}.{found.slot}"
        chunks = self._engine.logs(state.id, follow=follow, tail=tail)
        async for text, at in timed_lines_of(chunks):
            yield AppLine(source, text, found.deployment, at)

    async def _containers(self, app: str, process: str | None) -> list[ContainerState]:
        found = []
        for state in await self._engine.list_containers(self._naming.of_app(app)):
            read = read_labels(state.labels)
            # Those that people made of its image have no process.
            if read is not None and read.process and process in {None, read.process}:
                found.append(state)
        return sorted(found, key=lambda state: state.name)
