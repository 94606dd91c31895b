"""One running command: its output in order, its input, its time limit and its end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from datetime import UTC, datetime
from typing import Protocol

from covey.errors import InvalidRequestError
from covey.remote.exec.model import (
    EndReason,
    ExecInput,
    ExecOutput,
    Exited,
    Resize,
    Signal,
    Skipped,
    Started,
    Stderr,
    Stdin,
    StdinEnd,
    Stdout,
    signal_name,
    signal_number,
)
from covey.remote.exec.ports import DetachedProcess, Ending, RunningProcess, Size
from covey.remote.exec.recording import Recorder
from covey.remote.exec.request import Prepared
from covey.remote.exec.spool import STDERR, STDOUT, Piece, SpoolReader

_HOLD_EVERY = 256 << 10


class _Controlled(Protocol):
    """What input goes to: a command that is attached or detached."""

    async def write(self, data: bytes) -> None: ...

    async def end_input(self) -> None: ...

    def resize(self, size: Size) -> None: ...

    def signal(self, number: int) -> None: ...


class Attached:
    """A command whose output goes to its one caller; when the caller leaves, it ends."""

    def __init__(
        self,
        identifier: str,
        prepared: Prepared,
        caller: str,
        process: RunningProcess,
        recorder: Recorder | None,
    ) -> None:
        self.id = identifier
        self.prepared = prepared
        self.caller = caller
        self.user = prepared.launch.account.name
        self.pid = process.pid
        self.started = datetime.now(UTC)
        self.output = 0
        self.recorded = recorder is not None
        self._process = process
        self._recorder = recorder
        self._reason = EndReason.EXITED

    async def run(self, items: AsyncIterator[ExecInput]) -> AsyncGenerator[ExecOutput, None]:
        """Yield the output as it is asked for, feed the input, and yield the end."""
        begin = time.monotonic()
        process = self._process
        feeding = asyncio.create_task(self._feed(items))
        feeding.add_done_callback(self._fed)
        timer: asyncio.TimerHandle | None = None
        timeout = self.prepared.request.timeout_s
        if timeout is not None:
            loop = asyncio.get_running_loop()
            timer = loop.call_later(timeout, self.end, EndReason.TIMED_OUT)
        ending: Ending | None = None
        try:
            yield Started(self.id, self.pid)
            while (found := await process.read()) is not None:
                channel, data = found
                offset, self.output = self.output, self.output + len(data)
                is_error = channel == "stderr"
                if self._recorder is not None:
                    self._recorder.output(STDERR if is_error else STDOUT, data)
                yield Stderr(offset, data) if is_error else Stdout(offset, data)
            ending = await process.ended()
            if feeding.done() and not feeding.cancelled():
                feeding.result()
            yield exited(ending, time.monotonic() - begin, self._reason)
        finally:
            if timer is not None:
                timer.cancel()
            feeding.cancel()
            try:
                # First: what it waits for must not be closed, and its number given away, meanwhile.
                await asyncio.gather(feeding, return_exceptions=True)
            finally:
                process.close()
                if self._recorder is not None:
                    self._recorder.finish("the caller left" if ending is None else describe(ending))

    def end(self, reason: EndReason = EndReason.KILLED) -> None:
        """End it and all that it started."""
        self._reason = reason
        self._process.end()

    def signal(self, number: int) -> None:
        """Send a signal to its process group."""
        self._process.signal(number)

    async def _feed(self, items: AsyncIterator[ExecInput]) -> None:
        if not await _feed(self._process, items, self._resized):
            await self._process.end_input()

    def _resized(self, size: Size) -> None:
        if self._recorder is not None:
            self._recorder.resize(size.rows, size.columns)

    def _fed(self, feeding: asyncio.Task[None]) -> None:
        """End a command whose input went wrong."""
        if not feeding.cancelled() and feeding.exception() is not None:
            self.end()


class Followed:
    """A detached command's output, read from disk by any number of readers."""

    def __init__(self, directory: str, process: DetachedProcess | None) -> None:
        self._directory = directory
        self._process = process
        self._holds: dict[int, int] = {}

    async def read(self, offset: int, *, follow: bool) -> AsyncGenerator[ExecOutput, None]:
        """Yield the output from `offset` on; with `follow` until the end of the command.

        While someone follows, the command waits rather than losing what was not read.
        """
        reader = SpoolReader(self._directory, offset)
        token = id(reader)
        process = self._process if follow else None
        try:
            self._hold(token, offset)
            held = offset
            while True:
                piece = reader.read()
                if piece is not None:
                    yield _shown(piece)
                    if process is not None and reader.offset - held >= _HOLD_EVERY:
                        held = reader.offset
                        self._hold(token, held)
                    continue
                end = 0 if self._process is None else self._process.spooled
                if end > reader.offset:
                    # It was said to be there and is not: the disk was full.
                    yield Skipped(reader.offset, end - reader.offset)
                    reader.close()
                    reader = SpoolReader(self._directory, end)
                elif process is None or process.ending is not None:
                    return
                else:
                    await process.beyond(reader.offset)
        finally:
            self._hold(token, None)
            reader.close()

    def _hold(self, token: int, offset: int | None) -> None:
        if offset is None:
            self._holds.pop(token, None)
        else:
            self._holds[token] = offset
        if self._process is not None and self._process.ending is None:
            self._process.hold(min(self._holds.values(), default=None))


async def feed_detached(process: DetachedProcess, items: AsyncIterator[ExecInput]) -> None:
    """Pass input on until there is no more; only `StdinEnd` ends the command's own input."""
    await _feed(process, items, lambda _: None)


async def _feed(
    process: _Controlled, items: AsyncIterator[ExecInput], resized: Callable[[Size], None]
) -> bool:
    """Pass input on until there is no more; returns whether the command's own input was ended."""
    ended = False
    async for item in items:
        match item:
            case Stdin(data):
                await process.write(data)
            case StdinEnd():
                ended = True
                await process.end_input()
            case Resize(rows, columns):
                size = Size(rows, columns)
                process.resize(size)
                resized(size)
            case Signal(name):
                process.signal(require_signal(name))
    return ended


def require_signal(name: str) -> int:
    """Return a signal's number; raises `InvalidRequestError`."""
    number = signal_number(name)
    if number is None:
        raise InvalidRequestError(
            f"This machine has no signal {name[:16]}.", hint="For example: TERM, INT, HUP, KILL"
        )
    return number


def exited(ending: Ending, duration_s: float, reason: EndReason) -> Exited:
    """Say how a command ended."""
    return Exited(
        status=ending.status,
        signal=None if ending.signal is None else signal_name(ending.signal),
        duration_s=round(duration_s, 6),
        reason=EndReason.LOST if ending.status is None and ending.signal is None else reason,
    )


def describe(ending: Ending) -> str:
    """Say in a few words how a command ended."""
    if ending.signal is not None:
        return signal_name(ending.signal)
    return "lost" if ending.status is None else f"exit {ending.status}"


def _shown(piece: Piece) -> ExecOutput:
    if piece.missing:
        return Skipped(piece.offset, piece.missing)
    if piece.channel == STDERR:
        return Stderr(piece.offset, piece.data)
    return Stdout(piece.offset, piece.data)
