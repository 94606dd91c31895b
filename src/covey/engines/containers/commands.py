"""A command in a running container, over a connection that both sides write to."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from typing import Any

from covey.apps.containers import OutputChunk
from covey.engines.containers.api import Answer, Api, RefusalError
from covey.engines.containers.failures import doing, is_missing
from covey.engines.containers.output import Frames
from covey.errors import CoveyError

_CHUNK = 64 << 10
_HELD_BYTES = 1 << 20
_LOOK_AGAIN_S = 0.02
_END_S = 10.0


class Command:
    """Implements `ExecSession`.

    Its exit status is asked for as soon as it has ended, however slowly its output is taken: the
    engine forgets it soon.
    """

    def __init__(self, api: Api, ident: str, *, tty: bool) -> None:
        self._api = api
        self._id = ident
        self._tty = tty
        self._stack = AsyncExitStack()
        self._answer: Answer | None = None
        self._chunks: asyncio.Queue[OutputChunk | None] = asyncio.Queue()
        self._held = 0
        self._room = asyncio.Event()
        self._room.set()
        self._code: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._reading: asyncio.Task[None] | None = None
        self._size: tuple[int, int] | None = None
        self._resizing: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start it."""
        self._answer = await self._stack.enter_async_context(
            self._api.open(
                "POST",
                f"/exec/{self._id}/start",
                body=b'{"Detach":false,"Tty":%s}' % (b"true" if self._tty else b"false"),
                upgrade=True,
            )
        )
        self._reading = asyncio.create_task(self._read(self._answer))

    async def output(self) -> AsyncIterator[OutputChunk]:
        """Yield its output to the end."""
        while (chunk := await self._chunks.get()) is not None:
            self._held -= len(chunk.data)
            if self._held < _HELD_BYTES:
                self._room.set()
            yield chunk
        self._chunks.put_nowait(None)

    async def write(self, data: bytes) -> None:
        """Give it input; one that has ended takes none."""
        assert self._answer is not None  # noqa: S101 - it was started
        try:
            self._answer.writer.write(data)
            await self._answer.writer.drain()
        except OSError:
            return

    async def close_input(self) -> None:
        """Let it see the end of its input."""
        assert self._answer is not None  # noqa: S101 - it was started
        try:
            if self._answer.writer.can_write_eof():
                self._answer.writer.write_eof()
        except OSError:
            return

    async def resize(self, rows: int, columns: int) -> None:
        """Change the size of its terminal; one that has ended has none."""
        self._size = (rows, columns)
        try:
            await self._resize()
        except RefusalError as error:
            if not self._code.done() and not is_missing(error):
                with doing("resize the terminal"):
                    raise

    async def _resize(self) -> None:
        assert self._size is not None  # noqa: S101 - it was given one
        rows, columns = self._size
        await self._api.call("POST", f"/exec/{self._id}/resize", {"h": rows, "w": columns})

    async def _resize_again(self) -> None:
        with contextlib.suppress(CoveyError, RefusalError):
            await self._resize()

    async def exit_code(self) -> int:
        """Return its exit status."""
        return await asyncio.shield(self._code)

    async def close(self) -> None:
        """Let go of it."""
        for task in (self._reading, self._resizing):
            if task is not None:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        self._reading = self._resizing = None
        await self._stack.aclose()
        if not self._code.done():
            self._code.cancel()
        elif not self._code.cancelled():
            self._code.exception()
        self._chunks.put_nowait(None)

    async def _read(self, answer: Answer) -> None:
        taken = Frames()
        try:
            while data := await answer.reader.read(_CHUNK):
                if self._size is not None and self._resizing is None:
                    # What was asked before it had its terminal may have been lost.
                    self._resizing = asyncio.create_task(self._resize_again())
                frames = [("stdout", data)] if self._tty else taken.feed(data)
                for stream, content in frames:
                    self._held += len(content)
                    self._chunks.put_nowait(OutputChunk(stream, content))
                if self._held >= _HELD_BYTES:
                    self._room.clear()
                    await self._wait_for_room()
        except (OSError, ValueError):
            pass
        self._chunks.put_nowait(None)
        if not self._code.done():
            await self._ask_until_ended(_END_S)

    async def _wait_for_room(self) -> None:
        asking: asyncio.Task[None] | None = None
        if not self._code.done():
            asking = asyncio.create_task(self._ask_until_ended(None))
        try:
            await self._room.wait()
        finally:
            if asking is not None:
                asking.cancel()
                await asyncio.gather(asking, return_exceptions=True)

    async def _ask_until_ended(self, within_s: float | None) -> None:
        try:
            async with asyncio.timeout(within_s):
                pause = _LOOK_AGAIN_S
                while True:
                    told = await self._api.call("GET", f"/exec/{self._id}/json")
                    if not told.get("Running") and told.get("ExitCode") is not None:
                        self._code.set_result(int(told["ExitCode"]))
                        return
                    await asyncio.sleep(pause)
                    pause = min(pause * 1.5, 0.5)
        except (CoveyError, RefusalError, TimeoutError) as error:
            if within_s is not None:
                failure = CoveyError("The container engine does not tell how the command ended.")
                failure.__cause__ = error
                self._code.set_exception(failure)


async def create_command(
    api: Api,
    container: str,
    argv: tuple[str, ...],
    *,
    tty: bool,
    stdin: bool,
    env: Mapping[str, str] | None,
    cwd: str | None,
    user: str | None,
) -> Command:
    """Make a command in a running container and start it."""
    document: dict[str, Any] = {
        "AttachStdin": stdin,
        "AttachStdout": True,
        "AttachStderr": True,
        "Tty": tty,
        "Cmd": list(argv),
        "Env": [f"{name}={value}" for name, value in (env or {}).items()],
    }
    if cwd is not None:
        document["WorkingDir"] = cwd
    if user is not None:
        document["User"] = user
    with doing(f"run a command in the container {container}"):
        told = await api.call("POST", f"/containers/{container}/exec", body=document)
        command = Command(api, str(told["Id"]), tty=tty)
        try:
            await command.start()
        except BaseException:
            await command.close()
            raise
    return command
