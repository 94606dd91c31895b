"""Keeping the files that shells read up to date with what the variables are."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Protocol

from covey.env.model import COLLECTION
from covey.env.render import render_all
from covey.env.resolve import Layered, Problem, layer
from covey.env.scope import Level, Place, Scope
from covey.env.service import EnvService
from covey.env.values import REFERENCE_LIFETIME_S
from covey.errors import CoveyError
from covey.shellkit.layout import file_name
from covey.store.api import Changed

_log = logging.getLogger("covey.env")

_REST_S = 0.005
_REST_FACTOR = 4.0

Files = Mapping[tuple[str, str], bytes]
"""Contents by shell and by name of place."""


class RenderedFiles(Protocol):
    """The directory in memory that hooks read; raises `StorageError`."""

    def publish(self, files: Files) -> bool:
        """Make these the only files, then renew the stamp; False if they were so already."""

    def lock(self) -> None:
        """Remove the files; open shells drop their values at the next prompt."""

    def withdraw(self) -> None:
        """Remove the files and the stamp; open shells keep what they have."""


class EnvRenderer:
    """Renders at the start, after each commit that changed variables, and as references age."""

    def __init__(self, service: EnvService, files: RenderedFiles) -> None:
        self._service = service
        self._files = files
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._cancel: Callable[[], None] | None = None
        self._problems: dict[Place, list[Problem]] = {}
        self._has_references = False

    async def start(self) -> None:
        """Render once, then follow changes until `stop`."""
        self._cancel = self._service.store.subscribe(self._note)
        await self._render_safely()
        self._task = asyncio.create_task(self._follow(), name="env-renderer")

    async def stop(self, *, locked: bool) -> None:
        """End following and remove the files: `locked` also takes the values from open shells."""
        if self._cancel is not None:
            self._cancel()
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
            self._task = None
        self._service.values.forget()
        remove = self._files.lock if locked else self._files.withdraw
        await asyncio.to_thread(remove)

    def host_renamed(self) -> None:
        """Render anew: what applies here depends on this node's name."""
        self._wake.set()

    def problems(self) -> Mapping[Place, list[Problem]]:
        """Return the variables that could not be rendered, by place."""
        return dict(self._problems)

    async def render(self) -> bool:
        """Render all places now; whether anything changed. Raises `StorageError`."""
        everything = list(self._service.records.everything())
        rendered: dict[tuple[str, str], bytes] = {}
        problems: dict[Place, list[Problem]] = {}
        host = self._service.place(None, None, None).host
        for place in _places(everything, host):
            scopes = set(place.scopes())
            layers = layer([pair for pair in everything if pair[1].scope in scopes])
            resolved = await self._service.values.resolve(layers)
            if resolved.problems:
                problems[place] = list(resolved.problems)
            texts = await asyncio.to_thread(
                render_all, resolved.values, complete=not resolved.problems
            )
            for shell, data in texts.items():
                rendered[shell, file_name(place.project, place.environment)] = data
        self._has_references = any(item.stored.expand for _, item in everything)
        self._problems = problems
        return await asyncio.to_thread(self._files.publish, rendered)

    def _note(self, changed: Changed) -> None:
        if any(collection == COLLECTION for collection, _ in changed.keys):
            self._wake.set()

    async def _follow(self) -> None:
        clock = asyncio.get_running_loop().time
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(REFERENCE_LIFETIME_S if self._has_references else None):
                    await self._wake.wait()
            self._wake.clear()
            began = clock()
            await self._render_safely()
            # A flood of commits (a first sync) is rendered now and then, not commit by commit.
            await asyncio.sleep(max(_REST_S, _REST_FACTOR * (clock() - began)))

    async def _render_safely(self) -> None:
        try:
            await self.render()
        except CoveyError as error:
            _log.error("shells keep their variables as they were: %s", error)


def _places(everything: list[tuple[str, Layered]], host: str | None) -> set[Place]:
    """Return this host's places that have variables of their own, and the one without project."""
    places = {Place(None, None, host)}
    scopes: set[Scope] = {item.scope for _, item in everything}
    for scope in scopes:
        match scope.level:
            case Level.PROJECT:
                places.add(Place(scope.name, None, host))
            case Level.ENVIRONMENT:
                places.add(Place(scope.project, None, host))
                places.add(Place(scope.project, scope.name, host))
            case Level.FLEET | Level.HOST | Level.APP:
                pass
    return places
