"""Hosting begins with its first use: a node that hosts nothing has nothing of it in memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from covey.operations.context import Services
from covey.operations.registry import Effect, Operation
from covey.store.ports import LocalState
from covey.surfaces.http.webhooks import Receipt
from covey.wiring.part_on_demand import PartOnDemand

if TYPE_CHECKING:
    from covey.apps.webhooks.reception import Reception
    from covey.wiring.hosting import NodeHosting

HOSTING_MODULES = ("covey.apps.", "covey.jobs.")
"""Whose operations need it: those on apps, jobs, routes and webhooks."""
_NAMESPACE, _USED = "hosting", "used"


class HostingOnDemand:
    """The hosting of a node, and the `WebhookReceiver` that begins it.

    A node on which anything was ever changed by one of its operations starts it with itself from
    then on, as does one whose settings ask for it (`always`).
    """

    def __init__(
        self,
        make: Callable[[], NodeHosting],
        services: Services,
        local: LocalState,
        *,
        always: bool,
    ) -> None:
        self._part = PartOnDemand(make)
        self._services = services
        self._local = local
        self._always = always

    @property
    def begun(self) -> NodeHosting | None:
        """What was started; None on a node that hosts nothing."""
        return self._part.begun

    async def start(self) -> None:
        """Serve again what was served before."""
        if self._always or self._was_used():
            await self._part.begin()

    async def stop(self) -> None:
        """End it, and let it begin no more."""
        await self._part.stop()

    async def prepare(self, operation: Operation) -> None:
        """Be there for an operation; raises `CoveyError` if that is not possible."""
        await self._part.begin()
        if operation.effect is not Effect.READ and not self._was_used():
            await self._local.put_local(_NAMESPACE, _USED, b"")

    async def to_forge(self, forge: str, headers: Mapping[str, str], body: bytes) -> Receipt:
        """Take a delivery for whichever webhook of a forge it was signed for."""
        return await (await self._reception()).to_forge(forge, headers, body)

    async def to_integration(self, name: str, headers: Mapping[str, str], body: bytes) -> Receipt:
        """Take a delivery for one webhook."""
        return await (await self._reception()).to_integration(name, headers, body)

    async def _reception(self) -> Reception:
        # Nobody who proves nothing may begin it: where nothing was changed, there is no webhook.
        if not (self._always or self._was_used()):
            from covey.apps.webhooks.refusal import unproven

            raise unproven()
        await self._part.begin()
        from covey.apps.webhooks.reception import Reception

        return self._services.get(Reception)

    def _was_used(self) -> bool:
        return self._local.get_local(_NAMESPACE, _USED) is not None
