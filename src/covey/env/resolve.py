"""From layers of stored variables to the values of one place: shadowing, expansion, cycles.

Pure: what lies outside (`op://…`, `file:…`, `cmd:…`) comes out as a `Reference` that the caller
has looked up when the value is used.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from covey.env.expansion import ExpansionError, Reference, expand, read_reference
from covey.env.model import Stored
from covey.env.scope import Scope
from covey.store.api import VersionId

_MAX_CHAIN = 64


@dataclass(frozen=True, slots=True)
class Layered:
    """One stored variable in its scope."""

    scope: Scope
    stored: Stored
    version: VersionId
    at_ms: int
    conflict: bool = False


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a variable has no value; the text names variables and never contains a value."""

    name: str
    reason: str


class Resolution:
    """The variables of one place; `layers` maps each name to what is stored, the winner last.

    `lookup` answers references from outside; it raises `ExpansionError` when it cannot.
    """

    def __init__(
        self,
        layers: Mapping[str, Sequence[Layered]],
        lookup: Callable[[Reference], str] | None = None,
    ) -> None:
        self._layers = layers
        self._lookup = lookup
        self._known: dict[tuple[str, int], str] = {}

    @property
    def names(self) -> list[str]:
        """The names that apply, sorted."""
        return sorted(self._layers)

    def winner(self, name: str) -> Layered | None:
        """Return the stored variable that wins, or None."""
        stack = self._layers.get(name)
        return stack[-1] if stack else None

    def shadowed(self, name: str) -> list[Layered]:
        """Return what the winner shadows, the nearest first."""
        return list(reversed(self._layers.get(name, ())[:-1]))

    def value(self, name: str) -> str:
        """Return a variable's value; raises `ExpansionError` or `KeyError`."""
        return self._value(name, len(self._layers[name]) - 1, ())

    def values(self, only: str | None = None) -> tuple[dict[str, str], list[Problem]]:
        """Return every value that can be had, or just one's, and why the others cannot."""
        found: dict[str, str] = {}
        problems: list[Problem] = []
        for name in self.names if only is None else [only]:
            try:
                found[name] = self.value(name)
            except ExpansionError as error:
                problems.append(Problem(name, str(error)))
        return found, problems

    def _value(self, name: str, depth: int, path: tuple[tuple[str, int], ...]) -> str:
        here = (name, depth)
        if here in self._known:
            return self._known[here]
        if len(path) > _MAX_CHAIN:
            raise ExpansionError(f"more than {_MAX_CHAIN} variables refer to each other in a row")
        if here in path:
            cycle = [one for one, _ in path[path.index(here) :]]
            raise ExpansionError(f"{' → '.join([*cycle, name])} is a cycle of references")
        stored = self._layers[name][depth].stored
        if stored.expand:
            value = self._expanded(stored.value, name, depth, (*path, here))
        else:
            value = stored.value
        self._known[here] = value
        return value

    def _expanded(self, text: str, name: str, depth: int, path: tuple[tuple[str, int], ...]) -> str:
        def find(other: str) -> str | None:
            if other == name:
                if depth == 0:
                    raise ExpansionError(
                        f"{name} refers to itself, and no wider scope has a value for it"
                    )
                return self._value(name, depth - 1, path)
            stack = self._layers.get(other)
            return self._value(other, len(stack) - 1, path) if stack else None

        reference = read_reference(text, find)
        if reference is None:
            return expand(text, find)
        if self._lookup is None:
            raise ExpansionError(f"it refers to {reference.scheme} outside Covey")
        return self._lookup(reference)


def layer(found: Sequence[tuple[str, Layered]]) -> dict[str, list[Layered]]:
    """Group stored variables by name, each group with its winner last."""
    layers: dict[str, list[Layered]] = {}
    for name, item in sorted(found, key=lambda pair: pair[1].scope):
        layers.setdefault(name, []).append(item)
    return layers
