"""The daemon's own process: `covey up` becomes it, so that it carries nothing of the CLI."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Coroutine
from contextlib import suppress

from covey.errors import CoveyError
from covey.operations.secret import Secret
from covey.paths import find_paths
from covey.settings import load
from covey.wiring.daemon import Daemon

_PASSWORD = "--password-fd="  # noqa: S105 - an option's name
_JSON = "--json"


def become_daemon(password: Secret | None, *, as_json: bool) -> int:
    """Replace this process by the daemon of the home that the environment names.

    Where a process cannot be replaced it runs the daemon itself; returns the exit status then.
    """
    if sys.platform == "win32":
        return run(password, as_json=as_json)
    # -P: nothing is ever imported from the directory that the user happens to stand in.
    words = [sys.executable, "-P", "-m", __name__]
    if as_json:
        words.append(_JSON)
    if password is not None:
        reading, writing = os.pipe()
        os.write(writing, password.reveal().encode())
        os.close(writing)
        os.set_inheritable(reading, True)  # noqa: FBT003 - the standard library's signature
        words.append(f"{_PASSWORD}{reading}")
    sys.stdout.flush()
    sys.stderr.flush()
    return os.execv(sys.executable, words)  # noqa: S606 - this very program


def run(password: Secret | None, *, as_json: bool) -> int:
    """Run the daemon until it is told to stop; returns the exit status."""
    try:
        paths = find_paths()
        daemon = Daemon(paths, load(paths.settings_file), dict(os.environ))
        _run_on_fast_loop(daemon.run(password, _say))
    except CoveyError as error:
        from covey.surfaces.cli.output import Output

        Output(as_json=as_json).error(error)
        return int(error.exit_code)
    except KeyboardInterrupt:
        return 130
    except Exception:  # noqa: BLE001 - the daemon's log has the traceback
        sys.stderr.write(
            "error: The daemon ended by a defect in Covey.\n"
            f"hint: Please report it with the end of {find_paths().log_file}\n"
        )
        return 1
    return 0


def main(arguments: list[str]) -> int:
    """Run as `python -m covey.wiring.process`."""
    password: Secret | None = None
    for word in arguments:
        if word.startswith(_PASSWORD):
            with os.fdopen(int(word.removeprefix(_PASSWORD)), "rb") as pipe:
                password = Secret(pipe.read().decode())
    return run(password, as_json=_JSON in arguments)


def _say(line: str) -> None:
    with suppress(BrokenPipeError):
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()


def _run_on_fast_loop(work: Coroutine[None, None, None]) -> None:
    try:
        import uvloop
    except ImportError:
        asyncio.run(work)
    else:
        uvloop.run(work)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
