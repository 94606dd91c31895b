"""Detached commands, as the daemon sees them: a line to the keeper, and the keeper's files."""

from __future__ import annotations

import asyncio
import base64
import os
import socket
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from covey.engines.keeper.detached import CONTROL, ENDED
from covey.engines.keepers import Line, request_of
from covey.remote.exec.model import EndReason
from covey.remote.exec.ports import LOST, Ending, Launch, Size, Spooling
from covey.remote.exec.spool import spooled_bytes

_PIECE = 48 << 10
_CONNECT_S = 5.0


class Detached:
    """Implements `DetachedProcess`."""

    def __init__(self, pid: int, line: Line, directory: Path) -> None:
        self.pid = pid
        self.spooled = spooled_bytes(str(directory))
        self.ending: Ending | None = None
        self._line = line
        self._directory = directory
        self._changed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._took = asyncio.Event()
        self._writing = asyncio.Lock()
        self._listening = asyncio.create_task(self._listen())

    async def beyond(self, offset: int) -> None:
        """Return when there is output behind the offset, or it has ended."""
        while self.spooled <= offset and self.ending is None:
            await asyncio.shield(self._changed)

    async def write(self, data: bytes) -> None:
        """Write to its input."""
        async with self._writing:
            for at in range(0, len(data), _PIECE):
                if self.ending is not None:
                    return
                self._took.clear()
                piece = base64.b64encode(data[at : at + _PIECE]).decode()
                await self._line.send({"input": piece})
                await self._took.wait()

    async def end_input(self) -> None:
        """Say that there is no more input."""
        await self._line.send({"input_end": True})

    def resize(self, size: Size) -> None:
        """Change its terminal's size."""
        self._line.send_now({"resize": [size.rows, size.columns]})

    def signal(self, number: int) -> None:
        """Send a signal to its process group."""
        self._line.send_now({"signal": number})

    def end(self) -> None:
        """End it and all that it started."""
        self._line.send_now({"end": True})

    def hold(self, offset: int | None) -> None:
        """Keep all output from `offset` on."""
        self._line.send_now({"hold": offset})

    def close(self) -> None:
        """Let go of it; it runs on."""
        self._listening.cancel()
        self._line.close()

    async def _listen(self) -> None:
        while (said := await self._line.receive()) is not None:
            self.spooled = max(self.spooled, said.get("at", 0))
            if "took" in said:
                self._took.set()
            if "ended" in said:
                break
            self._tell()
        self.ending = read_ending(self._directory) or LOST
        self.spooled = max(self.spooled, self.ending.output, spooled_bytes(str(self._directory)))
        self._took.set()
        self._tell()
        self._line.close()

    def _tell(self) -> None:
        told, self._changed = self._changed, asyncio.get_running_loop().create_future()
        told.set_result(None)


class _Ended(msgspec.Struct, frozen=True):
    status: int | None
    signal: int | None
    reason: EndReason
    duration: float
    ended: float
    output: int


def read_ending(directory: Path) -> Ending | None:
    """Return how the command ended, as its keeper wrote it down; None if it did not."""
    try:
        found = msgspec.json.decode((directory / ENDED).read_bytes(), type=_Ended)
    except (OSError, msgspec.DecodeError):
        return None
    return Ending(
        found.status, found.signal, found.reason, found.duration, found.ended, found.output
    )


async def start_detached(
    line: Line, launch: Launch, directory: Path, spooling: Spooling
) -> Detached:
    """Have the keeper at the other end of the line start a command."""
    request: dict[str, Any] = {
        **request_of(launch),
        "directory": str(directory),
        "limit": spooling.limit_bytes,
        "recording": None if spooling.recording is None else str(spooling.recording),
        "title": spooling.title,
        "timeout": spooling.timeout_s,
        "keep_input": spooling.keep_input_open,
        "secrets": list(spooling.secrets),
        "size": None if launch.size is None else [launch.size.rows, launch.size.columns],
    }
    try:
        await line.send(request)
        pid = await line.hear_start(launch)
    except BaseException:
        line.close()
        raise
    return Detached(pid, line, directory)


async def connect_detached(directory: Path) -> Detached | None:
    """Return the running command of this directory, or None."""
    try:
        connected = await asyncio.to_thread(_connect, directory)
    except OSError:
        return None
    line = Line(connected)
    said = None
    with suppress(TimeoutError):
        async with asyncio.timeout(_CONNECT_S):
            said = await line.receive()
    if said is None or "pid" not in said:
        line.close()
        return None
    return Detached(said["pid"], line, directory)


def _connect(directory: Path) -> socket.socket:
    """Connect by way of the directory's descriptor: a Unix socket's path must be short."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    connected = socket.socket(socket.AF_UNIX)
    try:
        by_descriptor = Path(f"/proc/self/fd/{descriptor}")
        place = by_descriptor if by_descriptor.exists() else directory
        connected.connect(str(place / CONTROL))
        connected.settimeout(0)
    except BaseException:
        connected.close()
        raise
    finally:
        os.close(descriptor)
    return connected
