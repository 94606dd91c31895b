"""Commands that this machine runs for others, each below a keeper that ends its whole tree."""

from __future__ import annotations

import array
import asyncio
import fcntl
import os
import termios
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from covey.engines.detached import Detached, connect_detached, read_ending, start_detached
from covey.engines.keepers import Keepers, Line, no_room, request_of
from covey.engines.pty import END_OF_FILE, open_terminal, set_size
from covey.remote.exec.model import Channel
from covey.remote.exec.ports import Ending, Launch, Size, Spooling

_CHUNK = 256 << 10
_PIPE_BYTES = 1 << 20
_LINGER_S = 1.0


class KeptProcesses:
    """Implements `Processes`."""

    def __init__(self) -> None:
        self._keepers = Keepers()

    async def run(self, launch: Launch) -> Attached:
        """Start a command that ends with us."""
        try:
            streams = _Streams(launch)
        except OSError as error:
            raise no_room(error) from error
        try:
            try:
                line = Line(*self._keepers.engage(streams.theirs, request_of(launch)))
            except OSError as error:
                raise no_room(error) from error
            finally:
                streams.let_go()
            try:
                pid = await line.hear_start(launch)
            except BaseException:
                line.close()
                raise
        except BaseException:
            streams.close()
            raise
        return Attached(pid, line, streams)

    async def start(self, launch: Launch, directory: Path, spooling: Spooling) -> Detached:
        """Start a command that keeps its output in `directory`."""
        try:
            line = Line(*self._keepers.engage([]))
        except OSError as error:
            raise no_room(error) from error
        return await start_detached(line, launch, directory, spooling)

    async def connect(self, directory: Path) -> Detached | None:
        """Return the command that was started with this directory."""
        return await connect_detached(directory)

    def ending(self, directory: Path) -> Ending | None:
        """Return how the command that was started with this directory ended."""
        return read_ending(directory)

    def close(self) -> None:
        """End the parent of the keepers."""
        self._keepers.close()


class _Streams:
    """The ends of a command's input and output, ours and theirs."""

    def __init__(self, launch: Launch) -> None:
        self.terminal: int | None = None
        self.input: int | None
        self.outputs: dict[int, Channel]
        if launch.size is not None:
            self.terminal, theirs = open_terminal(launch.size)
            if launch.switch:
                os.fchown(theirs, launch.account.uid, -1)
            self.input = os.dup(self.terminal)
            self.outputs = {self.terminal: "stdout"}
            self.theirs = [theirs, theirs, theirs]
        else:
            pairs: list[tuple[int, int]] = []
            try:
                pairs += [os.pipe() for _ in range(3)]
            except OSError:
                for pair in pairs:
                    _close(*pair)
                raise
            (stdin, self.input), (out, stdout), (err, stderr) = pairs
            _widen(out)
            self.outputs = {out: "stdout", err: "stderr"}
            self.theirs = [stdin, stdout, stderr]
        for fd in (self.input, *self.outputs):
            os.set_blocking(fd, False)

    def let_go(self) -> None:
        """Close the command's ends, once its keeper has them."""
        _close(*set(self.theirs))

    def close(self) -> None:
        """Close our ends."""
        if self.input is not None:
            _close(self.input)
            self.input = None
        _close(*self.outputs)
        self.outputs.clear()
        self.terminal = None


class Attached:
    """Implements `RunningProcess` on the ends of its pipes or terminal, and the keeper's line."""

    def __init__(self, pid: int, line: Line, streams: _Streams) -> None:
        self.pid = pid
        self._line = line
        self._streams = streams
        self._loop = asyncio.get_running_loop()
        self._ending: Ending | None = None
        self._ended_at = 0.0
        self._owed: dict[int, int] = {}
        self._wake: Callable[[], None] | None = None
        self._listening = asyncio.create_task(self._listen())

    async def read(self) -> tuple[Channel, bytes] | None:
        """Return the next output; None at the end of both."""
        while self._streams.outputs:
            for fd in list(self._streams.outputs):
                data = self._read(fd)
                if data:
                    return self._turn(fd), data
            if self._streams.outputs:
                await self._readable()
        return None

    async def write(self, data: bytes) -> None:
        """Write to its input."""
        view = memoryview(data)
        while view and self._streams.input is not None:
            fd = self._streams.input
            try:
                view = view[os.write(fd, view) :]
            except BlockingIOError:
                await self._until(fd, self._loop.add_writer, self._loop.remove_writer)
            except OSError:
                await self.end_input()

    async def end_input(self) -> None:
        """Close its input, or write the end-of-file character of its terminal."""
        if self._streams.input is None:
            return
        if self._streams.terminal is not None:
            with suppress(OSError):
                os.write(self._streams.input, END_OF_FILE)
            return
        _close(self._streams.input)
        self._streams.input = None

    def resize(self, size: Size) -> None:
        """Change its terminal's size."""
        if self._streams.terminal is not None:
            with suppress(OSError):
                set_size(self._streams.terminal, size)

    def signal(self, number: int) -> None:
        """Send a signal to its process group."""
        self._line.send_now({"signal": number})

    def end(self) -> None:
        """End it and all that it started."""
        self._line.send_now({"end": True})

    async def ended(self) -> Ending:
        """Wait for its end."""
        await asyncio.shield(self._listening)
        return self._ending or Ending(None, None)

    def close(self) -> None:
        """Let go of it."""
        self._listening.cancel()
        self._line.close()
        for fd in self._streams.outputs:
            self._loop.remove_reader(fd)
        if self._streams.input is not None:
            self._loop.remove_writer(self._streams.input)
        self._streams.close()

    async def _listen(self) -> None:
        while (said := await self._line.receive()) is not None:
            if "ended" in said:
                self._ending = Ending(*said["ended"])
                break
        self._ended_at = time.monotonic()
        self._owed = {fd: _waiting(fd) for fd in self._streams.outputs}
        self._loop.call_later(_LINGER_S, self._look_again)
        self._look_again()

    def _look_again(self) -> None:
        if self._wake is not None:
            self._wake()

    def _read(self, fd: int) -> bytes:
        """Read what is there; at the end, and once nothing more is owed, forget the descriptor."""
        try:
            data = os.read(fd, _CHUNK)
        except BlockingIOError:
            if not self._lingering:
                self._forget(fd)
            return b""
        except OSError:
            # Linux reports the end of a terminal as EIO.
            data = b""
        if not data:
            self._forget(fd)
        elif fd in self._owed:
            self._owed[fd] -= len(data)
            if self._owed[fd] <= 0 and not self._lingering:
                self._forget(fd)
        return data

    @property
    def _lingering(self) -> bool:
        """Whether something that the command left behind may still write."""
        return not self._ended_at or time.monotonic() < self._ended_at + _LINGER_S

    def _forget(self, fd: int) -> None:
        if fd in self._streams.outputs:
            self._last = self._streams.outputs.pop(fd)
            _close(fd)

    def _turn(self, fd: int) -> Channel:
        """Return the channel of a descriptor, which is then asked last: both have their turn."""
        outputs = self._streams.outputs
        if fd not in outputs:
            return self._last
        channel = outputs.pop(fd)
        outputs[fd] = channel
        return channel

    async def _readable(self) -> None:
        fds = list(self._streams.outputs)
        future: asyncio.Future[None] = self._loop.create_future()
        self._wake = lambda: None if future.done() else future.set_result(None)
        for fd in fds:
            self._loop.add_reader(fd, self._wake)
        try:
            await future
        finally:
            self._wake = None
            for fd in fds:
                self._loop.remove_reader(fd)

    async def _until(
        self, fd: int, add: Callable[..., object], remove: Callable[[int], object]
    ) -> None:
        future: asyncio.Future[None] = self._loop.create_future()
        add(fd, lambda: None if future.done() else future.set_result(None))
        try:
            await future
        finally:
            remove(fd)


def _waiting(fd: int) -> int:
    """Return the bytes that can be read without waiting."""
    found = array.array("i", [0])
    with suppress(OSError):
        fcntl.ioctl(fd, termios.FIONREAD, found)
    return found[0]


def _widen(fd: int) -> None:
    """Make a pipe larger where the system lets us: fewer turns for much output."""
    with suppress(OSError, AttributeError):
        fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)


def _close(*fds: int) -> None:
    for fd in fds:
        with suppress(OSError):
            os.close(fd)
