"""Real commands below real keepers, for the tests."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any, TypeVar

from covey.engines.accounts import SystemAccounts
from covey.engines.processes import KeptProcesses
from covey.errors import NotFoundError
from covey.operations.access import Caller, CallerKind, Role
from covey.remote.exec.model import (
    ExecInput,
    ExecOutput,
    Exited,
    Skipped,
    Started,
    Stderr,
    Stdin,
    StdinEnd,
    Stdout,
)
from covey.remote.exec.records import ExecFiles
from covey.remote.exec.registry import Commands, ExecPolicy, Recording
from covey.remote.exec.request import ExecRequest, Preparation

T = TypeVar("T")
DEADLINE_S = 60
CALLER = Caller(CallerKind.LOCAL, "root@here", Role.OPERATOR, "local")
SECRET = "s3cr3t-of-the-fleet"


class Variables:
    async def values(self, names: Sequence[str]) -> Mapping[str, str]:
        if set(names) - {"TOKEN"}:
            raise NotFoundError("not set")
        return dict.fromkeys(names, SECRET)

    async def secrets(self) -> Sequence[str]:
        return [SECRET]


def commands(
    root: Path, *, record: Recording = Recording.NEVER, spool_bytes: int = 64 << 20
) -> Commands:
    files = ExecFiles(root / "exec", root / "recordings", 14)
    variables = Variables()
    preparation = Preparation(SystemAccounts(), variables)
    policy = ExecPolicy(record, spool_bytes)
    return Commands(KeptProcesses(), preparation, variables, files, policy)


def on_machine(root: Path, work: Callable[[Commands], Awaitable[T]], **options: Any) -> T:
    """Run `work` with a fresh registry, and end what it leaves."""

    async def whole() -> T:
        async with asyncio.timeout(DEADLINE_S):
            service = commands(root, **options)
            await service.open()
            try:
                return await work(service)
            finally:
                for item in service.list():
                    if item.ended is None and item.pid is not None:
                        await service.kill(item.id, None)
                service.close()

    return asyncio.run(whole())


def request(*argv: str, **options: Any) -> ExecRequest:
    return ExecRequest(argv, **options)


def shell(line: str, **options: Any) -> ExecRequest:
    return ExecRequest((line,), shell=True, **options)


async def typed(*items: ExecInput | bytes) -> AsyncIterator[ExecInput]:
    for item in items:
        yield Stdin(item) if isinstance(item, bytes) else item


async def silence() -> AsyncIterator[ExecInput]:
    """Yield nothing, and never end."""
    await asyncio.Event().wait()
    yield StdinEnd()


class Seen:
    """What a command said."""

    def __init__(self, items: Sequence[ExecOutput]) -> None:
        self.items = items
        self.stdout = b"".join(item.data for item in items if isinstance(item, Stdout))
        self.stderr = b"".join(item.data for item in items if isinstance(item, Stderr))
        self.skipped = sum(item.length for item in items if isinstance(item, Skipped))
        ends = [item for item in items if isinstance(item, Exited)]
        self.end = ends[0] if ends else None

    def check_offsets(self, start: int = 0) -> int:
        """Every piece begins where the one before it ended."""
        at = start
        for item in self.items:
            match item:
                case Stdout(offset, data) | Stderr(offset, data):
                    assert offset == at
                    at += len(data)
                case Skipped(offset, length):
                    assert offset == at
                    at += length
                case Started() | Exited():
                    continue
        return at


async def see(output: Any) -> Seen:
    async with aclosing(output) as items:
        return Seen([item async for item in items])


async def run(
    service: Commands, wanted: ExecRequest, items: AsyncIterator[ExecInput] | None = None
) -> Seen:
    return await see(service.run(wanted, CALLER, typed() if items is None else items))


async def until(condition: Callable[[], bool], what: str = "it") -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end, f"{what} did not come"
        await asyncio.sleep(0.01)


def alive(pid: int) -> bool:
    """Whether a process runs: a zombie does not."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rsplit(")", 1)[1].split()[0] not in {"Z", "X"}


def pids_in(path: Path, count: int) -> list[int]:
    try:
        words = path.read_text().split()
    except OSError:
        return []
    return [int(word) for word in words] if len(words) == count else []
