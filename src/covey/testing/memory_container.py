"""One container of the engine in memory: a script, played by tasks and a real server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from covey.apps.containers import (
    ContainerSpec,
    ContainerState,
    ContainerStatus,
    OutputChunk,
)
from covey.errors import ConflictError, CoveyError

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

_TERMINATED = 143
_KILLED = 137
_NO_COMMAND = 127
_SIGNALS = {"SIGTERM": 15, "SIGINT": 2, "SIGHUP": 1, "SIGUSR1": 10, "SIGKILL": 9}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a command in a container prints, and how it ends."""

    code: int = 0
    stdout: bytes = b""
    stderr: bytes = b""


@dataclass(frozen=True, slots=True)
class Behaviour:
    """What the containers of an image do, in this order, and how the image's build goes.

    Print `lines`; listen on the port `serves` after `ready_s` and answer every HTTP request with
    `body` (or as `server` does); end with `exits` after `ends_s` if it is set. SIGTERM ends them
    after `drains_s` unless they ignore it. `start_error` is why they do not start at all.
    """

    serves: int | None = None
    body: bytes = b"hello\n"
    server: Serve | None = None
    ready_s: float = 0.0
    lines: tuple[str, ...] = ()
    error_lines: tuple[str, ...] = ()
    exits: int | None = None
    ends_s: float = 0.0
    ignores_sigterm: bool = False
    drains_s: float = 0.0
    start_error: str | None = None
    out_of_memory: bool = False
    commands: Mapping[tuple[str, ...], Outcome] = field(default_factory=dict)
    build_lines: tuple[str, ...] = ()
    build_error: str | None = None
    build_s: float = 0.0


class MemoryContainer:
    """Plays the behaviour of its image from each start to its end."""

    def __init__(
        self,
        ident: str,
        image_id: str,
        spec: ContainerSpec,
        behaviour: Behaviour,
        image_labels: Mapping[str, str],
        tell: Callable[[MemoryContainer, str], None],
    ) -> None:
        self.id = ident
        self.image_id = image_id
        self.spec = spec
        self.behaviour = behaviour
        self.status = ContainerStatus.CREATED
        self._labels = {**image_labels, **spec.labels}
        self._tell = tell
        self._code: int | None = None
        self._started: datetime | None = None
        self._ended: datetime | None = None
        self._servers: list[asyncio.Server] = []
        self._connections: set[asyncio.StreamWriter] = set()
        self._ports: dict[int, tuple[str, int]] = {}
        self._life: asyncio.Task[None] | None = None
        self._over = asyncio.Event()
        self._output: list[OutputChunk] = []
        self._news = asyncio.Event()

    def state(self) -> ContainerState:
        """Describe it."""
        running = self.status is ContainerStatus.RUNNING
        return ContainerState(
            id=self.id,
            name=self.spec.name,
            image_id=self.image_id,
            labels=self._labels,
            status=self.status,
            exit_code=self._code,
            out_of_memory=self.behaviour.out_of_memory and self._code is not None,
            started=self._started,
            ended=self._ended,
            ports=dict(self._ports) if running else {},
            address="127.0.0.1" if running else None,
        )

    async def start(self) -> None:
        """Start it, unless it runs."""
        if self.status is ContainerStatus.RUNNING:
            return
        if self.behaviour.start_error is not None:
            raise CoveyError(self.behaviour.start_error)
        self._over.clear()
        self._code, self._ended, self._started = None, None, datetime.now(UTC)
        await self._listen()
        self.status = ContainerStatus.RUNNING
        self._tell(self, "start")
        self._life = asyncio.create_task(self._live())

    async def stop(self, grace_s: float) -> None:
        """Ask it to end, and kill it after the grace."""
        if self.status is not ContainerStatus.RUNNING:
            return
        await self.signal(self.spec.stop_signal or "SIGTERM")
        try:
            async with asyncio.timeout(grace_s):
                await self._over.wait()
        except TimeoutError:
            await self.signal("SIGKILL")

    async def signal(self, name: str) -> None:
        """Send it a signal."""
        if self.status is not ContainerStatus.RUNNING:
            return
        full = name if name.startswith("SIG") else f"SIG{name}"
        if full not in _SIGNALS:
            raise ConflictError(f"There is no signal {name}.")
        if full == "SIGKILL":
            await self._end(_KILLED)
        elif not self.behaviour.ignores_sigterm:
            if self._life is not None:
                self._life.cancel()
            code = _TERMINATED if full == "SIGTERM" else 128 + _SIGNALS[full]
            self._life = asyncio.create_task(self._drain(code))

    async def wait(self) -> int:
        """Wait until it has ended."""
        while self._code is None:
            await self._over.wait()
        return self._code

    async def logs(self, *, follow: bool, tail: int | None) -> AsyncIterator[OutputChunk]:
        """Yield its output, and with `follow` what comes until it ends."""
        at = 0 if tail is None else max(0, len(self._output) - tail)
        while True:
            while at < len(self._output):
                yield self._output[at]
                at += 1
            if not follow or self.status is not ContainerStatus.RUNNING:
                return
            self._news.clear()
            await self._news.wait()

    def print(self, line: str, stream: str = "stdout") -> None:
        """Let it print a line."""
        self._output.append(OutputChunk(stream, f"{line}\n".encode(), datetime.now(UTC)))
        self._news.set()

    async def _live(self) -> None:
        behaviour = self.behaviour
        for line in behaviour.lines:
            self.print(line)
        for line in behaviour.error_lines:
            self.print(line, "stderr")
        if behaviour.exits is not None:
            await asyncio.sleep(behaviour.ends_s)
            await self._end(behaviour.exits)

    async def _drain(self, code: int) -> None:
        await asyncio.sleep(self.behaviour.drains_s)
        await self._end(code)

    async def _end(self, code: int) -> None:
        if self.status is not ContainerStatus.RUNNING:
            return
        self.status = ContainerStatus.EXITED
        self._code, self._ended = code, datetime.now(UTC)
        for server in self._servers:
            server.close()
        for writer in self._connections:
            writer.transport.abort()
        self._servers.clear()
        self._over.set()
        self._news.set()
        self._tell(self, "die")
        if self._life is not None and self._life is not asyncio.current_task():
            self._life.cancel()

    async def _listen(self) -> None:
        """Take the same ports at each start, as an engine does."""
        for port in self.spec.ports:
            number = self._ports.get(port, ("", 0))[1]
            try:
                server = await asyncio.start_server(self._serve, "127.0.0.1", number)
            except OSError:
                # Another program has taken it meanwhile.
                server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
            self._servers.append(server)
            self._ports[port] = ("127.0.0.1", server.sockets[0].getsockname()[1])
            if port != self.behaviour.serves:
                server.close()
            elif self.behaviour.ready_s:
                self._servers.remove(server)
                server.close()
                asyncio.get_running_loop().call_later(
                    self.behaviour.ready_s, self._listen_late, self._ports[port][1]
                )

    def _listen_late(self, number: int) -> None:
        if self.status is ContainerStatus.RUNNING:
            self._opening = asyncio.create_task(self._open(number))

    async def _open(self, number: int) -> None:
        self._servers.append(await asyncio.start_server(self._serve, "127.0.0.1", number))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections.add(writer)
        try:
            await (self.behaviour.server or self._answer)(reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            self._connections.discard(writer)
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        body = self.behaviour.body
        head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        while True:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(head + body)
            await writer.drain()


class MemoryCommand:
    """Implements `ExecSession`."""

    def __init__(self, argv: tuple[str, ...], outcome: Outcome | None) -> None:
        self._echoes = argv == ("cat",)
        missing = Outcome(_NO_COMMAND, stderr=f"{argv[0]}: not found\n".encode())
        self._outcome = outcome or (Outcome() if self._echoes else missing)
        self._chunks: asyncio.Queue[OutputChunk | None] = asyncio.Queue()
        self.size: tuple[int, int] | None = None
        if self._outcome.stdout:
            self._chunks.put_nowait(OutputChunk("stdout", self._outcome.stdout))
        if self._outcome.stderr:
            self._chunks.put_nowait(OutputChunk("stderr", self._outcome.stderr))
        if not self._echoes:
            self._chunks.put_nowait(None)

    async def output(self) -> AsyncIterator[OutputChunk]:
        """Yield its output to the end."""
        while (chunk := await self._chunks.get()) is not None:
            yield chunk

    async def write(self, data: bytes) -> None:
        """Give it input."""
        if self._echoes:
            self._chunks.put_nowait(OutputChunk("stdout", data))

    async def close_input(self) -> None:
        """Let it see the end of its input."""
        if self._echoes:
            self._echoes = False
            self._chunks.put_nowait(None)

    async def resize(self, rows: int, columns: int) -> None:
        """Remember the size."""
        self.size = (rows, columns)

    async def exit_code(self) -> int:
        """Return its exit status."""
        return self._outcome.code

    async def close(self) -> None:
        """Let go of it."""
        await self.close_input()
