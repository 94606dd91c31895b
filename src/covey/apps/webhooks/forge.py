"""What each forge's file provides: proof, identity and reading of its deliveries."""

from __future__ import annotations

from typing import Protocol

from covey.apps.webhooks.model import Event, ForgeName
from covey.apps.webhooks.signatures import Headers


class Forge(Protocol):
    """One forge's webhooks; everything in it is pure."""

    @property
    def name(self) -> ForgeName:
        """The forge."""
        ...

    @property
    def bodies_differ(self) -> bool:
        """Whether two deliveries never have the same body, so that an equal one is a replay."""
        ...

    def verify(self, secret: str, headers: Headers, body: bytes, now: float) -> bool:
        """Whether who sent this knows the secret; `now` is in seconds since the epoch."""
        ...

    def delivery(self, headers: Headers) -> str:
        """Return the delivery's id, "" if there is none."""
        ...

    def event(self, headers: Headers) -> str:
        """Return what the forge calls this kind of delivery."""
        ...

    def parse(self, headers: Headers, body: bytes) -> tuple[Event, ...]:
        """Return what happened; raises `InvalidRequestError` for what is not of its form."""
        ...
