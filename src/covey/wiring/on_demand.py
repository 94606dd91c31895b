"""Parts that are made when they are first used: what a node never uses costs it nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar, cast

T = TypeVar("T")


class OnDemand(Generic[T]):
    """One such part; `make` is called once, and imports the modules of the part."""

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self.made: T | None = None
        """The part, or None before anything was asked of it."""

    def get(self) -> T:
        """Return the part."""
        if self.made is None:
            self.made = self._make()
        return self.made

    def stand_in(self) -> T:
        """Return what passes everything on to the part; only its first use makes it."""
        return cast("T", _StandIn(self.get))


class _StandIn:
    """Has no attribute of its own besides the one that it needs."""

    def __init__(self, get: Callable[[], object]) -> None:
        self._get = get

    def __getattr__(self, name: str) -> Any:
        return getattr(self._get(), name)
