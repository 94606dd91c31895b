"""Run a program whose output passes a masker, on a terminal if we are on one."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
import threading
import tty
from collections.abc import Iterator, Sequence
from types import FrameType

from covey.shellkit.redact import Redactor
from covey.surfaces.cli.app import CommandExitError
from covey.surfaces.cli.env_run import start_failure

_CHUNK = 65_536
_FORWARDED = (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGCONT)
_BY_THE_TERMINAL = (signal.SIGINT, signal.SIGQUIT)


class Masked:
    """One output of a program: a pipe, or a terminal where ours is one, read by a thread."""

    def __init__(self, target: int, secrets: Sequence[str]) -> None:
        self._target = target
        self._redactor = Redactor(secrets)
        self._terminal = os.isatty(target)
        if self._terminal:
            self._reading, self.writing = pty.openpty()
            # Ours translates newlines already; twice would print stairs.
            tty.setraw(self.writing)
            self.copy_size()
        else:
            self._reading, self.writing = os.pipe()
        self._thread = threading.Thread(target=self._copy, daemon=True)

    def start(self) -> None:
        """Begin to read, once the program holds the writing end."""
        os.close(self.writing)
        self._thread.start()

    def finish(self) -> None:
        """Wait for the end of the output."""
        self._thread.join()
        os.close(self._reading)

    def abandon(self) -> None:
        """Close both ends of an output that was never used."""
        os.close(self.writing)
        os.close(self._reading)

    def copy_size(self) -> None:
        """Tell the program how large the terminal is."""
        if self._terminal:
            with contextlib.suppress(OSError):
                size = fcntl.ioctl(
                    self._target, termios.TIOCGWINSZ, struct.pack("HHHH", 0, 0, 0, 0)
                )
                fcntl.ioctl(self._reading, termios.TIOCSWINSZ, size)

    def _copy(self) -> None:
        reader_is_there = True
        while True:
            try:
                chunk = os.read(self._reading, _CHUNK)
            except OSError:
                # Linux reports the end of a terminal as EIO.
                chunk = b""
            shown = self._redactor.feed(chunk) if chunk else self._redactor.finish()
            if reader_is_there:
                reader_is_there = _write(self._target, shown)
            if not chunk:
                return


class Child:
    """A started program; `own_group` makes it and what it starts one group for signals."""

    def __init__(
        self,
        command: list[str],
        environ: dict[str, str],
        secrets: Sequence[str] | None,
        *,
        own_group: bool = False,
    ) -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        self._outputs = [] if secrets is None else [Masked(1, secrets), Masked(2, secrets)]
        targets: list[int | None] = [output.writing for output in self._outputs]
        out, err = targets or (None, None)
        try:
            self.process = subprocess.Popen(
                command,
                env=environ,
                stdout=out,
                stderr=err,
                process_group=0 if own_group else None,
            )
        except OSError as error:
            for output in self._outputs:
                output.abandon()
            raise start_failure(command[0], error) from error

    def show_output(self) -> None:
        """Begin to pass the output on; by then signals must find the program."""
        for output in self._outputs:
            output.start()

    def wait(self) -> int:
        """Wait for its end and that of its output; returns the status as `subprocess` has it."""
        status = self.process.wait()
        for output in self._outputs:
            output.finish()
        return status

    def send(self, number: int, *, to_group: bool) -> None:
        """Send a signal, if there is still someone to send it to."""
        with contextlib.suppress(ProcessLookupError):
            if to_group:
                os.killpg(self.process.pid, number)
            else:
                self.process.send_signal(number)

    def copy_size(self) -> None:
        """Pass on a change of the terminal's size."""
        for output in self._outputs:
            output.copy_size()


def run_redacted(command: list[str], environ: dict[str, str], secrets: Sequence[str]) -> int:
    """Run a program with masked output; returns its exit status, or ends by its signal."""
    with passing_signals() as running:
        child = Child(command, environ, secrets)
        running.append(child)
        child.show_output()
        status = child.wait()
    return end_like(status)


@contextlib.contextmanager
def passing_signals(*, to_groups: bool = False) -> Iterator[list[Child]]:
    """Pass signals on to the programs in the list that is yielded, or to their whole groups.

    A program in our own group has the terminal's signals already.
    """
    running: list[Child] = []

    def forward(number: int, _frame: FrameType | None) -> None:
        for child in running:
            child.send(number, to_group=to_groups)
        if not running:
            raise CommandExitError(128 + number)

    def resize(_number: int, _frame: FrameType | None) -> None:
        for child in running:
            child.copy_size()

    before = {number: signal.signal(number, forward) for number in _FORWARDED}
    for number in _BY_THE_TERMINAL:
        before[number] = signal.signal(number, forward if to_groups else lambda *_: None)
    before[signal.SIGWINCH] = signal.signal(signal.SIGWINCH, resize)
    try:
        yield running
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def end_like(status: int) -> int:
    """Return a program's exit status; if a signal ended it, end by the same one."""
    if status >= 0:
        return status
    import resource

    number = -status
    # It has dumped its core, if any; ours tells nobody anything.
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    with contextlib.suppress(OSError, ValueError):
        signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
    return 128 + number


def _write(target: int, data: bytes) -> bool:
    """Write everything; returns False when nobody reads any more."""
    while data:
        try:
            data = data[os.write(target, data) :]
        except OSError:
            return False
    return True
