"""Runs a daemon that kills itself at a step of a deployment, once.

KILL_AT is `before STEP`, `within STEP` (a moment after its begin) or `after STEP` (its work is done
and not recorded); KILLED is a file that is made then: while it is there, the trap is off.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import Any

from covey.jobs.run import LiveRun
from covey.wiring.process import run as run_daemon

_MOMENT_S = 0.15


def _kill() -> None:
    Path(os.environ["KILLED"]).touch()
    os.kill(os.getpid(), signal.SIGKILL)


def _set_trap() -> None:
    when, wanted = os.environ["KILL_AT"].split(" ", 1)
    whole = LiveRun._attempts

    async def attempts(self: LiveRun, name: str, *rest: Any) -> Any:
        armed = name == wanted and self.job.kind == "apps.deploy"
        if not armed or Path(os.environ["KILLED"]).exists():
            return await whole(self, name, *rest)
        if when == "before":
            _kill()
        if when == "within":
            asyncio.get_running_loop().call_later(_MOMENT_S, _kill)
        value = await whole(self, name, *rest)
        _kill()
        return value

    LiveRun._attempts = attempts  # type: ignore[method-assign]


if __name__ == "__main__":
    _set_trap()
    # `covey up` replaces its process by this one.
    sys.exit(run_daemon(None, as_json=False))
