"""Calls through a member between: what it can do, and what it cannot."""

from __future__ import annotations

import asyncio
from typing import Any

from covey.errors import (
    UnreachableError,
)
from covey.remote import call_links
from covey.remote.calls import Route
from covey.remote.relay import ask_for_relay, introduce
from covey.remote.tls_frames import TlsFrames
from covey.store.api import NodeId
from tests.remote.members import (
    DEADLINE_S,
    Fleet,
    Play,
    Word,
    collect,
    echo,
    eventually,
    failure,
    get_word,
    link,
    operation_of,
    three,
    wait_word,
    words,
)


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
