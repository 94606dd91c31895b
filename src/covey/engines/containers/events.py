"""Events that go on when the engine is restarted meanwhile."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

import msgspec

from covey.apps.containers import NODE_LABEL, ContainerEvent
from covey.engines.containers.api import Api, RefusalError
from covey.errors import UnreachableError

_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 10.0
_ACTIONS = {"died": "die", "remove": "destroy"}

Connect = Callable[[], Awaitable[Api]]


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
                    # Two that come at once may come in the wrong order.
                    if at > since + 2:
                        since = at - 1
                        seen = {one for one in seen if one[0] / 1e9 >= since}
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
