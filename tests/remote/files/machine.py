"""Two machines' files and the messages between them, for the tests."""

from __future__ import annotations

import asyncio
import os
import random
import stat
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from covey.engines.accounts import SystemAccounts
from covey.engines.disks import ThreadDisks
from covey.operations.access import Caller, CallerKind, Role
from covey.remote.files.model import Failed, Finished, Plan, ReceiveItem, SendItem
from covey.remote.files.partials import Partials
from covey.remote.files.roots import Roots
from covey.remote.files.service import Files
from covey.remote.files.tree import Placing, Rules

T = TypeVar("T")
Two = tuple[Path, Path, Files, Files]
BIG = random.Random(1).randbytes(3 << 20)
CALLER = Caller(CallerKind.LOCAL, "root@here", Role.OPERATOR, "local")
DEADLINE_S = 60
_QUEUED = 2


class LostError(Exception):
    """The connection is lost."""


class Copying:
    """What a copy came to."""

    def __init__(self) -> None:
        self.plan: Plan | None = None
        self.failed: list[Failed] = []
        self.end: Finished | None = None
        self.sent: list[SendItem] = []

    @property
    def whole(self) -> Finished:
        assert self.end is not None
        assert self.failed == []
        return self.end


def files(*roots: Path, home: Path) -> Files:
    shared = Roots([str(root) for root in roots])
    return Files(lambda _user: shared, ThreadDisks(SystemAccounts()), Partials(home))


def at_once(work: Callable[[], Awaitable[T]]) -> T:
    async def whole() -> T:
        async with asyncio.timeout(DEADLINE_S):
            return await work()

    return asyncio.run(whole())


async def copy(  # noqa: C901 - both sides and what carries between them
    source: Files,
    paths: list[str],
    target: Files,
    destination: str,
    *,
    contents: bool = False,
    placing: Placing = Placing.AUTO,
    lose_after: int | None = None,
    **rules: bool,
) -> Copying:
    """Copy from one to the other; with `lose_after`, the connection breaks after so many items."""
    answers: asyncio.Queue[ReceiveItem | None] = asyncio.Queue(_QUEUED)
    items: asyncio.Queue[SendItem | None] = asyncio.Queue(_QUEUED)
    result = Copying()

    async def sending() -> None:
        sender = source.send(CALLER, paths, _drain(answers), contents=contents)
        async with aclosing(sender) as stream:
            async for item in stream:
                result.sent.append(item)
                await items.put(_carried(item, SendItem))
                if lose_after is not None and len(result.sent) >= lose_after:
                    break
        await items.put(None)

    async def receiving() -> None:
        receiver = target.receive(
            CALLER, destination, _drain(items), placing=placing, rules=Rules(**rules)
        )
        async with aclosing(receiver) as stream:
            async for item in stream:
                match item:
                    case Plan():
                        result.plan = item
                    case Failed():
                        result.failed.append(item)
                    case Finished():
                        result.end = item
                await answers.put(_carried(item, ReceiveItem))
        await answers.put(None)

    tasks = [asyncio.create_task(sending()), asyncio.create_task(receiving())]
    done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
    for task in tasks:
        if not task.done():
            task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        task.result()
    return result


async def _drain(queue: asyncio.Queue[Any]) -> AsyncIterator[Any]:
    while (item := await queue.get()) is not None:
        yield item


def _carried(item: Any, kind: Any) -> Any:
    """Carry an item as the network does."""
    return msgspec.msgpack.decode(msgspec.msgpack.encode(item), type=kind)


def snapshot(top: Path, *, times: bool = True) -> dict[str, tuple[Any, ...]]:
    """Everything below a directory: kind, mode, time and content."""
    found: dict[str, tuple[Any, ...]] = {}
    for path in [top, *sorted(top.rglob("*"))]:
        status = path.lstat()
        name = str(path.relative_to(top))
        mode = stat.S_IMODE(status.st_mode)
        when = status.st_mtime_ns if times else 0
        if path.is_symlink():
            found[name] = ("link", str(path.readlink()))
        elif path.is_dir():
            found[name] = ("dir", mode, when)
        else:
            found[name] = ("file", mode, when, path.read_bytes())
    return found


def leftovers(top: Path) -> list[Path]:
    return [path for path in top.rglob(".covey-*") if not path.is_dir()]


def make_tree(top: Path) -> None:
    (top / "sub" / "deeper").mkdir(parents=True)
    (top / "empty").mkdir()
    (top / "sub" / "small.txt").write_bytes(b"small")
    (top / "sub" / "nothing").write_bytes(b"")
    (top / "sub" / "deeper" / "big.bin").write_bytes(BIG)
    (top / "link").symlink_to("sub/small.txt")
    (top / "dangling").symlink_to("/no/such/place")
    Path(os.fsdecode(os.fsencode(top) + b"/\xe9-not-utf8")).symlink_to(os.fsdecode(b"\xff\xfe"))
    (top / "run.sh").write_bytes(b"#!/bin/sh\n")
    (top / "run.sh").chmod(0o755)
    (top / "sub").chmod(0o550)
    for path in sorted(top.rglob("*"), reverse=True):
        os.utime(path, ns=(0, 1_500_000_000_123_456_789), follow_symlinks=False)
