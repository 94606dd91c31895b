"""Operations of every shape, over a store in memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Literal

import msgspec

from covey.errors import ConflictError, NotFoundError, PreconditionFailedError, UnreachableError
from covey.operations.access import Role
from covey.operations.context import Context
from covey.operations.page import Cursor, Limit, Page, paginate
from covey.operations.registry import Effect, operation
from covey.operations.secret import Secret

NoteName = Annotated[
    str, msgspec.Meta(pattern="^[A-Za-z][A-Za-z0-9_]{0,31}$", description="The note's name.")
]


class Colour(StrEnum):
    RED = "red"
    GREEN = "green"


Moment = Annotated[datetime, msgspec.Meta(tz=True)]


class Note(msgspec.Struct, frozen=True):
    """A note as it is kept."""

    name: str
    text: str
    version: str
    colour: Colour | None = None
    due: Moment | None = None


class Tick(msgspec.Struct, frozen=True):
    """One item of a stream."""

    number: int


class Notes:
    """The notes, and what the tests watch."""

    def __init__(self) -> None:
        self.held: dict[str, Note] = {}
        self.released = asyncio.Event()
        self.closed_streams = 0
        self.revealed = ""


@operation("note.put", access=Role.DEVELOPER, effect=Effect.CHANGE, http="PUT /api/v1/notes/{name}")
async def put_note(
    ctx: Context,
    name: NoteName,
    text: Annotated[str, msgspec.Meta(max_length=1000)],
    *,
    colour: Colour | None = None,
    due: Moment | None = None,
    if_version: str | None = None,
) -> Note:
    """Write a note."""
    notes = ctx.service(Notes)
    old = notes.held.get(name)
    if if_version is not None and (old is None or old.version != if_version):
        raise PreconditionFailedError("The note has changed.", hint="Read it again.")
    number = 1 if old is None else int(old.version) + 1
    notes.held[name] = Note(name, text, str(number), colour, due)
    return notes.held[name]


@operation("note.get", access=Role.VIEWER, effect=Effect.READ, http="GET /api/v1/notes/{name}")
async def get_note(ctx: Context, name: NoteName) -> Note:
    """Read a note."""
    found = ctx.service(Notes).held.get(name)
    if found is None:
        raise NotFoundError(f"There is no note {name}.", hint="covey note list")
    return found


@operation(
    "note.delete", access=Role.OPERATOR, effect=Effect.DESTROY, http="DELETE /api/v1/notes/{name}"
)
async def delete_note(ctx: Context, name: NoteName, *, if_version: str | None = None) -> None:
    """Delete a note."""
    notes = ctx.service(Notes)
    found = notes.held.get(name)
    if if_version is not None and (found is None or found.version != if_version):
        raise PreconditionFailedError("The note has changed.", hint="Read it again.")
    if notes.held.pop(name, None) is None:
        raise NotFoundError(f"There is no note {name}.")


@operation("note.list", access=Role.VIEWER, effect=Effect.READ, http="GET /api/v1/notes")
async def list_notes(
    ctx: Context,
    *,
    colour: list[Colour] | None = None,
    match: str | None = None,
    newest: bool = False,
    cursor: Cursor = None,
    limit: Limit = 100,
) -> Page[Note]:
    """List notes in pages."""
    rows = [
        (name, note)
        for name, note in sorted(ctx.service(Notes).held.items())
        if (not colour or note.colour in colour) and (match or "") in name
    ]
    return paginate(rows, cursor, limit)


@operation("note.count", access=Role.VIEWER, effect=Effect.READ, http="GET /api/v1/notes/count")
async def count_notes(ctx: Context, *, ratio: float = 1.0) -> int:
    """Count the notes; the literal segment goes before a note of that name."""
    return round(len(ctx.service(Notes).held) * ratio)


@operation("note.seal", access=Role.ADMIN, effect=Effect.REVEAL, http="POST /api/v1/seal")
async def seal_note(
    ctx: Context,
    key: Secret,
    labels: dict[str, str],
    *,
    mode: Literal["soft", "hard"] = "soft",
) -> list[Note]:
    """Take a secret, a mapping and a choice."""
    ctx.service(Notes).revealed = key.reveal()
    return []


@operation("note.watch", access=Role.VIEWER, effect=Effect.READ, http="GET /api/v1/ticks")
async def watch_notes(
    ctx: Context, *, count: Annotated[int, msgspec.Meta(ge=0, le=100)] = 3, fail: bool = False
) -> AsyncIterator[Tick]:
    """Stream ticks."""
    if fail and count == 0:
        raise ConflictError("The stream cannot begin.")
    for number in range(count):
        yield Tick(number)
    if fail:
        raise UnreachableError("The stream broke.", hint="Try again.")


@operation("note.follow", access=Role.VIEWER, effect=Effect.READ, http="POST /api/v1/follow")
async def follow_notes(ctx: Context, *, first: int = 0) -> AsyncIterator[Tick]:
    """Stream one tick, unless `first` is negative, and then wait for ever."""
    notes = ctx.service(Notes)
    try:
        if first >= 0:
            yield Tick(first)
        await notes.released.wait()
        yield Tick(first + 1)
    finally:
        notes.closed_streams += 1


@operation("note.break", access=Role.VIEWER, effect=Effect.READ, http="POST /api/v1/break")
async def break_notes(ctx: Context) -> None:
    """Fail in a way that nobody expected."""
    raise ZeroDivisionError("a private detail")


@operation("note.wait", access=Role.VIEWER, effect=Effect.READ, http="POST /api/v1/wait")
async def wait_notes(ctx: Context) -> None:
    """Wait until released."""
    await ctx.service(Notes).released.wait()


class Say(msgspec.Struct, frozen=True, tag="say"):
    """Something to be repeated."""

    data: bytes


class Stop(msgspec.Struct, frozen=True, tag="stop"):
    """The end of the talk."""


class Echo(msgspec.Struct, frozen=True):
    """What was said."""

    number: int
    data: bytes


@operation(
    "note.talk", access=Role.DEVELOPER, effect=Effect.CHANGE, http="POST /api/v1/talk/{name}"
)
async def talk(
    ctx: Context, name: NoteName, *, said: AsyncIterator[Say | Stop], times: int = 1
) -> AsyncIterator[Echo]:
    """Repeat what is said."""
    notes = ctx.service(Notes)
    try:
        number = 0
        async for item in said:
            if isinstance(item, Stop):
                raise ConflictError("The talk was stopped.")
            for _ in range(times):
                number += 1
                yield Echo(number, item.data)
    finally:
        notes.closed_streams += 1


@operation("note.hold", access=Role.DEVELOPER, effect=Effect.CHANGE, http="POST /api/v1/hold")
async def hold(ctx: Context, *, said: AsyncIterator[Say]) -> int:
    """Read nothing until released, and then tell how much there was."""
    notes = ctx.service(Notes)
    try:
        await notes.released.wait()
        return sum([len(item.data) async for item in said])
    finally:
        notes.closed_streams += 1
