"""`covey exec -H HOST -- COMMAND…` on one host, before the rest of the program is loaded.

Whatever is out of the ordinary is left to the command line proper.
"""

from __future__ import annotations

import os
import sys
from _socket import AF_UNIX, SOCK_STREAM
from _socket import socket as plain_socket

from covey.client.failure import CallFailedError
from covey.client.socket_call import SocketCall
from covey.paths import find_paths
from covey.surfaces.cli.light.exec_call import ROUTE, ExecCall, run_call

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_FLAGS = {
    "-q": "quiet",
    "--quiet": "quiet",
    "-t": "tty",
    "--tty": "tty",
    "--shell": "shell",
    "-n": "no_stdin",
    "--no-stdin": "no_stdin",
}
_VALUES = {"-H": "host", "--host": "host", "--cwd": "cwd", "--user": "user"}
_ELSEWHERE = ("COVEY_URL",)


def read_exec(argv: list[str]) -> ExecCall | None:
    """Read the words after `exec`; None for what is not simple enough."""
    wanted = ExecCall([])
    words = iter(argv)
    for word in words:
        if word == "--":
            wanted.words = list(words)
            return wanted if wanted.words else None
        if word in _FLAGS:
            setattr(wanted, _FLAGS[word], True)
        elif word in _VALUES:
            value = next(words, "")
            if not value or (_VALUES[word] == "host" and not _is_name(value)):
                return None
            setattr(wanted, _VALUES[word], value)
        else:
            return None
    return None


def try_exec(argv: list[str], settle: Callable[[ExecCall, CallFailedError], int]) -> int | None:
    """Run the command and return its status; None if nothing was done.

    That is so for what is not simple, and where no daemon answers. A failed call is for `settle`.
    """
    if any(os.environ.get(name) for name in _ELSEWHERE):
        return None
    wanted = read_exec(argv)
    if wanted is None:
        return None
    stream = plain_socket(AF_UNIX, SOCK_STREAM)
    try:
        stream.connect(find_paths().socket)
    except OSError:
        stream.close()
        return None
    headers = {} if wanted.host is None else {"Covey-Host": wanted.host}
    try:
        ending = run_call(
            SocketCall(stream),
            ROUTE,
            headers,
            wanted.arguments(os.environ),
            tty=wanted.tty,
            reads_input=not wanted.no_stdin,
        )
    except CallFailedError as error:
        return settle(wanted, error)
    if ending.note and not wanted.quiet:
        sys.stderr.write(f"{ending.note}\n")
    return ending.status


def _is_name(text: str) -> bool:
    return text.isascii() and text.replace("-", "").replace("_", "").replace(".", "").isalnum()
