"""The daemon's side of the keepers: their parent, started when it is needed, and their jobs."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from covey.engines.keeper import zygote
from covey.engines.keeper.frames import Unpacker, pack
from covey.errors import CoveyError, InvalidRequestError, NotFoundError, RefusedError, StorageError
from covey.remote.exec.ports import Launch

_UMASK = 0o022
_CHUNK = 65_536
_NOT_FOUND = (2, 20)
_NOT_PERMITTED = (1, 13)
_NOT_EXECUTABLE = 8
_TOO_LONG = 7


class Keepers:
    """Hands commands to keepers; their parent is started with the first one."""

    def __init__(self) -> None:
        self._jobs: socket.socket | None = None
        self._parent: subprocess.Popen[bytes] | None = None

    def engage(
        self, descriptors: Sequence[int], message: Mapping[str, Any] | None = None
    ) -> tuple[socket.socket, bytes]:
        """Give a keeper copies of the descriptors; raises `OSError`.

        Returns the line to it, and what of the first message is still to be sent: most are there
        before the keeper wakes up, so that it does so once.
        """
        data = b"" if message is None else pack(dict(message))
        ours, theirs = socket.socketpair()
        ours.settimeout(0)
        with theirs:
            try:
                if data:
                    data = data[ours.send(data) :]
                self._send([theirs.fileno(), *descriptors])
            except OSError:
                ours.close()
                raise
        return ours, data

    def close(self) -> None:
        """Let the parent end; the keepers end by themselves."""
        if self._jobs is not None:
            self._jobs.close()
            self._jobs = None
        if self._parent is not None:
            self._parent.wait()
            self._parent = None

    def _send(self, descriptors: Sequence[int]) -> None:
        if self._parent is not None and self._parent.poll() is not None:
            self.close()
        if self._jobs is not None:
            with suppress(BrokenPipeError, ConnectionResetError):
                socket.send_fds(self._jobs, [b"1"], descriptors)
                return
            self.close()
        self._start()
        assert self._jobs is not None  # noqa: S101 - what `_start` has just made
        socket.send_fds(self._jobs, [b"1"], descriptors)

    def _start(self) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            self._parent = subprocess.Popen(
                [
                    sys.executable,
                    *("-I", "-S", "-X", "utf8"),
                    str(Path(zygote.__file__)),
                    str(theirs.fileno()),
                ],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd="/",
                env={"PATH": os.defpath},
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        self._jobs = ours


class Line:
    """Messages to and from one keeper; `unsent` is what goes before them."""

    def __init__(self, line: socket.socket, unsent: bytes = b"") -> None:
        self._socket = line
        self._unsent = unsent
        self._unpacker = Unpacker()
        self._loop = asyncio.get_running_loop()
        self._heard: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()
        self._loop.add_reader(line, self._read)
        self._open = True

    async def send(self, message: Mapping[str, Any]) -> None:
        """Send one message of any size; a keeper that is gone is told by `receive`."""
        with suppress(OSError):
            await self._loop.sock_sendall(self._socket, pack(dict(message)))

    def send_now(self, message: Mapping[str, Any]) -> None:
        """Send a small message without waiting."""
        with suppress(OSError):
            self._socket.send(pack(dict(message)))

    async def hear_start(self, launch: Launch) -> int:
        """Return the command's process id once it runs; raises what kept it from starting."""
        if self._unsent:
            with suppress(OSError):
                await self._loop.sock_sendall(self._socket, self._unsent)
            self._unsent = b""
        said = await self.receive()
        if said is None or "started" not in said:
            raise _start_failure(launch, said)
        return int(said["started"])

    async def receive(self) -> dict[str, Any] | None:
        """Return the next message, or None when the keeper is gone."""
        return await self._heard.get()

    def close(self) -> None:
        """Hang up."""
        if self._open:
            self._open = False
            self._loop.remove_reader(self._socket)
            self._heard.put_nowait(None)
        self._socket.close()

    def _read(self) -> None:
        try:
            data = self._socket.recv(_CHUNK)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._open = False
            self._loop.remove_reader(self._socket)
            self._heard.put_nowait(None)
            return
        for message in self._unpacker.feed(data):
            self._heard.put_nowait(message)


def request_of(launch: Launch) -> dict[str, Any]:
    """Describe a command to its keeper."""
    account = launch.account
    return {
        "argv": list(launch.argv),
        "arg0": launch.arg0,
        "env": dict(launch.environment),
        "cwd": launch.cwd,
        "account": (
            {"name": account.name, "uid": account.uid, "gid": account.gid}
            if launch.switch
            else None
        ),
        "tty": launch.size is not None,
        "grace": launch.grace_s,
        "umask": _UMASK,
    }


def no_room(error: OSError) -> CoveyError:
    """Say that the machine cannot start another command."""
    return StorageError(
        f"This machine cannot start a command now: {error.strerror}.",
        hint="Too many processes or open files? See covey exec list, and the system's limits.",
    )


def _start_failure(launch: Launch, said: Mapping[str, Any] | None) -> CoveyError:
    """Say why a command did not start."""
    if said is None or "failed" not in said:
        return StorageError(
            "The command's keeper ended before the command began.",
            hint="Is the machine out of memory or processes? Try again.",
        )
    stage, number = said["failed"]
    reason = os.strerror(number) if number else "a bad argument"
    program, directory = launch.argv[0][:200], launch.cwd
    match stage:
        case "directory" if number in _NOT_FOUND:
            return NotFoundError(
                f"The directory {directory} does not exist on this machine.",
                hint="Name one that does: --cwd",
            )
        case "directory":
            return RefusedError(
                f"{launch.account.name} cannot enter {directory}: {reason}.",
                hint="Name another directory (--cwd) or user (--user).",
            )
        case "user":
            return RefusedError(f"This node cannot become {launch.account.name}: {reason}.")
        case "program" if number in _NOT_FOUND:
            return NotFoundError(
                f"{program} was not found on this machine.",
                hint="Is it installed, and in the PATH of the daemon? For a shell line: --shell",
            )
        case "program" if number in _NOT_PERMITTED:
            return RefusedError(
                f"{program} may not be executed by {launch.account.name}: {reason}.",
                hint="Check that it is a program and its permissions.",
            )
        case "program" if number in {_NOT_EXECUTABLE, _TOO_LONG} or not number:
            return InvalidRequestError(f"{program} cannot be executed: {reason}.")
        case _:
            return no_room(OSError(number, reason))
