"""The keeper of a detached command: it keeps the output, and outlives the daemon."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import select
import socket
import struct
import termios
import time

from covey.engines.keeper.frames import Unpacker, pack
from covey.engines.keeper.keeping import Kept
from covey.remote.exec.recording import Recorder
from covey.remote.exec.spool import STDERR, STDOUT, SpoolWriter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

CONTROL = "control"
ENDED = "ended.json"
_CHUNK = 65_536
_LINGER_S = 1.0
_PARTING_S = 1.0
_END_OF_FILE = b"\x04"


class _Line:
    """One daemon that watches; it is told how far the output has come, never faster than it reads.

    `hold` is the offset from which on it still wants everything.
    """

    def __init__(self, line: socket.socket) -> None:
        self.socket = line
        self.unpacker = Unpacker()
        self.hold: int | None = None
        self.out = bytearray()
        self.told = -1
        line.settimeout(0)

    def flush(self) -> bool:
        """Send what is due; False once the daemon is gone."""
        try:
            while self.out:
                del self.out[: self.socket.send(self.out)]
        except BlockingIOError:
            return True
        except OSError:
            return False
        return True


class _Keeper:
    def __init__(self, kept: Kept, request: dict[str, Any], first: socket.socket) -> None:
        self.kept = kept
        self.request = request
        self.directory: str = request["directory"]
        os.umask(0o077)
        self.listening = socket.socket(socket.AF_UNIX)
        # A Unix socket's path must be short: this one is bound by its name alone.
        os.chdir(self.directory)
        self.listening.bind(CONTROL)
        os.chdir("/")
        self.listening.listen(4)
        self.listening.settimeout(0)
        self.spool = SpoolWriter(self.directory, request["limit"])
        self.recorder = self._recorder()
        self.lines = {first.fileno(): _Line(first)}
        self.outputs: dict[int, int] = {}
        self.input: int | None = None
        self.pending = bytearray()
        self.feeder: _Line | None = None
        self.terminal: int | None = None
        self.reason = "exited"
        self.started = time.monotonic()
        self.linger_until: float | None = None
        timeout = request["timeout"]
        self.timeout_at = None if timeout is None else self.started + timeout

    def start(self) -> dict[str, Any]:
        """Start the command."""
        if self.request["tty"]:
            self.terminal, theirs = os.openpty()
            self._resize(*self.request["size"])
            account = self.request["account"]
            if account is not None:
                os.fchown(theirs, account["uid"], -1)
            stdio = [theirs] * 3
            self.outputs = {self.terminal: STDOUT}
            self.input = os.dup(self.terminal)
        else:
            out, stdout = os.pipe()
            err, stderr = os.pipe()
            if self.request["keep_input"]:
                stdin, self.input = os.pipe()
            else:
                stdin = os.open(os.devnull, os.O_RDONLY)
            stdio = [stdin, stdout, stderr]
            self.outputs = {out: STDOUT, err: STDERR}
        said = self.kept.start(self.request, stdio)
        for fd in set(stdio):
            os.close(fd)
        for fd in (*self.outputs, *([] if self.input is None else [self.input])):
            os.set_blocking(fd, False)
        return said

    def run(self) -> None:
        """Keep the command to its end, and then what it still writes for a moment."""
        while not self._over():
            for fd, events in self._poll():
                self._serve(fd, events)
            self._pass_time()
            self._tell()
        self._finish()

    def _poll(self) -> list[tuple[int, int]]:
        poll = select.poll()
        poll.register(self.kept.wake_fd, select.POLLIN)
        poll.register(self.listening, select.POLLIN)
        for fd, line in self.lines.items():
            poll.register(fd, select.POLLIN | (select.POLLOUT if line.out else 0))
        if not self._held:
            for fd in self.outputs:
                poll.register(fd, select.POLLIN)
        if self.pending and self.input is not None:
            poll.register(self.input, select.POLLOUT)
        moments = [at for at in (self.timeout_at, self.linger_until) if at is not None]
        waits = [max(0.0, at - time.monotonic()) for at in moments]
        if (tick := self.kept.timeout()) is not None:
            waits.append(tick)
        return poll.poll(min(waits) * 1000 + 1 if waits else None)

    def _serve(self, fd: int, events: int) -> None:
        if fd == self.kept.wake_fd:
            self.kept.woken()
            if self.kept.asked and self.kept.status is None:
                self.reason = "killed"
        elif fd == self.listening.fileno():
            self._welcome()
        elif fd in self.lines:
            self._hear(fd, events)
        elif fd in self.outputs:
            self._take(fd)
        elif fd == self.input:
            self._feed()

    def _welcome(self) -> None:
        try:
            line, _ = self.listening.accept()
        except OSError:
            return
        added = _Line(line)
        added.out += pack({"pid": self.kept.pid})
        self.lines[line.fileno()] = added

    def _hear(self, fd: int, events: int) -> None:
        line = self.lines[fd]
        if not events & (select.POLLIN | select.POLLHUP | select.POLLERR):
            return
        try:
            data = line.socket.recv(_CHUNK)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._drop(fd)
            return
        for message in line.unpacker.feed(data):
            self._obey(line, message)

    def _obey(self, line: _Line, message: dict[str, Any]) -> None:
        if "input" in message:
            self.pending += base64.b64decode(message["input"])
            self.feeder = line
            self._feed()
        if "input_end" in message:
            self._end_input()
        if "resize" in message:
            self._resize(*message["resize"])
        if "signal" in message:
            self.kept.signal(message["signal"])
        if "end" in message:
            self._end("killed")
        if "hold" in message:
            line.hold = message["hold"]

    def _feed(self) -> None:
        try:
            while self.pending and self.input is not None:
                del self.pending[: os.write(self.input, self.pending)]
        except BlockingIOError:
            return
        except OSError:
            self._close_input()
        self.pending.clear()
        if self.feeder is not None:
            self.feeder.out += pack({"took": True})
            self.feeder = None

    def _end_input(self) -> None:
        if self.terminal is None:
            self._close_input()
        elif self.input is not None:
            self.pending += _END_OF_FILE
            self._feed()

    def _close_input(self) -> None:
        if self.input is not None:
            os.close(self.input)
            self.input = None

    def _take(self, fd: int) -> None:
        try:
            data = os.read(fd, _CHUNK)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            os.close(fd)
            del self.outputs[fd]
            self.terminal = None if fd == self.terminal else self.terminal
            return
        self.spool.append(self.outputs[fd], data)
        if self.recorder is not None:
            self.recorder.output(self.outputs[fd], data)

    def _resize(self, rows: int, columns: int) -> None:
        if self.terminal is None:
            return
        fcntl.ioctl(self.terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        if self.recorder is not None:
            self.recorder.resize(rows, columns)

    def _end(self, reason: str) -> None:
        if self.kept.status is None:
            self.reason = reason
        self.kept.end()

    def _pass_time(self) -> None:
        now = time.monotonic()
        if self.timeout_at is not None and now >= self.timeout_at:
            self.timeout_at = None
            self._end("timed-out")
        self.kept.tick()
        if self.kept.ended and self.linger_until is None:
            self.timeout_at = None
            self.linger_until = now + _LINGER_S

    def _tell(self) -> None:
        for fd, line in list(self.lines.items()):
            if not line.out and line.told != self.spool.end:
                line.told = self.spool.end
                line.out += pack({"at": self.spool.end})
            if not line.flush():
                self._drop(fd)

    def _drop(self, fd: int) -> None:
        self.lines.pop(fd).socket.close()

    @property
    def _held(self) -> bool:
        """Whether more output would cost some that a watcher has not read."""
        return any(
            line.hold is not None and self.spool.would_lose(line.hold)
            for line in self.lines.values()
        )

    def _over(self) -> bool:
        """Whether the command has ended, and nobody writes any more or the moment is over."""
        if not self.kept.ended:
            return False
        if not self.outputs:
            return True
        now = time.monotonic()
        if self._held:
            self.linger_until = now + _LINGER_S
        return self.linger_until is not None and now >= self.linger_until

    def _finish(self) -> None:
        self.spool.close()
        status, number = self.kept.ending["ended"]
        duration = time.monotonic() - self.started
        if self.recorder is not None:
            self.recorder.finish(f"signal {number}" if number else f"exit {status}")
        record = {
            "status": status,
            "signal": number,
            "reason": self.reason,
            "duration": duration,
            "ended": time.time(),
            "output": self.spool.end,
        }
        ended = os.path.join(self.directory, ENDED)
        os.umask(0o077)
        with open(ended + ".new", "w", encoding="utf-8") as file:
            json.dump(record, file)
            file.flush()
            os.fsync(file.fileno())
        os.rename(ended + ".new", ended)
        os.unlink(os.path.join(self.directory, CONTROL))
        for line in self.lines.values():
            line.socket.settimeout(_PARTING_S)
            try:
                line.socket.sendall(bytes(line.out) + pack({"at": self.spool.end, "ended": True}))
            except OSError:
                continue

    def _recorder(self) -> Recorder | None:
        path = self.request["recording"]
        size = tuple(self.request["size"]) if self.request["tty"] else None
        if path is None:
            return None
        try:
            return Recorder(path, self.request["title"], size, self.request["secrets"])
        except OSError:
            return None


def keep_detached(kept: Kept, control: socket.socket, request: dict[str, Any]) -> None:
    """Run the command to its end, wherever the daemon is."""
    try:
        keeper = _Keeper(kept, request, control)
        said = keeper.start()
    except OSError as error:
        said = {"failed": ["session", error.errno or 0]}
        keeper = None
    control.settimeout(None)
    control.sendall(pack(said))
    control.settimeout(0)
    if keeper is not None and "started" in said:
        keeper.run()
