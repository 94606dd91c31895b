"""Logs and events that go on when the engine is restarted meanwhile."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from datetime import datetime
from typing import Any

import msgspec

from covey.apps.containers import NODE_LABEL, ContainerEvent, OutputChunk
from covey.engines.containers.api import Api, LostError, RefusalError
from covey.engines.containers.failures import doing
from covey.engines.containers.output import frames, stamped
from covey.errors import NotFoundError, UnreachableError

_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 10.0
_ACTIONS = {"died": "die", "remove": "destroy"}

Connect = Callable[[], Awaitable[Api]]


class _Place:
    """Where a reader of a log is: the time of its last chunk, and how many it was given of it."""

    def __init__(self) -> None:
        self.at: datetime | None = None
        self._given = 0  # Podman tells whole seconds: many lines bear one time

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


async def container_logs(
    connect: Connect, container: str, *, follow: bool, tail: int | None
) -> AsyncIterator[OutputChunk]:
    """Yield a container's output; what was told already is left out after a reconnection.

    What was followed is read once more at its end: engines lose what is written last, Docker when
    the log is rotated faster than it reads.
    """
    place = _Place()
    following = follow
    pause = _FIRST_PAUSE_S
    while True:
        query: dict[str, object] = {"stdout": True, "stderr": True, "timestamps": True}
        query["follow"] = following
        query["tail"] = "all" if tail is None or place.at is not None else tail
        if place.at is not None:
            query["since"] = int(place.at.timestamp())
        try:
            api = await connect()
            with doing(f"read the output of the container {container}"):
                async with api.open("GET", f"/containers/{container}/logs", query) as answer:
                    is_new = place.begin()
                    async for stream, data in frames(answer.body()):
                        chunk = stamped(stream, data)
                        if is_new(chunk):
                            pause = _FIRST_PAUSE_S
                            yield chunk
            if not following:
                return
            following = False
            continue
        except NotFoundError:
            if following == follow:
                raise
            return  # it was removed as soon as it had ended
        except UnreachableError as error:
            if not follow or (place.at is None and not isinstance(error, LostError)):
                raise
        await asyncio.sleep(pause)
        pause = min(pause * 2, _LONGEST_PAUSE_S)


async def container_events(connect: Connect) -> AsyncIterator[ContainerEvent]:
    """Yield the events of this node's containers; those of a time without connection as well."""
    since = time.time()
    seen: set[tuple[int, str, str]] = set()
    pause = _FIRST_PAUSE_S
    while True:
        query = {"filters": {"type": ["container"]}, "since": int(since)}
        try:
            api = await connect()
            async with api.open("GET", "/events", query) as answer:
                pause = _FIRST_PAUSE_S
                async for line in answer.lines():
                    told = msgspec.json.decode(line)
                    key = (told.get("timeNano", 0), told["Actor"]["ID"], told.get("Action", ""))
                    at = key[0] / 1e9
                    if key in seen or at < since:
                        continue
                    if at > since + 1:
                        since = at
                        seen = {one for one in seen if one[0] / 1e9 >= at}
                    seen.add(key)
                    event = _event(told)
                    if NODE_LABEL in event.labels:
                        yield event
        except (UnreachableError, RefusalError, msgspec.DecodeError, KeyError):
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE_S)


def _event(told: Mapping[str, Any]) -> ContainerEvent:
    actor = told["Actor"]
    action = str(told.get("Action") or told.get("status") or "")
    return ContainerEvent(
        actor["ID"], _ACTIONS.get(action, action.partition(":")[0]), actor.get("Attributes") or {}
    )
