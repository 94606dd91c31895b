"""Nodes in memory with the services on variables."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any, TypeVar

from covey.env import exchange_operations, operations
from covey.env.exchange import EnvExchange
from covey.env.expansion import ExpansionError, Reference
from covey.env.scan import SecretScans, Source
from covey.env.service import EnvService
from covey.env.values import ValueSource
from covey.fleet.hosts import HostRecords
from covey.operations.access import Caller, CallerKind, Role
from covey.operations.audit import AuditEntry
from covey.operations.codec import convert
from covey.operations.context import Context, Services
from covey.operations.invoke import invoke, stream
from covey.operations.registry import Registry
from tests.store.store_nodes import StoreNode

REGISTRY = Registry.from_modules([operations, exchange_operations])
T = TypeVar("T")


class TableOfReferences:
    """Answers references from a table, and counts them."""

    def __init__(self, answers: Mapping[str, str]) -> None:
        self.answers = dict(answers)
        self.asked: list[str] = []

    async def resolve(self, reference: Reference) -> str:
        text = f"{reference.scheme}{' '.join(reference.arguments)}"
        self.asked.append(text)
        if text not in self.answers:
            raise ExpansionError("it is in no table")
        return self.answers[text]


class NoFiles:
    def files(self, paths: list[str]) -> Iterator[Source]:
        yield from (Source(path, b"") for path in paths)

    def staged(self, directory: str, index_file: str | None = None) -> Iterator[Source]:
        yield Source(f"{directory}:{index_file}", b"")


class EnvNode:
    """A node called `name`, whose operations are called as a surface does."""

    def __init__(self, name: str, store: StoreNode, answers: Mapping[str, str]) -> None:
        self.store = store
        self.now = 0.0
        self.references = TableOfReferences(answers)
        self.env = EnvService(
            store.records, lambda: name, ValueSource(self.references, lambda: self.now)
        )
        self.hosts = HostRecords(store.records)
        self.services = Services()
        self.services.provide(EnvService, self.env)
        self.services.provide(EnvExchange, EnvExchange(self.env, self.hosts))
        self.services.provide(SecretScans, SecretScans(NoFiles()))
        self.trail: list[AuditEntry] = []

    def record(self, entry: AuditEntry) -> None:
        self.trail.append(entry)

    def _context(self, role: Role, kind: CallerKind = CallerKind.LOCAL) -> Context:
        return Context(Caller(kind, "ada", role, "local"), self.services, "0" * 16)

    async def call(
        self, operation: str, role: Role = Role.DEVELOPER, /, **arguments: object
    ) -> Any:
        found = REGISTRY[f"env.{operation}"]
        given = convert(arguments, found.signature.arguments)
        return await invoke(found, given, self._context(role), self)

    def watch(self, **arguments: object) -> Any:
        found = REGISTRY["env.watch"]
        given = convert(arguments, found.signature.arguments)
        return stream(found, given, self._context(Role.VIEWER), self)

    async def set(self, name: str, value: str, scope: str = "fleet", **more: object) -> Any:
        return await self.call("set", name=name, value=value, scope=scope, **more)

    async def get(self, name: str, **where: object) -> str:
        return str((await self.call("get", name=name, **where)).value)


async def make_node(name: str = "frigg", answers: Mapping[str, str] | None = None) -> EnvNode:
    return EnvNode(name, await StoreNode(name).start(), answers or {})


def on_node(test: Callable[[EnvNode], Awaitable[None]]) -> Callable[[], None]:
    """Run an asynchronous test on one node."""

    def run() -> None:
        async def main() -> None:
            node = await make_node()
            try:
                await test(node)
            finally:
                await node.store.stop()

        asyncio.run(main())

    run.__name__ = test.__name__  # type: ignore[attr-defined]
    return run
