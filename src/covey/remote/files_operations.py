"""The operations on files: look, read, remove, and copy trees from machine to machine."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Annotated

from msgspec import Meta

from covey.errors import InvalidRequestError
from covey.operations.access import Role
from covey.operations.context import Context
from covey.operations.registry import Effect, operation
from covey.remote.files.model import (
    FileHash,
    FileInfo,
    FilePart,
    ReceiveItem,
    Removed,
    SendItem,
)
from covey.remote.files.service import Files
from covey.remote.files.tree import Placing, Rules

Path = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=4096,
        description="A path within the node's roots; one that is not absolute is below the first.",
    ),
]


@operation(
    "files.ls",
    access=Role.OPERATOR,
    effect=Effect.READ,
    http="GET /api/v1/files:ls",
    examples=("files ls", "files ls /srv/data --json"),
)
async def ls(ctx: Context, path: Path = ".") -> AsyncIterator[FileInfo]:
    """List a directory, sorted by name."""
    async with aclosing(ctx.service(Files).look(ctx.caller, path)) as found:
        async for item in found:
            yield item


@operation(
    "files.stat",
    access=Role.OPERATOR,
    effect=Effect.READ,
    http="GET /api/v1/files:stat",
    examples=("files stat notes.txt",),
)
async def stat(
    ctx: Context,
    path: Path,
    *,
    follow: Annotated[bool, Meta(description="Describe what a link leads to.")] = False,
) -> FileInfo:
    """Describe a file, directory or link."""
    return await ctx.service(Files).stat(ctx.caller, path, follow=follow)


@operation(
    "files.cat",
    access=Role.OPERATOR,
    effect=Effect.REVEAL,
    http="GET /api/v1/files:cat",
    examples=("files cat notes.txt", "files cat big.log --offset 1000000 --length 4096"),
)
async def cat(
    ctx: Context,
    path: Path,
    *,
    offset: Annotated[int, Meta(ge=0, description="Begin at this byte.")] = 0,
    length: Annotated[int, Meta(ge=0, description="Most bytes to read.")] | None = None,
) -> AsyncIterator[FilePart]:
    """Read a file."""
    async with aclosing(ctx.service(Files).read(ctx.caller, path, offset, length)) as found:
        async for item in found:
            yield item


@operation(
    "files.hash",
    access=Role.OPERATOR,
    effect=Effect.READ,
    http="GET /api/v1/files:hash",
    examples=("files hash backup.tar",),
)
async def hash_file(ctx: Context, path: Path) -> FileHash:
    """Return the BLAKE2b-256 checksum of a file's content."""
    return await ctx.service(Files).hash(ctx.caller, path)


@operation(
    "files.rm",
    access=Role.OPERATOR,
    effect=Effect.DESTROY,
    http="DELETE /api/v1/files",
    examples=("files rm notes.txt", "files rm build --recursive"),
)
async def rm(
    ctx: Context,
    path: Path,
    *,
    recursive: Annotated[
        bool, Meta(description="Remove a directory with all that is in it.")
    ] = False,
) -> Removed:
    """Remove a file or a link; never one of the roots."""
    return await ctx.service(Files).remove(ctx.caller, path, recursive=recursive)


@operation(
    "files.mkdir",
    access=Role.OPERATOR,
    effect=Effect.CHANGE,
    http="POST /api/v1/files:mkdir",
    examples=("files mkdir photos/2026 --parents",),
)
async def mkdir(
    ctx: Context,
    path: Path,
    *,
    parents: Annotated[bool, Meta(description="Make those that lead to it too.")] = False,
    mode: Annotated[
        str, Meta(pattern="^[01]?[0-7]{3}$", description="Its permissions, in octal.")
    ] = "755",
) -> FileInfo:
    """Make a directory."""
    service = ctx.service(Files)
    return await service.make_directory(ctx.caller, path, int(mode, 8), parents=parents)


@operation(
    "files.send",
    access=Role.OPERATOR,
    effect=Effect.REVEAL,
    http="POST /api/v1/files:send",
)
async def send(
    ctx: Context,
    paths: Annotated[list[Path], Meta(min_length=1, max_length=1000, description="What to send.")],
    *,
    contents: Annotated[
        bool, Meta(description="Send what is in the directory, without its name.")
    ] = False,
    input: AsyncIterator[ReceiveItem],  # noqa: A002 - the name that callers know
) -> AsyncIterator[SendItem]:
    """Send files and directories to a node that receives them; its answers are the input."""
    if contents and len(paths) != 1:
        raise InvalidRequestError("The contents of one directory can be sent at a time.")
    sending = ctx.service(Files).send(ctx.caller, paths, input, contents=contents)
    async with aclosing(sending) as items:
        async for item in items:
            yield item


@operation(
    "files.receive",
    access=Role.OPERATOR,
    effect=Effect.CHANGE,
    http="POST /api/v1/files:receive",
)
async def receive(
    ctx: Context,
    destination: Path,
    *,
    placing: Annotated[
        Placing,
        Meta(description="Whether the tree goes into the destination, or is received as it."),
    ] = Placing.AUTO,
    sync: Annotated[
        bool, Meta(description="Leave files that have the same size and time.")
    ] = False,
    checksum: Annotated[
        bool, Meta(description="With sync, compare contents instead of times.")
    ] = False,
    delete: Annotated[
        bool, Meta(description="With sync, delete what the source does not have.")
    ] = False,
    dry_run: Annotated[bool, Meta(description="Only plan.")] = False,
    preserve: Annotated[bool, Meta(description="Do not take over modes and times.")] = True,
    input: AsyncIterator[SendItem],  # noqa: A002 - the name that callers know
) -> AsyncIterator[ReceiveItem]:
    """Receive files and directories from a node that sends them; what it sends is the input.

    A file stands under its name only once it is whole and its checksum fits. What came before a
    connection was lost is used when the same is copied again.
    """
    if (delete or checksum) and not sync:
        raise InvalidRequestError(
            "delete and checksum go with sync.", hint="Use covey sync-dir for both."
        )
    rules = Rules(sync, checksum, delete, dry_run, preserve)
    receiving = ctx.service(Files).receive(
        ctx.caller, destination, input, placing=placing, rules=rules
    )
    async with aclosing(receiving) as items:
        async for item in items:
            yield item
