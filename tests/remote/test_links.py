"""Calls over links: results, errors, input, cancellation, back-pressure, and the end of a link."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from covey.errors import (
    ConflictError,
    DeadlineExceededError,
    NotFoundError,
    RefusedError,
    UnauthenticatedError,
    UnreachableError,
)
from covey.operations.access import Caller, CallerKind, Limits, Role
from covey.remote import call_link, call_links
from covey.remote.calls import CallHeader, Route
from covey.store.api import NodeId
from tests.remote.members import (
    Fleet,
    Play,
    Word,
    collect,
    echo,
    eventually,
    failure,
    flood,
    get_word,
    guard_word,
    link,
    operation_of,
    pair,
    set_word,
    wait_word,
    words,
)


def test_a_call_returns_its_result(play: Play):
    async def scene(fleet: Fleet) -> None:
        freya, frigg = pair(fleet)
        assert await freya.call(frigg, get_word, text="hello") == Word("hello by frigg")
        assert await frigg.call(freya, get_word, text="hello") == Word("hello by freya")
        health = freya.links.health(frigg.id)
        assert health is not None
        assert (health.route, health.via) == (Route.DIRECT, None)
        await eventually(lambda: freya.links.health(frigg.id).rtt_ms is not None)
        await eventually(lambda: freya.links.health(frigg.id).streams == 0)

    play(scene)


def test_an_error_arrives_as_itself(play: Play):
    async def scene(fleet: Fleet) -> None:
        freya, frigg = pair(fleet)
        error = await failure(freya.call(frigg, get_word, text="bad"))
        assert type(error) is ConflictError
        assert (error.message, error.hint) == ("That word is bad.", "Say another.")
        assert error.details == {"word": "bad"}

    play(scene)


def test_the_caller_travels_with_the_lesser_role_and_both_sides_keep_it(play: Play):
    async def scene(fleet: Fleet) -> None:
        freya, frigg = pair(fleet, Role.OPERATOR)
        await freya.call(frigg, set_word, text="a")
        (caller,) = frigg.work.callers
        assert (caller.name, caller.via, caller.role) == ("root@freya", "freya", Role.OPERATOR)
        assert (caller.kind, caller.node_id) == (CallerKind.NODE, freya.id)
        viewer = Caller(CallerKind.TOKEN, "ci", Role.VIEWER, "192.0.2.7")
        error = await failure(freya.call(frigg, set_word, text="a", caller=viewer))
        assert isinstance(error, RefusedError)
        there, here = frigg.trail.entries, freya.trail.entries
        assert [(item.caller, item.role, item.outcome) for item in there] == [
            ("root@freya via freya", "operator", "ok"),
            ("ci via freya", "viewer", "refused"),
        ]
        assert [(item.caller, item.target, item.outcome) for item in here] == [
            ("root@freya", "a @frigg", "ok"),
            ("ci", "a @frigg", "refused"),
        ]

    play(scene)


def test_a_tokens_scope_and_the_targets_policy_hold_there(play: Play):
    async def scene(fleet: Fleet) -> None:
        freya, frigg = pair(fleet)
        scoped = Caller(CallerKind.TOKEN, "ci", Role.ADMIN, "192.0.2.7", ("word.set",))
        assert isinstance(
            await failure(freya.call(frigg, get_word, text="a", caller=scoped)), RefusedError
        )
        await freya.call(frigg, set_word, text="a", caller=scoped)
        asked = []

        def limits(*who: Any) -> Limits:
            asked.append(who)
            return Limits(deny=("word.set",))

        frigg.limits = limits
        error = await failure(freya.call(frigg, set_word, text="a"))
        assert error.details == {"operation": "word.set", "policy": True}
        assert asked == [("freya", freya.id, Role.ADMIN)]

    play(scene)


def test_what_policy_keeps_from_a_token_here_does_not_go_on_in_this_nodes_name(play: Play):
    async def scene(fleet: Fleet) -> None:
        freya, frigg = pair(fleet)
        limits = Limits(deny=("word.set",))
        bound = Caller(CallerKind.TOKEN, "ci", Role.ADMIN, "192.0.2.7", limits=limits)
        error = await failure(freya.call(frigg, set_word, text="a", caller=bound))
        assert error.details == {"operation": "word.set", "policy": True}
        assert frigg.work.callers == []
        assert await freya.call(frigg, get_word, text="a", caller=bound) == Word("a by frigg")

    play(scene)


def test_a_forwarded_call_goes_no_further(play: Play):
    async def scene(fleet: Fleet) -> None:
        freya, frigg = pair(fleet)
        await freya.call(frigg, get_word, text="a")
        (forwarded,) = frigg.work.callers
        error = await failure(frigg.call(freya, get_word, text="b", caller=forwarded))
        assert isinstance(error, RefusedError)

    play(scene)


def test_what_is_asked_for_wrongly_is_refused(play: Play):
    async def scene(fleet: Fleet) -> None:
        freya, frigg = pair(fleet)
        stream = await freya.links.open(frigg.id, CallHeader("word.get", b"\x80", b"nonsense"))
        assert isinstance(await failure(stream.receive()), UnauthenticatedError)
        proof = freya.asserter.assertion(freya.owner(), frigg.id)
        stream = await freya.links.open(frigg.id, CallHeader("no.such", b"\x80", proof))
        assert isinstance(await failure(stream.receive()), NotFoundError)
        stream = await freya.links.open(frigg.id, CallHeader("word.get", b"\x80", proof))
        error = await failure(stream.receive())
        assert "text" in error.message

    play(scene)


def test_items_go_both_ways_and_large_ones_whole(play: Play):
    async def scene(fleet: Fleet) -> None:
        freya, frigg = pair(fleet)
        said = [Word("a"), Word("large", bytes(range(256)) * 8000), Word("empty", b"")]
        assert await collect(freya, frigg, echo, words(*said)) == said
        assert await collect(freya, frigg, echo, words(*said), most=1) == said[:1]
        await eventually(lambda: frigg.work.running == 0)

    play(scene)


def test_a_fault_in_the_input_ends_the_call(play: Play):
    async def broken() -> AsyncIterator[Word]:
        yield Word("a")
        raise ConflictError("The input broke.")

    async def scene(fleet: Fleet) -> None:
        freya, frigg = pair(fleet)
        error = await failure(collect(freya, frigg, echo, broken()))
        assert error.message == "The input broke."
        await eventually(lambda: frigg.work.running == 0)

    play(scene)


def test_who_leaves_early_ends_the_operation_there(play: Play):
    async def scene(fleet: Fleet) -> None:
        freya, frigg = pair(fleet)
        found = operation_of(flood)
        values = found.signature.arguments(count=10**9, size=10_000)
        items = freya.place(frigg).stream(found, values, freya.context())
        assert (await anext(items)).text == "0"
        assert frigg.work.running == 1
        await items.aclose()
        await eventually(lambda: frigg.work.running == 0)

    play(scene)


def test_a_reader_that_stops_holds_the_far_side_back(play: Play):
    async def scene(fleet: Fleet) -> None:
        freya, frigg = pair(fleet)
        found = operation_of(flood)
        items = freya.place(frigg).stream(
            found, found.signature.arguments(count=10**9, size=100_000), freya.context()
        )
        await anext(items)
        # Others go on meanwhile.
        for _ in range(50):
            await freya.call(frigg, get_word, text="x")
        (inner,) = freya.links._direct.values()
        held = [sum(len(piece.data) for piece in s._held) for s in inner._streams.values()]
        assert max(held) <= 256 * 1024
        await items.aclose()

    play(scene)


def test_many_long_messages_at_once_are_held_up_to_a_bound(
    play: Play, monkeypatch: pytest.MonkeyPatch
):
    """A peer that begins a long message on each stream cannot fill this node's memory."""
    monkeypatch.setattr(call_link, "MOST_ASSEMBLED_BYTES", 4 << 20)

    async def scene(fleet: Fleet) -> None:
        freya, frigg = pair(fleet)
        await eventually(lambda: frigg.id in freya.links._direct)
        out, inner = freya.links._direct[frigg.id], frigg.links._direct[freya.id]
        streams = [out.open(call_links.Purpose.CALL) for _ in range(16)]
        most = 0
        for stream in streams:
            await stream.send(bytes(1 << 20))
        while not all(stream.closed.is_set() for stream in streams):
            await asyncio.sleep(0)
            most = max(most, inner.assembled)
        assert 3 << 20 < most <= 4 << 20
        assert inner.assembled == 0
        assert await freya.call(frigg, get_word, text="a") == Word("a by frigg")

    play(scene)


def test_a_call_ends_with_its_time(play: Play):
    async def scene(fleet: Fleet) -> None:
        freya, frigg = pair(fleet)
        found = operation_of(wait_word)
        context = freya.context(deadline=time.monotonic() + 0.2)
        error = await failure(
            freya.place(frigg).invoke(found, found.signature.arguments(), context)
        )
        assert isinstance(error, DeadlineExceededError)
        await eventually(lambda: frigg.work.running == 0)

    play(scene)


def test_a_link_that_breaks_fails_its_calls(play: Play):
    async def scene(fleet: Fleet) -> None:
        freya, frigg = fleet.member("freya"), fleet.member("frigg")
        ends = link(freya, frigg)
        waiting = asyncio.create_task(freya.call(frigg, wait_word))
        await eventually(lambda: frigg.work.running == 1)
        await ends[0].close()
        error = await failure(waiting)
        assert isinstance(error, UnreachableError)
        await eventually(lambda: frigg.work.running == 0)
        error = await failure(freya.call(frigg, get_word, text="a"))
        assert isinstance(error, UnreachableError)
        assert freya.dials == 1
        link(freya, frigg)
        assert await freya.call(frigg, get_word, text="a") == Word("a by frigg")

    play(scene)


def test_a_link_that_comes_in_time_is_used(play: Play):
    async def scene(fleet: Fleet) -> None:
        freya, frigg = fleet.member("freya"), fleet.member("frigg")
        calling = asyncio.create_task(freya.call(frigg, get_word, text="a"))
        await asyncio.sleep(0)
        link(freya, frigg)
        assert await calling == Word("a by frigg")

    play(scene)


def test_all_who_call_a_host_that_is_away_wait_for_it_together(play: Play):
    async def scene(fleet: Fleet) -> None:
        freya, frigg = fleet.member("freya"), fleet.member("frigg")
        attempts = 0
        relay_to = freya.links._relay_to

        async def watched(node_id: NodeId) -> Any:
            nonlocal attempts
            attempts += 1
            return await relay_to(node_id)

        freya.links._relay_to = watched  # type: ignore[method-assign]
        calls = [freya.call(frigg, get_word, text="a") for _ in range(20)]
        errors = await asyncio.gather(*map(failure, calls))
        assert {type(error) for error in errors} == {UnreachableError}
        assert attempts == 1
        assert isinstance(await failure(freya.call(frigg, get_word, text="a")), UnreachableError)
        assert attempts == 2
        calling = asyncio.create_task(failure(freya.call(frigg, get_word, text="a")))
        await eventually(lambda: attempts == 3)
        await freya.links.close()
        assert isinstance(await calling, UnreachableError)

    play(scene)


def test_who_gives_up_waiting_for_a_link_leaves_nothing_behind(play: Play):
    async def scene(fleet: Fleet) -> None:
        freya, frigg = fleet.member("freya"), fleet.member("frigg")
        before = asyncio.all_tasks()
        calling = asyncio.create_task(freya.call(frigg, get_word, text="a"))
        await eventually(lambda: freya.dials == 1)
        for _ in range(5):
            await asyncio.sleep(0)
        assert not calling.done()
        calling.cancel()
        await asyncio.gather(calling, return_exceptions=True)
        await eventually(lambda: asyncio.all_tasks() == before)

    play(scene)


def test_a_removed_member_is_cut_off_at_once(play: Play):
    async def scene(fleet: Fleet) -> None:
        freya, frigg = pair(fleet)
        waiting = asyncio.create_task(frigg.call(freya, wait_word))
        await eventually(lambda: freya.work.running == 1)
        await fleet.remove("frigg")
        assert isinstance(await failure(waiting), UnreachableError)
        await eventually(lambda: freya.work.running == 0)
        assert isinstance(await failure(frigg.call(freya, get_word, text="a")), Exception)
        assert isinstance(await failure(freya.call(frigg, get_word, text="a")), RefusedError)

    play(scene)


def test_who_loses_a_role_loses_the_calls_that_need_it(play: Play):
    async def scene(fleet: Fleet) -> None:
        freya, frigg = pair(fleet)
        reading = asyncio.create_task(freya.call(frigg, wait_word))
        guarding = asyncio.create_task(freya.call(frigg, guard_word))
        await eventually(lambda: frigg.work.running == 2)
        frigg.server.check_rights()
        freya.role = Role.VIEWER
        frigg.server.check_rights()
        error = await failure(guarding)
        assert isinstance(error, RefusedError)
        assert error.details["required"] == "operator"
        await eventually(lambda: frigg.work.running == 1)
        frigg.work.released.set()
        assert await reading == Word("released")
        assert not frigg.server._calls
        assert not frigg.server._withdrawn

    play(scene)
