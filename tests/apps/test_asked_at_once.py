"""Deployments that are asked for at one time."""

from __future__ import annotations

import asyncio

from covey.apps.deployments import Deployments
from covey.testing.memory_log import MemoryLog


class SlowLog(MemoryLog):
    """Writes later than it is asked to, as a database does."""

    async def put_local(self, namespace: str, key: str, value: bytes | None) -> None:
        await asyncio.sleep(0)
        await super().put_local(namespace, key, value)


def test_no_number_is_given_twice() -> None:
    async def take() -> list[int]:
        deployments = Deployments(SlowLog())
        return await asyncio.gather(*(deployments.next_number("shop") for _ in range(5)))

    assert asyncio.run(take()) == [1, 2, 3, 4, 5]
