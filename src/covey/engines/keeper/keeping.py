"""Keeping one command: its start, its end, and the end of all that it left, when that is asked."""

from __future__ import annotations

import os
import signal
import time

from covey.engines.keeper import tree
from covey.engines.keeper.child import StartError, start

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

_AGAIN_S = 0.005
_GIVE_UP_S = 10.0
_ENDING = frozenset({signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGKILL})


class Kept:
    """One command of this process; `wake_fd` is readable when something below has ended.

    Ending it by `end` is gentle first (SIGTERM, on a terminal SIGHUP too), and after the grace
    that the request names it is SIGKILL, until nothing of the tree is left. A command that a
    signal of the caller's ended takes its tree along as well. Make it before the command is
    known: that part of the work does not count then.
    """

    def __init__(self) -> None:
        self._grace = 0.0
        self._hangs_up = False
        self._leader: int | None = None
        self._kill_at: float | None = None
        self._give_up_at: float | None = None
        self._told_to_end = False
        self.status: int | None = None
        self.wake_fd, self._wake = os.pipe()
        for fd in (self.wake_fd, self._wake):
            os.set_blocking(fd, False)
        self.asked = False
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, self._asked_to_end)
        signal.set_wakeup_fd(self._wake, warn_on_full_buffer=False)
        tree.adopt_orphans()

    def start(self, request: dict[str, Any], stdio: Sequence[int]) -> dict[str, Any]:
        """Start the command; returns what to tell the daemon."""
        self._grace = request["grace"]
        self._hangs_up = request["tty"]
        try:
            self._leader = start(request, stdio)
        except StartError as error:
            return {"failed": [error.stage, error.number]}
        return {"started": self._leader}

    def woken(self) -> None:
        """Take the ended ones; told to end (SIGTERM), end the tree."""
        try:
            while os.read(self.wake_fd, 4096):
                pass
        except BlockingIOError:
            pass
        self._reap()
        if self.asked and self.status is None and self._kill_at is None:
            self.end()

    @property
    def pid(self) -> int | None:
        """The command's process id."""
        return self._leader

    @property
    def ended(self) -> bool:
        """Whether the command has ended, and nothing is being ended any more."""
        return self.status is not None and self._kill_at is None

    @property
    def ending(self) -> dict[str, Any]:
        """What to tell the daemon of the end."""
        status = self.status or 0
        number = os.WTERMSIG(status) if os.WIFSIGNALED(status) else None
        return {"ended": [None if number is not None else os.WEXITSTATUS(status), number]}

    def signal(self, number: int) -> None:
        """Send a signal to the command's process group."""
        if self._leader is not None and self.status is None:
            self._told_to_end |= number in _ENDING
            try:
                os.killpg(self._leader, number)
            except OSError:
                return

    def end(self) -> None:
        """Begin to end the whole tree; asked a second time, it is killed at once."""
        now = time.monotonic()
        if self._kill_at is not None:
            self._kill_at = now
            return
        self._kill_at = now + self._grace
        self._give_up_at = self._kill_at + _GIVE_UP_S
        hang_up = (signal.SIGHUP,) if self._hangs_up else ()
        tree.signal_tree(self._leader_alive, *hang_up, signal.SIGTERM, signal.SIGCONT)

    def timeout(self) -> float | None:
        """Seconds until `tick` has something to do."""
        if self._kill_at is None:
            return None
        return max(_AGAIN_S, self._kill_at - time.monotonic())

    def tick(self) -> bool:
        """Go on with ending the tree; True once nothing is left of it."""
        if self._kill_at is None:
            return False
        now = time.monotonic()
        if now >= self._kill_at:
            tree.signal_tree(self._leader_alive, signal.SIGKILL)
        gone = self._reap() or (self._give_up_at is not None and now > self._give_up_at)
        if gone:
            self._kill_at = None
        return gone

    def _reap(self) -> bool:
        """Take the ended ones; returns whether nothing is left."""
        found, childless = tree.reap()
        for pid, status in found:
            if pid == self._leader and self.status is None:
                self.status = status
                if self._told_to_end and self._kill_at is None and not childless:
                    self.end()
        return childless

    def _asked_to_end(self, *_: object) -> None:
        self.asked = True

    @property
    def _leader_alive(self) -> int | None:
        return self._leader if self.status is None else None
