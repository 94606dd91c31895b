"""Children end for certain, whoever asks for it."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from covey.engines.process_end import end_process
from tests.waiting import until

IGNORES = "import signal, time; signal.signal(15, 1); print(1, flush=True); time.sleep(999)"


async def start(code: str) -> asyncio.subprocess.Process:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, stdout=asyncio.subprocess.PIPE, start_new_session=True
    )
    assert process.stdout is not None
    await process.stdout.readline()
    return process


def test_one_that_ignores_sigterm_is_killed_by_a_task_that_is_cancelled():
    async def run() -> None:
        process = await start(IGNORES)

        async def keep() -> None:
            try:
                await process.wait()
            finally:
                await end_process(process, 0.05)

        keeping = asyncio.create_task(keep())
        await asyncio.sleep(0)
        keeping.cancel()
        with pytest.raises(asyncio.CancelledError):
            await keeping
        assert process.returncode == -9

    asyncio.run(run())


def test_it_goes_on_when_its_caller_is_cancelled_twice():
    async def run() -> None:
        process = await start(IGNORES)
        ending = asyncio.create_task(end_process(process, 0.05))
        await asyncio.sleep(0)
        ending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await ending
        await until(lambda: process.returncode == -9)

    asyncio.run(run())


def test_a_group_ends_as_a_whole():
    async def run() -> None:
        code = (
            "import subprocess; child = subprocess.Popen(['sleep', '999']);"
            "print(child.pid, flush=True); child.wait()"
        )
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", code, stdout=asyncio.subprocess.PIPE, start_new_session=True
        )
        assert process.stdout is not None
        child = int(await process.stdout.readline())
        await end_process(process, 10, group=True)
        assert process.returncode is not None
        await until(lambda: not Path(f"/proc/{child}").exists() or zombie(child))
        await end_process(process, 10, group=True)

    asyncio.run(run())


def zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True
