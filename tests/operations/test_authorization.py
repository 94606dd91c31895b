"""Each operation is refused to everybody who may not call it."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from functools import cache
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, Phase, find, settings

from covey.errors import CoveyError, RefusedError, StorageError
from covey.operations.access import Caller, CallerKind, Role, authorize
from covey.operations.audit import AuditEntry
from covey.operations.context import Context, Services
from covey.operations.invoke import invoke, stream
from covey.operations.registry import Effect, Operation
from tests.operations.access_table import ACCESS
from tests.operations.every_operation import NAMES, OPERATIONS, REGISTRY
from tests.operations.type_strategies import values_of

every = pytest.mark.parametrize("operation", OPERATIONS, ids=NAMES)


class Trail:
    def __init__(self) -> None:
        self.entries: list[AuditEntry] = []

    def record(self, entry: AuditEntry) -> None:
        self.entries.append(entry)


@cache
def simplest(name: str) -> msgspec.Struct:
    """Return the simplest valid arguments."""
    found: msgspec.Struct = find(
        values_of(REGISTRY[name].signature.arguments),
        lambda _: True,
        settings=settings(
            max_examples=1,
            database=None,
            derandomize=True,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        ),
    )
    return found


def call(
    operation: Operation, caller: Caller, trail: Trail, services: Services | None = None
) -> Any:
    """Call an operation on a node without services: what passes the gate fails behind it."""
    context = Context(caller, services or Services(), "0" * 16)

    async def work() -> Any:
        arguments = simplest(operation.name)
        if operation.signature.streams:
            return [item async for item in stream(operation, arguments, context, trail)]
        return await invoke(operation, arguments, context, trail)

    return asyncio.run(work())


def caller(role: Role, *allowed: str, kind: CallerKind = CallerKind.TOKEN) -> Caller:
    return Caller(kind, "somebody", role, "192.0.2.1", allowed or ("*",))


def test_the_table_names_every_operation_and_no_other():
    """Add a line to `access_table.py` for a new operation, and let the review see it."""
    assert sorted(ACCESS) == NAMES


@every
def test_the_role_is_the_one_in_the_table(operation: Operation):
    assert operation.access.label == ACCESS[operation.name]


@every
def test_everybody_below_is_refused_and_it_is_kept(operation: Operation):
    beneath = [caller(role) for role in Role if role < operation.access]
    beneath.append(caller(Role.ADMIN, kind=CallerKind.ANONYMOUS))
    beneath.append(caller(Role.ADMIN, "other.*", operation.name + "x", operation.name[:-1]))
    beneath.append(caller(operation.access, "nothing"))
    for item in beneath:
        trail = Trail()
        with pytest.raises(RefusedError) as refused:
            call(operation, item, trail)
        assert refused.value.code == "refused"
        assert [entry.outcome for entry in trail.entries] == ["refused"]


@every
def test_whoever_may_call_it_passes_the_gate(operation: Operation):
    for role in Role:
        if role >= operation.access:
            authorize(caller(role), operation.name, operation.access)
    domain = operation.name.partition(".")[0]
    authorize(caller(operation.access, f"{domain}.*"), operation.name, operation.access)
    trail = Trail()
    with suppress(CoveyError):
        call(operation, caller(operation.access, operation.name), trail)
    assert "refused" not in [entry.outcome for entry in trail.entries]


@every
def test_one_whose_services_do_not_begin_is_kept_as_that(operation: Operation):
    async def fail(_: Operation) -> None:
        raise StorageError("The disk is full.")

    services, trail = Services(), Trail()
    services.prepare_by(fail)
    with pytest.raises(StorageError):
        call(operation, caller(operation.access, operation.name), trail, services)
    kept = [] if operation.effect is Effect.READ else [StorageError.code]
    assert [entry.outcome for entry in trail.entries] == kept


def test_a_refusal_tells_the_way_to_the_role():
    machine = Caller(CallerKind.NODE, "root@frigg", Role.DEVELOPER, "mesh", via="frigg")
    token = Caller(CallerKind.TOKEN, "ci", Role.VIEWER, "192.0.2.1")
    for caller, way in (
        (machine, "covey fleet set-role frigg operator"),
        (token, "covey token create NAME --role operator"),
    ):
        with pytest.raises(RefusedError) as refused:
            authorize(caller, "exec.run", Role.OPERATOR)
        assert refused.value.hint is not None
        assert refused.value.hint.endswith(way)
