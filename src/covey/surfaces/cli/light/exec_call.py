"""One command on one host: what is asked for, and how its output and end are passed on."""

from __future__ import annotations

from covey.client.failure import CallFailedError
from covey.surfaces.cli.light.conversation import STDERR, STDOUT, Conversation, LeftError
from covey.surfaces.cli.light.terminal_mode import RawTerminal, size_of_terminal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from covey.client.socket_call import SocketCall

ROUTE = "/api/v1/exec:run"
ATTACH_ROUTE = "/api/v1/exec/{id}/attach"
_LOST = 1
_BY_SIGNAL = 128
_TIMED_OUT = 124


class ExecCall:
    """A command as the user wrote it; `host` is None for the node that is asked."""

    __slots__ = (
        "cwd",
        "env",
        "host",
        "no_stdin",
        "quiet",
        "record",
        "shell",
        "timeout",
        "tty",
        "user",
        "words",
    )

    def __init__(self, words: list[str], host: str | None = None) -> None:
        self.words = words
        self.host = host
        self.shell = False
        self.tty = False
        self.quiet = False
        self.record = False
        self.no_stdin = False
        self.cwd: str | None = None
        self.user: str | None = None
        self.timeout: float | None = None
        self.env: list[str] = []

    def arguments(self, environ: Mapping[str, str]) -> dict[str, Any]:
        """Return the operation's arguments; what has its default is left out."""
        found: dict[str, Any] = {"argv": self.words}
        for name in ("shell", "tty", "record", "cwd", "user", "timeout", "env"):
            value = getattr(self, name)
            if value:
                found[name] = value
        if self.tty:
            size = size_of_terminal()
            if size is not None:
                found["rows"], found["columns"] = size
            if environ.get("TERM"):
                found["term"] = environ["TERM"]
        return found


class Ending:
    """How a command ended; `note` is what people are told about it, if anything."""

    __slots__ = ("note", "status")

    def __init__(self, status: int, note: str | None = None) -> None:
        self.status = status
        self.note = note

    @classmethod
    def of(cls, exited: Mapping[str, Any]) -> Ending:
        """Read the item `exited`; a signal becomes the status that shells give it."""
        reason, name = exited.get("reason"), exited.get("signal")
        if reason == "timed-out":
            return cls(_TIMED_OUT, "The time for the command was over; it was ended.")
        if exited.get("status") is not None:
            return cls(int(exited["status"]))
        if not name:
            return cls(_LOST, "Nobody saw how the command ended: its machine stopped.")
        note = None if name in {"SIGINT", "SIGPIPE"} else f"The command was ended by {name}."
        return cls(_BY_SIGNAL + _signal_number(str(name)), note)


def converse(call: SocketCall, *, tty: bool, reads_input: bool, may_go_on: bool = False) -> Ending:
    """Pass input and output between a call that has begun and this terminal, to its end.

    `may_go_on` is whether the call may end before the command does. Raises `CallFailedError`, and
    `LeftError` when the user leaves first.
    """
    talk = Conversation(call, tty=tty, reads_input=reads_input)
    receiver = _Receiver(talk)
    try:
        if tty:
            with RawTerminal():
                talk.run(receiver.take)
        else:
            talk.run(receiver.take)
    except CallFailedError as error:
        # What came before the failure is output all the same.
        talk.write_rest()
        error.begun = talk.began
        error.offset = receiver.offset
        raise
    if receiver.ending is None and not may_go_on:
        raise CallFailedError("broken_off", "The command's end was not reported.", exit_code=6)
    return receiver.ending or Ending(0)


class _Receiver:
    """Takes the items of a command's output."""

    def __init__(self, talk: Conversation) -> None:
        self.ending: Ending | None = None
        self.offset = 0
        self._talk = talk

    def take(self, item: Any) -> None:
        match item.get("type"):
            case "stdout":
                self._talk.write(STDOUT, item["data"])
                self.offset = item["offset"] + len(item["data"])
            case "stderr":
                self._talk.write(STDERR, item["data"])
                self.offset = item["offset"] + len(item["data"])
            case "started":
                self.offset = item.get("offset", 0)
                self._talk.begin_input()
            case "exited":
                self.ending = Ending.of(item)
            case "skipped":
                self.offset = item["offset"] + item["length"]
                lost = f"covey: {item['length']} bytes of output are no longer kept\n"
                self._talk.write(STDERR, lost.encode())
            case _:
                pass


def run_call(
    call: SocketCall,
    route: str,
    headers: Mapping[str, str],
    arguments: Mapping[str, Any],
    *,
    tty: bool,
    reads_input: bool,
    may_go_on: bool = False,
) -> Ending:
    """Make a call over a fresh connection, to its end; raises `CallFailedError`, `OSError`."""
    try:
        call.begin(route, headers, arguments)
        return converse(call, tty=tty, reads_input=reads_input, may_go_on=may_go_on)
    except LeftError as left:
        return Ending(left.status)
    finally:
        call.close()


def _signal_number(name: str) -> int:
    import signal

    return int(getattr(signal, name, 0))
