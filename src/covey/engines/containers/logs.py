"""Logs that go on when the engine is restarted, and end with their container."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from datetime import datetime

from covey.apps.containers import ContainerStatus, OutputChunk
from covey.engines.containers.api import Answer, Api, LostError, RefusalError
from covey.engines.containers.container_documents import container_state
from covey.engines.containers.failures import doing, is_missing
from covey.engines.containers.output import frames, stamped
from covey.errors import CoveyError, NotFoundError, UnreachableError

_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 10.0
_FIRST_LOOK_S = 1.0
_LONGEST_LOOK_S = 60.0
_SILENCE_S = 1.0

Connect = Callable[[], Awaitable[Api]]


class _Place:
    """Where a reader of a log is: the time of its last chunk, and how many it was given of it."""

    def __init__(self) -> None:
        self.at: datetime | None = None
        self._given = 0  # Podman tells whole seconds: many lines bear one time

    @property
    def position(self) -> tuple[datetime | None, int]:
        """Something that changes with each chunk."""
        return self.at, self._given

    def begin(self) -> Callable[[OutputChunk], bool]:
        """Return what tells whether a chunk of an answer that begins here is new."""
        before, known = self.at, self._given

        def is_new(chunk: OutputChunk) -> bool:
            nonlocal known
            if before is not None and chunk.at is not None:
                if chunk.at < before:
                    return False
                if chunk.at == before and known > 0:
                    known -= 1
                    return False
            self._given = self._given + 1 if chunk.at == self.at else 1
            self.at = chunk.at or self.at
            return True

        return is_new


class LastLines:
    """The chunks of the last lines of an output."""

    def __init__(self, count: int) -> None:
        self.chunks: deque[OutputChunk] = deque()
        self._count = count
        self._lines = 0

    def add(self, chunk: OutputChunk) -> None:
        """Take the next chunk, and drop the line that is too many."""
        self.chunks.append(chunk)
        self._lines += chunk.data.endswith(b"\n")
        while self._lines > self._count:
            self._lines -= self.chunks.popleft().data.endswith(b"\n")


async def container_logs(
    connect: Connect, container: str, *, follow: bool, tail: int | None, cuts: bool = True
) -> AsyncIterator[OutputChunk]:
    """Yield a container's output; what was told already is left out after a reconnection.

    `cuts` tells whether the engine can be asked for the last lines. Podman 4 puts them together
    wrongly where a program writes a line in pieces, so there all is read and cut here.
    """
    place = _Place()
    if tail is not None and not cuts:
        last = LastLines(tail)
        async for chunk in _read(connect, container, place, follow=False, tail=None):
            last.add(chunk)
        for chunk in last.chunks:
            yield chunk
        if not follow:
            return
        tail = None
    async with aclosing(_read(connect, container, place, follow=follow, tail=tail)) as chunks:
        async for chunk in chunks:
            yield chunk


async def _read(
    connect: Connect, container: str, place: _Place, *, follow: bool, tail: int | None
) -> AsyncGenerator[OutputChunk]:
    """Yield what comes behind a place.

    What was followed is read once more when its container has ended: Docker loses lines, or ends
    its answer early, when the log is rotated faster than it reads, and Podman's answer may have
    been cut (see `_watched`).
    """
    following = follow
    known = place.at is not None
    pause = _FIRST_PAUSE_S
    while True:
        query = _query(place, follow=following, tail=tail)
        try:
            api = await connect()
            with doing(f"read the output of the container {container}"):
                async with api.open("GET", f"/containers/{container}/logs", query) as answer:
                    is_new = place.begin()
                    known = True
                    async with _watched(api, container, answer, place, watch=following):
                        async for stream, data in frames(answer.body()):
                            chunk = stamped(stream, data)
                            if is_new(chunk):
                                pause = _FIRST_PAUSE_S
                                yield chunk
                    if not following:
                        return
                    following = await _status(api, container) in {ContainerStatus.RUNNING, None}
            if not following:
                continue
        except NotFoundError:
            if known:
                return  # it was removed as soon as it had ended
            raise
        except UnreachableError as error:
            if not follow or (place.at is None and not isinstance(error, LostError)):
                raise
        await asyncio.sleep(pause)
        pause = min(pause * 2, _LONGEST_PAUSE_S)


def _query(place: _Place, *, follow: bool, tail: int | None) -> dict[str, object]:
    query: dict[str, object] = {"stdout": True, "stderr": True, "timestamps": True}
    query["follow"] = follow
    query["tail"] = "all" if tail is None or place.at is not None else tail
    if place.at is not None:
        query["since"] = int(place.at.timestamp())
    return query


@asynccontextmanager
async def _watched(
    api: Api, container: str, answer: Answer, place: _Place, *, watch: bool
) -> AsyncIterator[None]:
    """Cut an answer that is followed when its container has ended and nothing comes any more.

    Podman waits for ever if the container ends just before it begins to look for that.
    """
    watching = asyncio.create_task(_watch(api, container, answer, place)) if watch else None
    try:
        yield
    finally:
        if watching is not None:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)


async def _watch(api: Api, container: str, answer: Answer, place: _Place) -> None:
    pause = _FIRST_LOOK_S
    await asyncio.sleep(pause)
    while await _status(api, container) is not ContainerStatus.EXITED:
        await asyncio.sleep(pause)
        pause = min(pause * 2, _LONGEST_LOOK_S)
    before = None
    while before != place.position:
        before = place.position
        await asyncio.sleep(_SILENCE_S)
    answer.writer.transport.abort()


async def _status(api: Api, container: str) -> ContainerStatus | None:
    """Return what a container does: nothing more, if it is gone; None if the engine is."""
    try:
        state = container_state(await api.call("GET", f"/containers/{container}/json"))
    except RefusalError as error:
        return ContainerStatus.EXITED if is_missing(error) else ContainerStatus.OTHER
    except CoveyError:
        return None  # the reader itself notices
    return state.status
