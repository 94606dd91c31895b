"""Jobs for tests: an engine on a storage, kinds made on the fly, and what they noted."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec

from covey.jobs.api import JobKind, JobRun, NewJob
from covey.jobs.engine import JobEngine
from covey.jobs.log_files import LogFiles
from covey.jobs.ports import JobStorage
from covey.jobs.runner import Patience


class Text(msgspec.Struct, frozen=True):
    text: str = ""


def new(kind: str, text: str = "", **more: Any) -> NewJob:
    """A job whose payload is a text."""
    return NewJob(kind=kind, payload=Text(text), title=f"{kind} {text}".strip(), **more)


class Work:
    """Kinds of jobs and the engines that run them, one after another on the same storage."""

    def __init__(self, storage: JobStorage, directory: Path) -> None:
        self.storage = storage
        self.logs = LogFiles(directory / "jobs", 1 << 20)
        self.kinds: dict[str, JobKind] = {}
        self.noted: list[Any] = []

    def kind(self, name: str, run: Callable[[JobRun], Awaitable[None]], **more: Any) -> None:
        """Offer a kind to the engines that are started from now on."""
        self.kinds[name] = JobKind(name, run, **more)

    async def note(self, value: object) -> None:
        """Remember that something was done."""
        self.noted.append(value)

    @asynccontextmanager
    async def engine(self, **more: Any) -> AsyncIterator[JobEngine]:
        """A running engine; leaving stops it."""
        more.setdefault("patience", Patience(clean_up_s=5, stop_s=5))
        engine = JobEngine(self.storage, self.logs, **more)
        for kind in self.kinds.values():
            engine.register(kind)
        await engine.start()
        try:
            yield engine
        finally:
            await engine.stop()


async def until(condition: Callable[[], bool]) -> None:
    """Wait for a condition that other tasks bring about."""
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.001)


class Gate:
    """Lets nobody through until it is open."""

    def __init__(self) -> None:
        self._opened = asyncio.Event()

    async def wait(self) -> None:
        await self._opened.wait()

    def open(self) -> None:
        self._opened.set()
