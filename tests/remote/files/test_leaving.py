"""Callers who leave while the disk works for them: nothing stays open."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from covey.engines.accounts import SystemAccounts
from covey.engines.disks import ThreadDisk, ThreadDisks
from covey.remote.files import service as service_module
from covey.remote.files.delta import block_bytes
from covey.remote.files.model import (
    Begin,
    Block,
    ContentEnd,
    Data,
    Entries,
    EntriesEnd,
    Entry,
    FileKind,
    ReceiveItem,
    SendEnd,
    SendItem,
    Want,
    Wants,
)
from covey.remote.files.partials import Partials
from covey.remote.files.reading import new_hash
from covey.remote.files.roots import Roots
from covey.remote.files.service import Files
from covey.remote.files.tree import Placing, Rules
from tests.remote.files.machine import CALLER, at_once

CONTENT = bytes(range(256)) * 4096
Work = Callable[[Files], Awaitable[None]]


class LeavingDisks(ThreadDisks):
    """The caller leaves during the `moment`-th piece of work, which is done all the same."""

    def __init__(self, moment: int) -> None:
        super().__init__(SystemAccounts())
        self.left = moment

    def of(self, user: str | None) -> ThreadDisk:
        disk = super().of(user)
        run = ThreadDisk.run

        async def watched(work: Any, *arguments: Any, **named: Any) -> Any:
            found = await run(disk, work, *arguments, **named)
            self.left -= 1
            if self.left == 0:
                raise asyncio.CancelledError
            return found

        disk.run = watched  # type: ignore[method-assign]
        return disk


async def look(files: Files) -> None:
    async for _ in files.look(CALLER, "."):
        pass


async def read(files: Files) -> None:
    async for _ in files.read(CALLER, "big", 0, None):
        pass


async def hash_it(files: Files) -> None:
    found = await files.hash(CALLER, "big")
    assert found.blake2b == new_hash_of(CONTENT)


async def send(files: Files) -> None:
    async def answers() -> AsyncIterator[ReceiveItem]:
        blocks = [Block(b"", b"")]
        yield Wants([Want(0, block_bytes=block_bytes(1 << 20), blocks=blocks)], last=True)

    async for _ in files.send(CALLER, ["big"], answers(), contents=False):
        pass


async def receive(files: Files) -> None:
    async def items() -> AsyncIterator[SendItem]:
        yield Entries([Entry(0, b"new", FileKind.FILE, len(CONTENT), 0o600, 0)])
        yield EntriesEnd()
        yield Begin(0, 0)
        yield Data(CONTENT)
        yield ContentEnd(bytes.fromhex(new_hash_of(CONTENT)))
        yield SendEnd()

    async for _ in files.receive(CALLER, "to/", items(), placing=Placing.INTO, rules=Rules()):
        pass


@pytest.mark.parametrize("work", [look, read, hash_it, send, receive])
def test_who_leaves_at_any_moment_leaves_nothing_open(
    tmp_path: Path, work: Work, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(service_module, "_HASHED_AT_ONCE", 100_000)
    (tmp_path / "top").mkdir()
    (tmp_path / "top" / "big").write_bytes(CONTENT)
    moments = 0

    async def leave() -> bool:
        nonlocal moments
        moments += 1
        disks = LeavingDisks(moments)
        files = Files(lambda _: Roots([str(tmp_path / "top")]), disks, Partials(tmp_path / "home"))
        before = open_files()
        with suppress(asyncio.CancelledError):
            await work(files)
        assert open_files() == before
        disks.close()
        return disks.left > 0

    while not at_once(leave):
        pass
    assert moments > 2


def new_hash_of(content: bytes) -> str:
    hasher = new_hash()
    hasher.update(content)
    return hasher.hexdigest()


def open_files() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())
