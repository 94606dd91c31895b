"""Values as they are used: variables of a place, with what lies outside looked up."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from covey.env.expansion import ExpansionError, Reference, ReferenceResolver
from covey.env.resolve import Layered, Problem, Resolution

REFERENCE_LIFETIME_S = 300.0
"""How long a looked-up value may serve other variables, shells and processes."""

_AT_ONCE = 4


@dataclass(frozen=True, slots=True)
class Resolved:
    """The values of a place, why others are missing, and the resolution behind them."""

    values: Mapping[str, str]
    problems: Sequence[Problem]
    resolution: Resolution

    def problem(self, name: str) -> str | None:
        """Return why a variable has no value, or None."""
        return next((one.reason for one in self.problems if one.name == name), None)


class ValueSource:
    """Resolves layers, looking references up through `resolver` and keeping them a short while.

    `clock` returns seconds that never go back.
    """

    def __init__(
        self, resolver: ReferenceResolver, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._resolver = resolver
        self._clock = clock
        self._kept: dict[Reference, tuple[float, str]] = {}
        self._slots = asyncio.Semaphore(_AT_ONCE)

    async def resolve(
        self, layers: Mapping[str, Sequence[Layered]], only: str | None = None
    ) -> Resolved:
        """Return all values, or with `only` that variable's, looking up no more than it needs."""
        known: dict[Reference, str | ExpansionError] = {}
        while True:
            missing: set[Reference] = set()

            def lookup(reference: Reference, missing: set[Reference] = missing) -> str:
                match known.get(reference, self._fresh(reference)):
                    case str() as value:
                        return value
                    case ExpansionError() as error:
                        raise error
                    case None:
                        missing.add(reference)
                        raise ExpansionError("it is being looked up")

            resolution = Resolution(layers, lookup)
            values, problems = resolution.values(only)
            if not missing:
                return Resolved(values, problems, resolution)
            wanted = sorted(missing, key=repr)
            found = await asyncio.gather(*(self._look_up(one) for one in wanted))
            known.update(zip(wanted, found, strict=True))

    def forget(self) -> None:
        """Drop every looked-up value."""
        self._kept.clear()

    def _fresh(self, reference: Reference) -> str | None:
        until, value = self._kept.get(reference, (0.0, ""))
        if self._clock() < until:
            return value
        self._kept.pop(reference, None)
        return None

    async def _look_up(self, reference: Reference) -> str | ExpansionError:
        try:
            async with self._slots:
                value = await self._resolver.resolve(reference)
        except ExpansionError as error:
            return error
        self._kept[reference] = (self._clock() + REFERENCE_LIFETIME_S, value)
        return value
