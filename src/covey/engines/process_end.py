"""End a child process for certain, also from a task that was cancelled."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal

_endings: set[asyncio.Task[None]] = set()


async def end_process(
    process: asyncio.subprocess.Process, grace_s: float, *, group: bool = False
) -> None:
    """Send SIGTERM and, after the grace, SIGKILL; return when the process is gone.

    With `group` its whole process group gets the signals. It goes on if its caller is cancelled.
    """
    ending = asyncio.create_task(_end(process, grace_s, group=group))
    _endings.add(ending)
    ending.add_done_callback(_endings.discard)
    await asyncio.shield(ending)


async def _end(process: asyncio.subprocess.Process, grace_s: float, *, group: bool) -> None:
    if process.returncode is not None:
        return
    _send(process, signal.SIGTERM, group=group)
    try:
        # A task of its own: in one that was cancelled, Python 3.11 makes a time-out a cancellation.
        async with asyncio.timeout(grace_s):
            await process.wait()
    except TimeoutError:
        _send(process, signal.SIGKILL, group=group)
        await process.wait()


def _send(process: asyncio.subprocess.Process, number: int, *, group: bool) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if group:
            os.killpg(process.pid, number)
        else:
            process.send_signal(number)
