"""Commands that run on other machines, as Python sees them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Literal, Self, TypeVar

import msgspec

from covey.client.calls import Call, Caller
from covey.client.target import HostError, Target
from covey.errors import CoveyError, InvalidRequestError, UnreachableError

_RUN = "exec.run"
_PIECE = 256 << 10
_STDIN_END = msgspec.msgpack.encode({"type": "stdin_end"})

T = TypeVar("T")
Input = bytes | Iterable[bytes] | AsyncIterator[bytes] | None


class CommandFailedError(CoveyError):
    """A command ended with another status than 0; `completed` tells how."""

    code = "command_failed"

    def __init__(self, completed: Completed) -> None:
        how = f"status {completed.status}" if completed.signal is None else completed.signal
        super().__init__(f"The command ended with {how}.", hint="See what it wrote: .stderr")
        self.completed = completed


@dataclass(frozen=True, slots=True)
class Completed:
    """A command that has ended: with a `status`, or by a `signal` such as SIGKILL."""

    status: int | None
    signal: str | None
    stdout: bytes
    stderr: bytes

    @property
    def ok(self) -> bool:
        """Whether it ended with status 0."""
        return self.status == 0

    @property
    def text(self) -> str:
        """Its output as text."""
        return self.stdout.decode("utf-8", "replace")


@dataclass(frozen=True, slots=True)
class HostCompleted:
    """What one of several hosts answered: how its command ended, or why it did not run."""

    host: str
    completed: Completed | None
    error: HostError | None
    route: str
    ms: float

    @property
    def ok(self) -> bool:
        """Whether the command ran and ended with status 0."""
        return self.completed is not None and self.completed.ok


@dataclass(frozen=True, slots=True)
class Chunk:
    """Bytes of a running command's output."""

    channel: Literal["stdout", "stderr"]
    data: bytes


class _Started(msgspec.Struct, frozen=True, tag="started"):
    id: str
    pid: int


class _Stdout(msgspec.Struct, frozen=True, tag="stdout"):
    data: bytes


class _Stderr(msgspec.Struct, frozen=True, tag="stderr"):
    data: bytes


class _Skipped(msgspec.Struct, frozen=True, tag="skipped"):
    length: int


class _Exited(msgspec.Struct, frozen=True, tag="exited"):
    status: int | None
    signal: str | None


_Output = _Started | _Stdout | _Stderr | _Skipped | _Exited
_ITEMS: msgspec.msgpack.Decoder[_Output] = msgspec.msgpack.Decoder(_Output)


class _HostItem(msgspec.Struct, frozen=True):
    host: str
    value: _Output | None
    error: HostError | None
    route: str
    ms: float


_HOST_ITEMS = msgspec.msgpack.Decoder(_HostItem)


def arguments_of(
    words: Sequence[str],
    *,
    shell: bool,
    cwd: str | None,
    user: str | None,
    env: Mapping[str, str | None] | None,
    timeout: float | None,
) -> dict[str, Any]:
    """Return the operation's arguments; raises `InvalidRequestError` without a command."""
    if not words:
        raise InvalidRequestError("A command has at least one word.")
    variables = [
        name if value is None else f"{name}={value}" for name, value in (env or {}).items()
    ]
    found = {"argv": list(words), "shell": shell, "cwd": cwd, "user": user}
    return found | {"env": variables, "timeout": timeout}


class Process:
    """A command that runs; enter it, or iterate over it, to start it.

    Leaving it ends the command with all that it started. `status` and `signal` are known when the
    output has ended.
    """

    def __init__(
        self,
        caller: Caller,
        arguments: dict[str, Any],
        target: Target,
        *,
        takes_input: bool = True,
    ) -> None:
        self._takes_input = takes_input
        self._caller = caller
        self._arguments = arguments
        self._target = target
        self._call: Call | None = None
        self._exited: _Exited | None = None

    @property
    def status(self) -> int | None:
        """The exit status; None while it runs, or if a signal ended it."""
        return None if self._exited is None else self._exited.status

    @property
    def signal(self) -> str | None:
        """The signal that ended it, if one did."""
        return None if self._exited is None else self._exited.signal

    async def __aenter__(self) -> Self:
        """Start it; raises `CoveyError` if that fails."""
        first = () if self._takes_input else (_STDIN_END,)
        self._call = await self._caller.open(_RUN, self._arguments, self._target, *first)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Leave it: what still runs is ended."""
        if self._call is not None:
            self._call.close()
            self._call = None

    async def __aiter__(self) -> AsyncGenerator[Chunk, None]:
        """Yield the output as it comes, to its end."""
        if self._call is None:
            async with self:
                await self.end_input()
                async for chunk in self._chunks():
                    yield chunk
            return
        async for chunk in self._chunks():
            yield chunk

    async def write(self, data: bytes) -> None:
        """Write to its standard input; waits while it does not read."""
        view = memoryview(data)
        for at in range(0, len(view), _PIECE):
            piece = bytes(view[at : at + _PIECE])
            await self._send({"type": "stdin", "data": piece})

    async def end_input(self) -> None:
        """Close its standard input."""
        if self._takes_input:
            await self._send({"type": "stdin_end"})

    async def send_signal(self, name: str) -> None:
        """Send a signal, such as TERM, to its process group."""
        await self._send({"type": "signal", "name": name})

    async def finish(self, given: Input = None, *, check: bool = False) -> Completed:
        """Give it all of its input, and return what it wrote when it has ended."""
        feeding = asyncio.create_task(self._feed(given))
        parts: dict[str, bytearray] = {"stdout": bytearray(), "stderr": bytearray()}
        try:
            async for chunk in self._chunks():
                parts[chunk.channel] += chunk.data
        finally:
            feeding.cancel()
            await asyncio.gather(feeding, return_exceptions=True)
        completed = Completed(
            self.status, self.signal, bytes(parts["stdout"]), bytes(parts["stderr"])
        )
        if check and not completed.ok:
            raise CommandFailedError(completed)
        return completed

    async def _feed(self, given: Input) -> None:
        match given:
            case None:
                pass
            case bytes():
                await self.write(given)
            case AsyncIterator():
                async for data in given:
                    await self.write(data)
            case _:
                for data in given:
                    await self.write(data)
        await self.end_input()

    async def _send(self, item: dict[str, Any]) -> None:
        if self._call is None:
            raise InvalidRequestError("The command does not run.", hint="Enter it: async with …")
        await self._call.send(msgspec.msgpack.encode(item))

    async def _chunks(self) -> AsyncGenerator[Chunk, None]:
        if self._call is None:
            return
        while (message := await self._call.receive()) is not None:
            match _decode(_ITEMS, message):
                case _Stdout(data=data):
                    yield Chunk("stdout", data)
                case _Stderr(data=data):
                    yield Chunk("stderr", data)
                case _Exited() as exited:
                    self._exited = exited
                case _Started() | _Skipped():
                    pass


@dataclass(slots=True)
class _Gathered:
    parts: dict[str, bytearray] = field(default_factory=dict)
    exited: _Exited | None = None


async def gather_hosts(
    caller: Caller, arguments: dict[str, Any], target: Target
) -> list[HostCompleted]:
    """Run a command without input on several hosts to its end; raises what is wrong with all."""
    call = await caller.open(_RUN, arguments, target)
    running: dict[str, _Gathered] = {}
    ended: list[HostCompleted] = []
    try:
        await call.send(msgspec.msgpack.encode({"end": None}))
        while (message := await call.receive()) is not None:
            item = _decode(_HOST_ITEMS, message)
            host = running.setdefault(item.host, _Gathered())
            match item.value:
                case _Stdout(data=data):
                    host.parts.setdefault("stdout", bytearray()).extend(data)
                case _Stderr(data=data):
                    host.parts.setdefault("stderr", bytearray()).extend(data)
                case _Exited() as exited:
                    host.exited = exited
                case None:
                    ended.append(_completed(item, host))
                case _Started() | _Skipped():
                    pass
    finally:
        call.close()
    return ended


def _completed(item: _HostItem, host: _Gathered) -> HostCompleted:
    completed = None
    if host.exited is not None:
        stdout, stderr = (bytes(host.parts.get(name, b"")) for name in ("stdout", "stderr"))
        completed = Completed(host.exited.status, host.exited.signal, stdout, stderr)
    return HostCompleted(item.host, completed, item.error, item.route, item.ms)


def _decode(decoder: msgspec.msgpack.Decoder[T], message: bytes) -> T:
    try:
        return decoder.decode(message)
    except msgspec.DecodeError as error:
        raise UnreachableError(
            "What answered is not a Covey node of this version.",
            hint="Update Covey on both machines.",
        ) from error
