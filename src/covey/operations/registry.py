"""The `@operation` decorator and the registry that is built, explicitly, from modules."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from types import ModuleType
from typing import Any, TypeVar

from covey.operations.access import Role
from covey.operations.signature import Signature, read_signature

F = TypeVar("F", bound=Callable[..., Any])
_ATTRIBUTE = "__covey_operation__"


class Effect(StrEnum):
    """What an operation does to the world: decides the audit entry and the retry rules."""

    READ = "read"
    REVEAL = "reveal"
    CHANGE = "change"
    DESTROY = "destroy"


@dataclass(frozen=True, slots=True)
class Route:
    """An HTTP method and a path template such as `/api/v1/env/{name}`."""

    method: str
    path: str

    @classmethod
    def parse(cls, text: str) -> Route:
        """Read `"PUT /api/v1/env/{name}"`."""
        method, path = text.split(" ", 1)
        return cls(method, path)


@dataclass(frozen=True, slots=True)
class Definition:
    """What an operation does, and what it takes and returns."""

    function: Callable[..., Any]
    signature: Signature
    examples: tuple[str, ...]
    summary: str
    description: str


@dataclass(frozen=True)
class Operation:
    """One thing that a user can do, from which every surface is made.

    Who may call it where is always known; what it does is asked of `load` when it is first needed.
    The caller of a `duplex` one sends items while it runs. `module` is where it is defined.
    """

    name: str
    access: Role
    effect: Effect
    route: Route
    streams: bool
    duplex: bool
    module: str
    load: Callable[[], Definition] = field(repr=False)

    @cached_property
    def definition(self) -> Definition:
        """What the operation does."""
        return self.load()

    @property
    def signature(self) -> Signature:
        """What it takes and returns."""
        return self.definition.signature


def operation(
    name: str,
    *,
    access: Role,
    effect: Effect,
    http: str,
    examples: tuple[str, ...] = (),
) -> Callable[[F], F]:
    """Attach a frozen `Operation` to a typed async function and return the function unchanged.

    `examples` are CLI lines without the leading `covey`; they are shown by `--help`.
    """

    def attach(function: F) -> F:
        doc = (function.__doc__ or "").strip()
        summary, _, rest = doc.partition("\n")
        route = Route.parse(http)
        signature = read_signature(function, name=name, method=route.method, path=route.path)
        definition = Definition(
            function=function,
            signature=signature,
            examples=examples,
            summary=summary.strip(),
            description="\n".join(line.strip() for line in rest.strip().splitlines()),
        )
        found = Operation(
            name=name,
            access=access,
            effect=effect,
            route=route,
            streams=signature.streams,
            duplex=signature.input is not None,
            module=function.__module__,
            load=lambda: definition,
        )
        setattr(function, _ATTRIBUTE, found)
        return function

    return attach


class Registry(Mapping[str, Operation]):
    """All operations of a node by name."""

    def __init__(self, operations: Iterable[Operation]) -> None:
        self._operations: dict[str, Operation] = {}
        routes: set[tuple[str, str]] = set()
        for item in operations:
            route = (item.route.method, item.route.path)
            if item.name in self._operations or route in routes:
                raise ValueError(f"operation {item.name} or its route is defined twice")
            routes.add(route)
            self._operations[item.name] = item

    @classmethod
    def from_modules(cls, modules: Iterable[ModuleType]) -> Registry:
        """Collect the decorated functions that each module itself defines, in their order."""
        found: list[Operation] = []
        for module in modules:
            for value in vars(module).values():
                item = getattr(value, _ATTRIBUTE, None)
                if isinstance(item, Operation) and value.__module__ == module.__name__:
                    found.append(item)
        return cls(found)

    def __getitem__(self, name: str) -> Operation:
        return self._operations[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._operations)

    def __len__(self) -> int:
        return len(self._operations)
