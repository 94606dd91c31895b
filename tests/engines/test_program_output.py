"""A program that is asked something ends in time, whatever it does."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import pytest

from covey.engines.program_output import OutputTooLongError, program_output


async def _ask(line: str, *, most_bytes: int = 1000, timeout_s: float = 60) -> tuple[int, bytes]:
    return await program_output(
        ["/bin/sh", "-c", line],
        most_bytes=most_bytes,
        timeout_s=timeout_s,
        environ={"PATH": os.environ["PATH"]},
    )


def test_the_exit_code_and_the_output_are_returned() -> None:
    assert asyncio.run(_ask("echo yes; exit 3")) == (3, b"yes\n")


def test_endless_output_is_cut_off_though_the_pipe_is_full() -> None:
    # A large pipe fills the reader's buffer at once, whereupon asyncio stops reading.
    script = (
        "import fcntl; fcntl.fcntl(1, fcntl.F_SETPIPE_SZ, 1 << 20)\n"
        "while True: print('x' * (1 << 20))"
    )
    with pytest.raises(OutputTooLongError):
        asyncio.run(_ask(f'exec "{sys.executable}" -I -c "{script}"'))


def test_a_silent_program_is_ended_with_all_that_it_started(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    with pytest.raises(TimeoutError):
        asyncio.run(_ask(f"sleep 600 & echo $! $$ > {pids}; wait", timeout_s=0.5))
    for pid in map(int, pids.read_text().split()):
        state = Path(f"/proc/{pid}/stat")
        assert not state.exists() or " Z " in state.read_text()


def test_a_program_that_left_a_daemon_behind_is_not_waited_for(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    script = f"setsid sh -c 'echo $$ > {pid_file}; exec sleep 600' & exec cat /dev/zero"
    try:
        with pytest.raises(OutputTooLongError):
            asyncio.run(_ask(script))
    finally:
        if pid_file.exists():
            os.kill(int(pid_file.read_text()), 9)
