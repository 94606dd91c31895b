"""The `@operation` decorator and the registry that is built, explicitly, from modules."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
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
class Operation:
    """One thing that a user can do, from which every surface is made."""

    name: str
    access: Role
    effect: Effect
    route: Route
    examples: tuple[str, ...]
    function: Callable[..., Any]
    signature: Signature
    summary: str
    description: str

    @property
    def duplex(self) -> bool:
        """Whether the caller sends items while it runs."""
        return self.signature.input is not None


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
        found = Operation(
            name=name,
            access=access,
            effect=effect,
            route=route,
            examples=examples,
            function=function,
            signature=read_signature(function, name=name, method=route.method, path=route.path),
            summary=summary.strip(),
            description="\n".join(line.strip() for line in rest.strip().splitlines()),
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
