"""What an operation is given besides its arguments: the caller, the deadline and the services."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar, cast

from covey.errors import CoveyError, DeadlineExceededError, LockedError
from covey.operations.access import Caller

if TYPE_CHECKING:
    from covey.operations.registry import Operation

T = TypeVar("T")


def locked() -> CoveyError:
    """Return the error that says that the node's keys are not in memory."""
    return LockedError(
        "This node is locked: its keys are not in memory.",
        hint="Run: covey unlock",
    )


class Services:
    """The running node's services, found by their type."""

    def __init__(self) -> None:
        self._by_type: dict[type, object] = {}
        self._withheld: dict[type, Callable[[], CoveyError]] = {}
        self._prepare: Callable[[Operation], Awaitable[None]] | None = None

    def provide(self, kind: type[T], service: T) -> None:
        """Offer `service` to operations that ask for `kind`."""
        self._withheld.pop(kind, None)
        self._by_type[kind] = service

    def withdraw(self, kind: type, reason: Callable[[], CoveyError] = locked) -> None:
        """Take a service back; asking for it then raises `reason`."""
        self._by_type.pop(kind, None)
        self._withheld[kind] = reason

    def prepare_by(self, prepare: Callable[[Operation], Awaitable[None]] | None) -> None:
        """Have `prepare` see to it that the services of an operation are there when it runs."""
        self._prepare = prepare

    async def prepare(self, operation: Operation) -> None:
        """Make an operation's services ready; raises `CoveyError` if they cannot be."""
        if self._prepare is not None:
            await self._prepare(operation)

    def get(self, kind: type[T]) -> T:
        """Return the service of this type; raises `LockedError` or why else it is withdrawn."""
        try:
            return cast("T", self._by_type[kind])
        except KeyError:
            reason = self._withheld.get(kind, locked)
            raise reason() from None


def _ignore_progress(_message: str) -> None:
    """Drop progress when nobody listens."""


@dataclass(frozen=True, slots=True)
class Context:
    """One call of one operation; `deadline` is in seconds of `time.monotonic()`."""

    caller: Caller
    services: Services
    request_id: str
    deadline: float | None = None
    progress: Callable[[str], None] = field(default=_ignore_progress)

    def service(self, kind: type[T]) -> T:
        """Return the running node's service of this type."""
        return self.services.get(kind)

    def remaining(self) -> float | None:
        """Seconds until the deadline, or None; raises `DeadlineExceededError` after it."""
        if self.deadline is None:
            return None
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise DeadlineExceededError("The call's deadline has passed.")
        return left
