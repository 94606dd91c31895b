"""The output of a program that is asked something, within bounds of size and time."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress


class OutputTooLongError(Exception):
    """The program printed more than its asker takes."""


class _Answer(asyncio.SubprocessProtocol):
    """Gathers what a program prints until it has ended, closed its output, or said too much."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        loop = asyncio.get_running_loop()
        self.output = bytearray()
        self.said: asyncio.Future[None] = loop.create_future()
        self.gone: asyncio.Future[None] = loop.create_future()

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        del fd
        self.output += data
        if len(self.output) > self._most_bytes and not self.said.done():
            self.said.set_exception(OutputTooLongError())

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        for future in (self.said, self.gone):
            if not future.done():
                future.set_result(None)


async def program_output(
    words: Sequence[str],
    *,
    most_bytes: int,
    timeout_s: float,
    environ: Mapping[str, str] | None = None,
) -> tuple[int, bytes]:
    """Run a program without input in a session of its own; return its exit code and output.

    Nothing of it runs on afterwards. Raises `OSError` or `ValueError` if it cannot be started,
    `TimeoutError`, and `OutputTooLongError`.
    """
    transport, answer = await asyncio.get_running_loop().subprocess_exec(
        lambda: _Answer(most_bytes),
        *words,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env=None if environ is None else dict(environ),  # uvloop takes no other mapping
        start_new_session=True,
    )
    try:
        async with asyncio.timeout(timeout_s):
            await answer.said
        return transport.get_returncode() or 0, bytes(answer.output)
    finally:
        _kill(transport)
        # Closing its pipe as well: somebody whom the program left behind may still hold it.
        transport.close()
        await answer.gone


def _kill(transport: asyncio.SubprocessTransport) -> None:
    if transport.get_returncode() is None:
        with suppress(ProcessLookupError):
            if sys.platform == "win32":
                transport.kill()
            else:
                os.killpg(transport.get_pid(), 9)
