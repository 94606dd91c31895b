"""What is said to a running command and by it, and how commands are listed."""

from __future__ import annotations

import signal
from enum import StrEnum
from typing import Annotated, Literal

from msgspec import Meta, Struct

SIGNALS = tuple(
    sorted(
        item.name.removeprefix("SIG")
        for item in signal.Signals
        if not item.name.startswith(("SIGRT", "SIG_"))
    )
)
"""Names of signals, without SIG, that this machine knows."""

SignalName = Annotated[
    str,
    Meta(
        pattern=r"^(SIG)?[A-Z0-9]{2,12}(?!\n)$",
        description="The signal, such as TERM, KILL or INT.",
    ),
]
Rows = Annotated[int, Meta(ge=1, le=10_000, description="Height of the terminal in rows.")]
Columns = Annotated[int, Meta(ge=1, le=10_000, description="Width of the terminal in columns.")]


class Stdin(Struct, frozen=True, tag="stdin"):
    """Bytes for the command's standard input."""

    data: bytes


class StdinEnd(Struct, frozen=True, tag="stdin_end"):
    """There is no more input; on a terminal, an end-of-file character."""


class Resize(Struct, frozen=True, tag="resize"):
    """The terminal's new size."""

    rows: Rows
    columns: Columns


class Signal(Struct, frozen=True, tag="signal"):
    """A signal for the command's process group."""

    name: SignalName


ExecInput = Stdin | StdinEnd | Resize | Signal


class Started(Struct, frozen=True, tag="started"):
    """The command runs; `offset` is where the output that follows begins."""

    id: str
    pid: int
    offset: int = 0


class Stdout(Struct, frozen=True, tag="stdout"):
    """Bytes from standard output, or from the terminal.

    `offset` counts the bytes of both outputs before these: `offset + len(data)` is where to
    attach again.
    """

    offset: int
    data: bytes


class Stderr(Struct, frozen=True, tag="stderr"):
    """Bytes from standard error; `offset` counts the bytes of both outputs before these."""

    offset: int
    data: bytes


class Skipped(Struct, frozen=True, tag="skipped"):
    """Output that is no longer kept: `length` bytes from `offset`."""

    offset: int
    length: int


class EndReason(StrEnum):
    """Why a command ended."""

    EXITED = "exited"
    TIMED_OUT = "timed-out"
    KILLED = "killed"
    LOST = "lost"


class Exited(Struct, frozen=True, tag="exited"):
    """The end of a command: its exit status, or the signal that ended it; neither if lost.

    `duration_s` is in seconds from start to end.
    """

    status: int | None
    signal: str | None
    duration_s: float
    reason: EndReason = EndReason.EXITED


ExecOutput = Started | Stdout | Stderr | Skipped | Exited


class CommandState(StrEnum):
    """Where a command is; a lost one ended with its machine, and nobody saw how."""

    RUNNING = "running"
    EXITED = "exited"
    LOST = "lost"


class RemoteCommand(Struct, frozen=True):
    """One command of this node; times are ISO 8601 in UTC, `output` is in bytes."""

    id: str
    state: CommandState
    command: str
    caller: str
    user: str
    started: str
    detached: bool
    tty: bool
    output: int
    pid: int | None = None
    ended: str | None = None
    status: int | None = None
    signal: str | None = None
    reason: EndReason | None = None
    recorded: bool = False


Channel = Literal["stdout", "stderr"]


def signal_number(name: str) -> int | None:
    """Return the number of a signal that is named with or without SIG; None if it is unknown."""
    try:
        return signal.Signals["SIG" + name.removeprefix("SIG")].value
    except KeyError:
        return None


def signal_name(number: int) -> str:
    """Return a signal's name, such as SIGKILL."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"SIG{number}"
