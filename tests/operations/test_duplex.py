"""Operations that read items from their caller while they run."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import msgspec
import pytest

from covey.errors import CoveyError, RefusedError
from covey.operations.access import Caller, CallerKind, Limits, Role
from covey.operations.audit import AuditEntry
from covey.operations.commands import command_of
from covey.operations.context import Context, Services
from covey.operations.invoke import InternalError, duplex
from covey.operations.registry import Effect, Operation, Registry, operation


class Add(msgspec.Struct, frozen=True, tag="add"):
    value: int


class Clear(msgspec.Struct, frozen=True, tag="clear"):
    pass


class Total(msgspec.Struct, frozen=True):
    value: int


@operation("sum.run", access=Role.DEVELOPER, effect=Effect.CHANGE, http="POST /sum/{start}")
async def run_sum(
    ctx: Context, start: int, *, numbers: AsyncIterator[Add | Clear], step: int = 1
) -> AsyncIterator[Total]:
    """Tell the total after each number."""
    total = start
    async for item in numbers:
        match item:
            case Add(value):
                total += value * step
            case Clear():
                total = 0
        yield Total(total)


@operation("sum.once", access=Role.DEVELOPER, effect=Effect.CHANGE, http="POST /sum-once")
async def sum_once(ctx: Context, *, numbers: AsyncIterator[Add]) -> Total:
    """Tell the total of all numbers."""
    return Total(sum([item.value async for item in numbers]))


def read(function: object) -> Operation:
    found = getattr(function, "__covey_operation__")  # noqa: B009 - set by the decorator
    assert isinstance(found, Operation)
    return found


class Trail:
    def __init__(self) -> None:
        self.entries: list[AuditEntry] = []

    def record(self, entry: AuditEntry) -> None:
        self.entries.append(entry)


async def given(*items: Add | Clear) -> AsyncIterator[Add | Clear]:
    for item in items:
        yield item


def run(function: object, *items: Add | Clear, caller: Caller | None = None, **arguments: int):
    trail = Trail()
    caller = caller or Caller(CallerKind.LOCAL, "ada", Role.ADMIN, "local")
    found = read(function)

    async def work() -> list[object]:
        context = Context(caller, Services(), "0" * 16)
        values = found.signature.arguments(**arguments)
        return [item async for item in duplex(found, values, given(*items), context, trail)]

    try:
        return asyncio.run(work()), trail.entries
    except CoveyError as error:
        return error, trail.entries


def test_the_input_stream_is_no_argument():
    signature = read(run_sum).signature
    assert [item.name for item in signature.parameters] == ["start", "step"]
    assert signature.input is not None
    assert (signature.input.name, signature.input.item) == ("numbers", Add | Clear)
    assert command_of(read(run_sum)).duplex
    assert Registry([read(run_sum), read(sum_once)])


def test_items_go_in_and_come_out():
    results, entries = run(run_sum, Add(2), Clear(), Add(5), start=1, step=2)
    assert results == [Total(5), Total(0), Total(10)]
    assert [(item.operation, item.target, item.outcome) for item in entries] == [
        ("sum.run", "1", "ok")
    ]


def test_one_result_comes_as_one_item():
    results, entries = run(sum_once, Add(2), Add(5))
    assert results == [Total(7)]
    assert [item.outcome for item in entries] == ["ok"]


def test_a_caller_without_the_role_is_refused():
    viewer = Caller(CallerKind.TOKEN, "bob", Role.VIEWER, "192.0.2.1")
    for function, arguments in ((run_sum, {"start": 0}), (sum_once, {})):
        error, entries = run(function, Add(1), caller=viewer, **arguments)
        assert isinstance(error, RefusedError)
        assert [item.outcome for item in entries] == ["refused"]


@pytest.mark.parametrize(
    "limits", [Limits(allow=("env.*",)), Limits(deny=("sum.*",)), Limits(("sum.run",), ("*.run",))]
)
def test_the_policy_of_this_node_goes_after_the_role(limits: Limits):
    forwarded = Caller(
        CallerKind.LOCAL, "root@freya", Role.ADMIN, "192.0.2.1", via="freya", limits=limits
    )
    error, entries = run(run_sum, Add(1), caller=forwarded, start=0)
    assert isinstance(error, RefusedError)
    assert "policy" in error.message
    assert [(item.caller, item.outcome) for item in entries] == [
        ("root@freya via freya", "refused")
    ]


def test_a_defect_is_not_shown():
    async def broken() -> AsyncIterator[Add]:
        yield Add("two")  # type: ignore[arg-type]

    found = read(sum_once)

    async def work() -> None:
        caller = Caller(CallerKind.LOCAL, "ada", Role.ADMIN, "local")
        context = Context(caller, Services(), "0" * 16)
        async for _ in duplex(found, found.signature.arguments(), broken(), context, Trail()):
            pass

    with pytest.raises(InternalError):
        asyncio.run(work())


class Ending(msgspec.Struct, frozen=True):
    end: int


async def positional(ctx: Context, numbers: AsyncIterator[Add]) -> Total:
    return Total(0)


async def two(ctx: Context, *, first: AsyncIterator[Add], second: AsyncIterator[Add]) -> Total:
    return Total(0)


async def plain(ctx: Context, *, numbers: AsyncIterator[int]) -> Total:
    return Total(0)


async def ending(ctx: Context, *, numbers: AsyncIterator[Ending]) -> Total:
    return Total(0)


@pytest.mark.parametrize("function", [positional, two, plain, ending])
def test_an_input_stream_that_cannot_be_carried_is_a_defect(function: object):
    mark = operation("x.y", access=Role.VIEWER, effect=Effect.READ, http="POST /x")
    with pytest.raises(TypeError, match=r"x\.y"):
        mark(function)
