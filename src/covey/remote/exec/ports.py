"""What the domain asks of processes, of the machine's users and of the fleet's variables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from covey.remote.exec.model import Channel, EndReason


@dataclass(frozen=True, slots=True)
class Size:
    """A terminal's size."""

    rows: int
    columns: int


@dataclass(frozen=True, slots=True)
class Account:
    """A user of this machine."""

    name: str
    uid: int
    gid: int
    home: str
    shell: str


@dataclass(frozen=True, slots=True)
class Launch:
    """A command, ready to start.

    `arg0` is what it sees as its own name, if that is not `argv[0]`. `switch` says that the
    account is another than this process's. `grace_s` is the time between SIGTERM and SIGKILL.
    """

    argv: tuple[str, ...]
    environment: Mapping[str, str] = field(repr=False)
    cwd: str
    account: Account
    switch: bool = False
    arg0: str | None = None
    size: Size | None = None
    grace_s: float = 2.0


@dataclass(frozen=True, slots=True)
class Ending:
    """How a command ended: its exit status or the signal's number; neither if nobody saw it.

    `at` is in seconds since the epoch, `duration_s` in seconds, `output` in bytes; they and the
    reason are known of detached commands.
    """

    status: int | None
    signal: int | None
    reason: EndReason = EndReason.EXITED
    duration_s: float = 0.0
    at: float = 0.0
    output: int = 0


LOST = Ending(None, None, EndReason.LOST)


@dataclass(frozen=True, slots=True)
class Spooling:
    """How a detached command's output is kept; `secrets` are masked in the recording."""

    limit_bytes: int
    recording: Path | None
    title: str
    timeout_s: float | None
    keep_input_open: bool
    secrets: Sequence[str] = field(repr=False, default=())


class RunningProcess(Protocol):
    """A command whose input and output are held here; it ends when this is closed."""

    @property
    def pid(self) -> int:
        """Its process id."""

    async def read(self) -> tuple[Channel, bytes] | None:
        """Return the next output as it comes; None at the end of both.

        Nothing is read ahead: a command that writes more than is asked for waits.
        """

    async def write(self, data: bytes) -> None:
        """Write to its input; waits while it does not read, and drops what it will never read."""

    async def end_input(self) -> None:
        """Say that there is no more input."""

    def resize(self, size: Size) -> None:
        """Change its terminal's size."""

    def signal(self, number: int) -> None:
        """Send a signal to its process group."""

    def end(self) -> None:
        """End it and all that it started: SIGTERM, after the grace SIGKILL."""

    async def ended(self) -> Ending:
        """Wait for its end."""

    def close(self) -> None:
        """Let go of it; unless it has ended, it and all that it started are ended."""


class DetachedProcess(Protocol):
    """A command that keeps its output on disk and outlives the daemon."""

    @property
    def pid(self) -> int:
        """Its process id."""

    @property
    def spooled(self) -> int:
        """Bytes of output up to now."""

    @property
    def ending(self) -> Ending | None:
        """How it ended, once it has."""

    async def beyond(self, offset: int) -> None:
        """Return when there is output behind the offset, or it has ended."""

    async def write(self, data: bytes) -> None:
        """Write to its input."""

    async def end_input(self) -> None:
        """Say that there is no more input."""

    def resize(self, size: Size) -> None:
        """Change its terminal's size."""

    def signal(self, number: int) -> None:
        """Send a signal to its process group."""

    def end(self) -> None:
        """End it and all that it started."""

    def hold(self, offset: int | None) -> None:
        """Keep all output from `offset` on: the command waits rather than losing it."""

    def close(self) -> None:
        """Let go of it; it runs on."""


class Processes(Protocol):
    """Starts commands on this machine."""

    async def run(self, launch: Launch) -> RunningProcess:
        """Start a command that ends with us.

        Raises `NotFoundError` without such a program or directory, `RefusedError` without the
        permission, `StorageError` when the machine has no room for it.
        """

    async def start(self, launch: Launch, directory: Path, spooling: Spooling) -> DetachedProcess:
        """Start a command that keeps its output in `directory`; raises as `run`."""

    async def connect(self, directory: Path) -> DetachedProcess | None:
        """Return the command that was started with this directory; None if it runs no more."""

    def ending(self, directory: Path) -> Ending | None:
        """Return how the command that was started with this directory ended, if it is known."""

    def close(self) -> None:
        """End the commands that were run; the detached ones run on."""


class Accounts(Protocol):
    """The users of this machine."""

    def own(self) -> Account:
        """The user that the daemon runs as."""

    def find(self, name: str) -> Account:
        """Return a user by name; raises `NotFoundError`."""

    def may_switch(self) -> bool:
        """Whether the daemon can start commands as other users."""


class Variables(Protocol):
    """The fleet's variables, as this node resolves them."""

    async def values(self, names: Sequence[str]) -> Mapping[str, str]:
        """Return the values; raises `NotFoundError` for a name that is not set."""

    async def secrets(self) -> Sequence[str]:
        """Return every value that must not be seen in a recording."""
