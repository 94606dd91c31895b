"""Between this terminal and a running command: input there, output here, in bounded memory."""

from __future__ import annotations

import os
import select

from covey.surfaces.cli.light.terminal_mode import Escapes, size_of_terminal

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from collections.abc import Callable
    from typing import Any

    from covey.client.socket_call import SocketCall
else:
    # `signal` itself makes enumerations of all signals: that takes as long as a whole call.
    import _signal as signal

STDIN, STDOUT, STDERR = 0, 1, 2

_HELD_INPUT = 256 << 10
_HELD_OUTPUT = 1 << 20
_READ = 64 << 10
_AT_ONCE = 4096
"""What a pipe or terminal takes without waiting when it is ready (PIPE_BUF of POSIX on Linux)."""

_PATIENCE_MS = 2000
_REGULAR = 0o100000
_FORMAT = 0o170000
_BROKEN_PIPE = 141
_ESCAPED = 255
_BY_SIGNAL = 128


class LeftError(Exception):
    """The user, or whoever reads the output, left; `status` is what a shell would report."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class Conversation:
    """Runs one call to its end.

    `reads_input` is whether standard input is passed on, and `had_input` whether any was. The
    first Ctrl-C is sent on; the second, or two seconds, end everything that runs there.
    """

    def __init__(self, call: SocketCall, *, tty: bool = False, reads_input: bool = True) -> None:
        self._call = call
        self._tty = tty
        self._escapes = Escapes() if tty else None
        self._input_open = reads_input
        self._started = False
        self.had_input = False
        self._interrupted = False
        self._pending: list[tuple[int, memoryview]] = []
        self._held = 0
        self._at_once: dict[int, int] = {}
        self._signals: list[int] = []

    @property
    def began(self) -> bool:
        """Whether a command runs, or has run."""
        return self._started

    def begin_input(self) -> None:
        """Read standard input from now on: the command runs."""
        self._started = True

    def write(self, descriptor: int, data: bytes) -> None:
        """Write to standard output or error as soon as it takes it."""
        if data:
            self._pending.append((descriptor, memoryview(data)))
            self._held += len(data)

    def write_rest(self) -> None:
        """Write what is held, waiting for whoever reads it; for when the call has failed."""
        try:
            while self._pending:
                poll = select.poll()
                poll.register(self._pending[0][0], select.POLLOUT)
                poll.poll()
                self._write_some()
        except BrokenPipeError:
            raise LeftError(_BROKEN_PIPE) from None

    def run(self, take: Callable[[Any], None]) -> None:
        """Give each message to `take` until the end.

        Raises `CallFailedError`, and `LeftError` when the user leaves first.
        """
        woken, waking = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        names = ("SIGINT", "SIGTERM", "SIGHUP", "SIGWINCH")
        numbers = [int(getattr(signal, name)) for name in names]
        before = [signal.signal(number, self._note_signal) for number in numbers]
        previous = signal.set_wakeup_fd(waking, warn_on_full_buffer=False)
        try:
            while not self._call.ended or self._pending:
                self._step(woken, take)
        except BrokenPipeError:
            raise LeftError(_BROKEN_PIPE) from None
        finally:
            signal.set_wakeup_fd(previous)
            for number, handler in zip(numbers, before, strict=True):
                signal.signal(number, handler)
            os.close(woken)
            os.close(waking)

    def _step(self, woken: int, take: Callable[[Any], None]) -> None:
        call = self._call
        ready = self._wait(woken)
        if not ready and self._interrupted:
            raise LeftError(_BY_SIGNAL + signal.SIGINT)
        if woken in ready:
            _drain(woken)
        self._act_on_signals()
        if STDIN in ready and self._input_open:
            self._read_input()
        connection = call.stream.fileno()
        if call.outgoing and ready.get(connection, select.POLLOUT) & select.POLLOUT:
            call.flush()
        if ready.get(connection, 0) & ~select.POLLOUT:
            for message in call.receive():
                take(message)
        if self._pending and self._pending[0][0] in ready:
            self._write_some()

    def _wait(self, woken: int) -> dict[int, int]:
        """Wait until something can be done, and return which descriptors are ready for what."""
        call = self._call
        poll = select.poll()
        poll.register(woken, select.POLLIN)
        wanted = select.POLLIN if self._held < _HELD_OUTPUT and not call.ended else 0
        if call.outgoing:
            wanted |= select.POLLOUT
        if wanted:
            poll.register(call.stream.fileno(), wanted)
        if self._input_open and self._started and len(call.outgoing) < _HELD_INPUT:
            poll.register(STDIN, select.POLLIN)
        if self._pending:
            poll.register(self._pending[0][0], select.POLLOUT)
        return dict(poll.poll(_PATIENCE_MS if self._interrupted else None))

    def _write_some(self) -> None:
        descriptor, data = self._pending[0]
        limit = self._at_once.get(descriptor)
        if limit is None:
            regular = os.fstat(descriptor).st_mode & _FORMAT == _REGULAR
            limit = self._at_once[descriptor] = _HELD_OUTPUT if regular else _AT_ONCE
        written = os.write(descriptor, data[:limit])
        self._held -= written
        if written == len(data):
            del self._pending[0]
        else:
            self._pending[0] = (descriptor, data[written:])

    def _read_input(self) -> None:
        try:
            data = os.read(STDIN, _READ)
        except OSError:
            data = b""
        if not data:
            self._input_open = False
            self._call.send({"type": "stdin_end"})
            return
        if self._escapes is not None:
            data = self._escapes.filter(data)
            if self._escapes.leaving:
                raise LeftError(_ESCAPED)
        if data:
            self.had_input = True
            self._call.send({"type": "stdin", "data": data})

    def _note_signal(self, number: int, _frame: object) -> None:
        self._signals.append(number)

    def _act_on_signals(self) -> None:
        while self._signals:
            number = self._signals.pop(0)
            if number == signal.SIGWINCH:
                size = size_of_terminal() if self._tty and self._started else None
                if size is not None:
                    self._call.send({"type": "resize", "rows": size[0], "columns": size[1]})
            elif number == signal.SIGINT and self._started and not self._interrupted:
                self._interrupted = True
                self._call.send({"type": "signal", "name": "INT"})
            else:
                raise LeftError(_BY_SIGNAL + number)


def _drain(descriptor: int) -> None:
    try:
        while os.read(descriptor, 512):
            pass
    except BlockingIOError:
        pass
