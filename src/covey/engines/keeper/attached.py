"""The keeper of a command whose input and output the daemon holds: it ends with the daemon."""

from __future__ import annotations

import select
import socket

from covey.engines.keeper.frames import Unpacker, pack
from covey.engines.keeper.keeping import Kept

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

_CHUNK = 65_536


def keep_attached(
    kept: Kept,
    control: socket.socket,
    request: dict[str, Any],
    stdio: Sequence[int],
    unpacker: Unpacker,
) -> None:
    """Run the command to its end; when `control` closes before that, its whole tree is ended."""
    said = kept.start(request, stdio)
    for fd in set(stdio):
        socket.close(fd)
    _say(control, said)
    if "failed" in said:
        return
    poll = select.poll()
    poll.register(kept.wake_fd, select.POLLIN)
    poll.register(control, select.POLLIN)
    listening = True
    while True:
        timeout = kept.timeout()
        ready = {fd for fd, _ in poll.poll(None if timeout is None else timeout * 1000)}
        if kept.wake_fd in ready:
            kept.woken()
        if listening and control.fileno() in ready:
            listening = _obey(control, kept, unpacker)
            if not listening:
                poll.unregister(control)
        kept.tick()
        if kept.ended:
            _say(control, kept.ending)
            return


def _obey(control: socket.socket, kept: Kept, unpacker: Unpacker) -> bool:
    """Do what the daemon asks; False once it is gone."""
    try:
        data = control.recv(_CHUNK)
    except OSError:
        data = b""
    if not data:
        kept.end()
        return False
    for message in unpacker.feed(data):
        if "signal" in message:
            kept.signal(message["signal"])
        if "end" in message:
            kept.end()
    return True


def _say(control: socket.socket, message: dict[str, Any]) -> None:
    try:
        control.sendall(pack(message))
    except OSError:
        return
