"""The parent of the keepers: a small process of the daemon that forks one keeper a command.

A keeper is the subreaper of its command's whole tree, so that nothing of it escapes by forking
twice; and it outlives the daemon long enough to end the tree. It imports the standard library
alone and is forked ahead of time: starting a command does not wait for Python.
"""

from __future__ import annotations

import contextlib
import gc
import os
import select
import signal
import socket
import sys

_SPARE = 4
_CALM_MS = 20
_MOST_DESCRIPTORS = 4
_CHUNK = 65_536


def main() -> None:
    """Serve the socket whose descriptor is the first argument until the daemon closes it."""
    jobs = socket.socket(fileno=int(sys.argv[1]))
    _load()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    # The kernel reaps the keepers.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    # Collecting garbage would copy every page that is shared with the keepers.
    gc.disable()
    taken, take = os.pipe()
    poll = select.poll()
    poll.register(jobs, 0)
    poll.register(taken, select.POLLIN)
    spare = 0
    while True:
        while spare < _SPARE:
            if os.fork() == 0:
                poll.unregister(jobs)
                os.close(taken)
                _keep(jobs, take)
                os._exit(0)
            spare += 1
        # Forking would take time from the command that is just being started.
        while spare:
            ready = poll.poll(None if spare == _SPARE else _CALM_MS)
            if not ready:
                break
            for fd, _ in ready:
                if fd != taken:
                    return
                spare -= len(os.read(taken, 4096))


def _keep(jobs: socket.socket, take: int) -> None:
    """Wait for one command, and keep it."""
    from covey.engines.keeper.attached import keep_attached
    from covey.engines.keeper.frames import Unpacker
    from covey.engines.keeper.keeping import Kept

    kept = Kept()
    unpacker = Unpacker()
    _rehearse()
    data, descriptors, _, _ = socket.recv_fds(jobs, 1, _MOST_DESCRIPTORS)
    if not data:
        return
    # A parent that was killed will be replaced; this command is served still.
    with contextlib.suppress(BrokenPipeError):
        os.write(take, b"1")
    os.close(take)
    jobs.close()
    for fd in descriptors:
        os.set_inheritable(fd, False)  # noqa: FBT003 - its signature
    control = socket.socket(fileno=descriptors[0])
    requests: list[dict[str, object]] = []
    while not requests:
        data = control.recv(_CHUNK)
        if not data:
            return
        requests = list(unpacker.feed(data))
    if "directory" in requests[0]:
        from covey.engines.keeper.detached import keep_detached

        keep_detached(kept, control, requests[0])
    else:
        keep_attached(kept, control, requests[0], descriptors[1:], unpacker)


def _rehearse() -> None:
    """Start nothing once: what a start touches is then this process's own copy already."""
    from covey.engines.keeper.child import StartError, start
    from covey.engines.keeper.frames import Unpacker, pack

    request = {
        "argv": ["-"],
        "arg0": None,
        "env": {"PATH": os.devnull},
        "cwd": "/",
        "account": None,
        "tty": False,
        "umask": 0o077,
    }
    with contextlib.suppress(StartError):
        for message in Unpacker().feed(pack(request)):
            start(message, [])


def _load() -> None:
    """Import before forking what every keeper needs."""
    here = os.path.dirname(os.path.abspath(__file__))
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(here))))
    import fcntl  # noqa: F401 - for the keepers
    import termios  # noqa: F401 - for the keepers

    from covey.engines.keeper import attached, tree  # noqa: F401 - for the keepers

    tree.load()


if __name__ == "__main__":
    main()
