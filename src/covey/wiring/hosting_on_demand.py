"""Hosting begins with its first use: a node that hosts nothing has nothing of it in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from covey.operations.context import Services, locked
from covey.operations.registry import Effect, Operation
from covey.store.ports import LocalState
from covey.surfaces.http.webhooks import Receipt

if TYPE_CHECKING:
    from covey.apps.webhooks.reception import Reception
    from covey.wiring.hosting import NodeHosting

_MODULES = ("covey.apps.", "covey.jobs.")
"""Whose operations need it."""
_NAMESPACE, _USED = "hosting", "used"


def is_of_hosting(operation: Operation) -> bool:
    """Whether an operation is on apps, jobs, routes or webhooks."""
    return operation.module.startswith(_MODULES)


class HostingOnDemand:
    """Makes and starts the hosting of a node when it is needed, once.

    A node on which anything was ever changed by one of its operations starts it with itself from
    then on, as does one whose settings ask for it (`always`). It implements `WebhookReceiver`.
    """

    def __init__(
        self,
        make: Callable[[], NodeHosting],
        services: Services,
        local: LocalState,
        *,
        always: bool,
    ) -> None:
        self._make = make
        self._services = services
        self._local = local
        self._always = always
        self._beginning: asyncio.Task[None] | None = None
        self._stopped = False
        self.begun: NodeHosting | None = None
        """What was started; None on a node that hosts nothing."""

    async def start(self) -> None:
        """Serve again what was served before."""
        if self._always or self._was_used():
            await self._begin()

    async def stop(self) -> None:
        """End it, and let it begin no more."""
        self._stopped = True
        if self._beginning is not None:
            await asyncio.gather(self._beginning, return_exceptions=True)
        if self.begun is not None:
            await self.begun.stop()

    async def prepare(self, operation: Operation) -> None:
        """Be there for an operation; raises `CoveyError` if that is not possible."""
        if not is_of_hosting(operation):
            return
        await self._begin()
        if operation.effect is not Effect.READ and not self._was_used():
            await self._local.put_local(_NAMESPACE, _USED, b"")

    async def to_forge(self, forge: str, headers: Mapping[str, str], body: bytes) -> Receipt:
        """Take a delivery for whichever webhook of a forge it was signed for."""
        return await (await self._reception()).to_forge(forge, headers, body)

    async def to_integration(self, name: str, headers: Mapping[str, str], body: bytes) -> Receipt:
        """Take a delivery for one webhook."""
        return await (await self._reception()).to_integration(name, headers, body)

    async def _reception(self) -> Reception:
        from covey.apps.webhooks.reception import Reception

        await self._begin()
        return self._services.get(Reception)

    async def _begin(self) -> None:
        if self.begun is not None:
            return
        if self._stopped:
            raise locked()
        if self._beginning is None or self._beginning.done():
            self._beginning = asyncio.create_task(self._make_and_start(), name="hosting begins")
        # A caller who gives up does not leave it half begun.
        await asyncio.shield(self._beginning)

    async def _make_and_start(self) -> None:
        hosting = self._make()
        try:
            await hosting.start()
        except BaseException:
            await hosting.stop()
            raise
        self.begun = hosting

    def _was_used(self) -> bool:
        return self._local.get_local(_NAMESPACE, _USED) is not None
