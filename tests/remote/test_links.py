"""Calls over links: results, errors, input, cancellation, back-pressure, and the end of a link."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
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
from covey.remote.relay import ask_for_relay, introduce
from covey.remote.tls_frames import TlsFrames
from covey.store.api import NodeId
from tests.remote.members import (
    DEADLINE_S,
    Fleet,
    Member,
    Word,
    echo,
    eventually,
    failure,
    flood,
    get_word,
    link,
    operation_of,
    set_word,
    wait_word,
)

Scene = Callable[[Fleet], Awaitable[None]]
Play = Callable[[Scene], None]


@pytest.fixture
def play(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Play:
    """Run a scene in a fresh fleet, and end every link after it."""
    monkeypatch.setattr(call_links, "_DIRECT_WAIT_S", 0.05)

    def run(scene: Scene) -> None:
        async def main() -> None:
            fleet = Fleet(tmp_path)
            try:
                async with asyncio.timeout(DEADLINE_S * 2):
                    await scene(fleet)
            finally:
                await fleet.close()

        asyncio.run(main())

    return run


def pair(fleet: Fleet, role: Role = Role.ADMIN) -> tuple[Member, Member]:
    freya, frigg = fleet.member("freya", role), fleet.member("frigg")
    link(freya, frigg)
    return freya, frigg


def three(fleet: Fleet) -> tuple[Member, Member, Member]:
    """freya - odin - frigg: the outer two have no link."""
    freya, odin, frigg = (fleet.member(name) for name in ("freya", "odin", "frigg"))
    link(freya, odin)
    link(odin, frigg)
    return freya, odin, frigg


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


async def words(*items: Word) -> AsyncIterator[Word]:
    for item in items:
        yield item


async def collect(host: Member, other: Member, function: Any, items: Any, **arguments: Any):
    found = operation_of(function)
    values = found.signature.arguments(**arguments)
    place = host.place(other)
    return [item async for item in place.stream(found, values, host.context(), items)]


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


def test_a_third_member_carries_what_it_cannot_read(play: Play):
    async def scene(fleet: Fleet) -> None:
        freya, odin, frigg = three(fleet)
        secret = b"only for frigg: " + bytes(range(256)) * 500
        seen: list[bytes] = []
        await eventually(lambda: len(odin.links._direct) == 2)
        for each in list(odin.links._direct.values()):
            receive = each._frames.receive

            async def watched(receive: Any = receive) -> bytes:
                data = await receive()
                seen.append(data)
                return data

            each._frames.receive = watched
        said = [Word("a", secret)] * 20
        assert await collect(freya, frigg, echo, words(*said)) == said
        assert sum(map(len, seen)) > 2 * 20 * len(secret)
        assert not any(b"only for frigg" in item for item in seen)
        health = freya.links.health(frigg.id)
        assert health is not None
        assert (health.route, health.via) == (Route.RELAYED, odin.id)
        # The far side uses the same way back.
        assert await frigg.call(freya, get_word, text="b") == Word("b by freya")
        assert odin.work.callers == []

    play(scene)


def test_a_direct_link_goes_before_a_relayed_one(play: Play):
    async def scene(fleet: Fleet) -> None:
        freya, _, frigg = three(fleet)
        place = freya.place(frigg)
        found = operation_of(get_word)
        await place.invoke(found, found.signature.arguments(text="a"), freya.context())
        assert place.route == "relayed"
        link(freya, frigg)
        await asyncio.sleep(0)
        place = freya.place(frigg)
        await place.invoke(found, found.signature.arguments(text="a"), freya.context())
        assert place.route == "direct"

    play(scene)


def test_a_relay_that_dies_fails_the_call_clearly(play: Play):
    async def scene(fleet: Fleet) -> None:
        freya, odin, frigg = (fleet.member(name) for name in ("freya", "odin", "frigg"))
        ends = [*link(freya, odin), *link(odin, frigg)]
        waiting = asyncio.create_task(freya.call(frigg, wait_word))
        await eventually(lambda: frigg.work.running == 1)
        for end in ends:
            await end.close()
        error = await failure(waiting)
        assert isinstance(error, UnreachableError)
        assert "broke off" in error.message
        await eventually(lambda: frigg.work.running == 0)

    play(scene)


def test_a_member_that_is_removed_loses_its_relayed_calls(play: Play):
    async def scene(fleet: Fleet) -> None:
        freya, _, frigg = three(fleet)
        waiting = asyncio.create_task(freya.call(frigg, wait_word))
        await eventually(lambda: frigg.work.running == 1)
        await fleet.remove("freya")
        assert isinstance(await failure(waiting), UnreachableError)
        await eventually(lambda: frigg.work.running == 0)

    play(scene)


def test_relays_do_not_chain(play: Play):
    """freya - odin - thor - frigg: two members between are one too many."""

    async def scene(fleet: Fleet) -> None:
        names = ("freya", "odin", "thor", "frigg")
        freya, odin, thor, frigg = (fleet.member(name) for name in names)
        link(freya, odin)
        link(odin, thor)
        link(thor, frigg)
        # odin knows a relayed way to frigg itself, and still does not lend it.
        await odin.call(frigg, get_word, text="a")
        error = await failure(freya.call(frigg, get_word, text="a"))
        assert isinstance(error, UnreachableError)
        assert await freya.call(thor, get_word, text="a") == Word("a by thor")

    play(scene)


def test_one_member_cannot_take_all_that_a_relay_lends(play: Play):
    async def scene(fleet: Fleet) -> None:
        freya, odin, frigg = three(fleet)
        thor = fleet.member("thor")
        link(thor, odin)
        await eventually(lambda: len(odin.links._direct) == 3)
        between = freya.links._direct[odin.id]
        asked = [between.open(call_links.Purpose.RELAY) for _ in range(200)]
        for stream in asked:
            await ask_for_relay(stream, frigg.id)
        await eventually(lambda: sum(not stream.closed.is_set() for stream in asked) <= 8)
        assert await odin.call(frigg, get_word, text="a") == Word("a by frigg")
        assert await thor.call(frigg, get_word, text="a") == Word("a by frigg")
        for stream in asked:
            stream.reset()
        await eventually(lambda: sum(odin.links._lent.values()) <= 1)
        assert await freya.call(frigg, get_word, text="a") == Word("a by frigg")

    play(scene)


def test_a_member_that_brings_relayed_connections_without_end_is_refused(play: Play):
    """Each would be a connection of its own, with all that one may hold."""

    async def scene(fleet: Fleet) -> None:
        freya, odin, frigg = three(fleet)
        await eventually(lambda: frigg.id in odin.links._direct)
        streams = [
            odin.links._direct[frigg.id].open(call_links.Purpose.RELAYED) for _ in range(8 + 2)
        ]
        for stream in streams:
            await introduce(stream, freya.id)
            await TlsFrames(stream, freya.client_tls(), server_side=False).handshake()
        await eventually(lambda: sum(stream.closed.is_set() for stream in streams) == 2)
        assert len(frigg.links._running) == 8

    play(scene)


def test_a_relay_cannot_pass_itself_off_as_the_target(play: Play):
    async def scene(fleet: Fleet) -> None:
        freya, odin, frigg = three(fleet)

        async def answer_itself(stream: Any, origin: NodeId) -> None:
            await stream.receive()
            await TlsFrames(stream, odin.tls.server, server_side=True).handshake()
            await asyncio.sleep(DEADLINE_S)

        odin.links._relay_for = answer_itself
        error = await failure(freya.call(frigg, get_word, text="a"))
        assert isinstance(error, UnreachableError)
        assert freya.links.health(frigg.id) is None
        assert frigg.work.callers == []

    play(scene)


def test_an_impostor_behind_a_relay_is_refused(play: Play):
    """odin says that freya asks, and proves only that it is odin."""

    async def scene(fleet: Fleet) -> None:
        _, odin, frigg = three(fleet)
        await eventually(lambda: frigg.id in odin.links._direct)
        stream = odin.links._direct[frigg.id].open(call_links.Purpose.RELAYED)
        await introduce(stream, fleet.members["freya"].id)
        frames = TlsFrames(stream, odin.client_tls(), server_side=False)
        await failure(_talk(frames))
        assert frigg.links.health(fleet.members["freya"].id) is None

    play(scene)


async def _talk(frames: Any) -> None:
    await frames.handshake()
    await frames.receive()
