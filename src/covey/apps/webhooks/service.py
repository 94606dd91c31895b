"""What users do with webhooks: make them, look at them, give them new secrets, remove them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from urllib.parse import urlsplit

from covey.apps.webhooks.deliveries import Deliveries, Delivery
from covey.apps.webhooks.integrations import Integration, Integrations
from covey.apps.webhooks.model import ForgeName
from covey.errors import InvalidRequestError


class WebhookService:
    """The webhooks of this node.

    `upkeep` follows when there are other webhooks than before; `addresses` returns the URLs at
    which forges reach the node.
    """

    def __init__(
        self,
        integrations: Integrations,
        deliveries: Deliveries,
        upkeep: Callable[[], Awaitable[None]],
        addresses: Callable[[], Sequence[str]],
    ) -> None:
        self._integrations = integrations
        self._deliveries = deliveries
        self._upkeep = upkeep
        self._addresses = addresses

    def all(self) -> list[Integration]:
        """Return every webhook by name."""
        return self._integrations.all()

    def get(self, name: str) -> Integration:
        """Return a webhook; raises `NotFoundError`."""
        return self._integrations.get(name)

    async def create(self, integration: Integration) -> Integration:
        """Add a webhook; raises `ConflictError` or `InvalidRequestError`."""
        _check(integration)
        made = await self._integrations.create(integration)
        await self._upkeep()
        return made

    async def rotate(self, name: str, overlap: timedelta) -> Integration:
        """Give a webhook a new secret; the present one is accepted for `overlap` more."""
        return await self._integrations.rotate(name, overlap)

    async def remove(self, name: str) -> Integration:
        """Remove a webhook and what is remembered of it."""
        removed = await self._integrations.remove(name)
        await self._deliveries.forget(name)
        await self._upkeep()
        return removed

    def deliveries(self, name: str) -> list[Delivery]:
        """Return a webhook's deliveries, the newest first; raises `NotFoundError`."""
        self._integrations.get(name)
        return self._deliveries.of(name)

    def urls(self, name: str) -> list[str]:
        """Return the addresses that a forge can deliver to."""
        return [f"{address}/api/v1/webhooks/{name}" for address in self._addresses()]


def _check(integration: Integration) -> None:
    options = integration.options
    if options.forks and not options.previews:
        raise InvalidRequestError(
            "Forks matter to previews alone, and they are off.", hint="Add --previews"
        )
    if integration.api_base:
        _check_base(integration.api_base)
    if integration.api_token and not integration.api_base and integration.forge is ForgeName.GITEA:
        raise InvalidRequestError(
            "A Gitea of your own has an address of its own.",
            hint="Add --api-base https://gitea.example.org/api/v1",
        )
    if integration.api_base and not integration.api_token:
        raise InvalidRequestError(
            "The forge's interface is of no use without a token.", hint="Add --api-token-stdin"
        )


def _check_base(base: str) -> None:
    try:
        parts = urlsplit(base)
        fits = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:
        fits = False
        parts = urlsplit("")
    if not fits or parts.username is not None or parts.query or parts.fragment:
        raise InvalidRequestError(
            "The address of the forge's interface is not a plain URL.",
            hint="It looks like https://gitea.example.org/api/v1",
        )
