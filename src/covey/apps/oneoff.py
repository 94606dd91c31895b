"""A container that runs one command to its end: release commands and scheduled ones."""

from __future__ import annotations

import asyncio
import codecs
from collections.abc import AsyncIterator, Callable
from datetime import datetime

from covey.apps.containers import ContainerEngine, ContainerSpec, ContainerStatus, OutputChunk
from covey.apps.own_containers import find_own
from covey.errors import DeadlineExceededError

_LONGEST_LINE = 1 << 16


async def run_to_end(
    engine: ContainerEngine,
    spec: ContainerSpec,
    say: Callable[[str], None],
    *,
    limit_s: float,
    grace_s: float = 10.0,
) -> int:
    """Run a container, pass its lines on, and return its exit status.

    A container of that name, of a run that was broken off, is waited for, or has ended: a command
    never runs twice. Whoever has recorded the status, or has no use for it, removes the container.
    Raises `DeadlineExceededError` after `limit_s`.
    """
    state = await find_own(engine, spec)
    identifier = state.id if state is not None else await engine.create(spec)
    if state is None or state.status is ContainerStatus.CREATED:
        await engine.start(identifier)
    try:
        async with asyncio.timeout(limit_s):
            async for line in lines_of(engine.logs(identifier, follow=True)):
                say(line)
            return await engine.wait(identifier)
    except TimeoutError:
        await engine.stop(identifier, grace_s)
        raise DeadlineExceededError(
            f"The command took longer than {limit_s:g} s and was ended.",
            hint="Give it more time, or let it do less.",
        ) from None


async def lines_of(chunks: AsyncIterator[OutputChunk]) -> AsyncIterator[str]:
    """Yield the lines of a container's output, each stream's by themselves."""
    async for text, _ in timed_lines_of(chunks):
        yield text


async def timed_lines_of(
    chunks: AsyncIterator[OutputChunk],
) -> AsyncIterator[tuple[str, datetime | None]]:
    """Yield the lines of a container's output, each with the time of its end.

    Of a line that is longer than anybody reads the rest is left out.
    """
    decoders: dict[str, codecs.IncrementalDecoder] = {}
    partial: dict[str, str] = {}
    at: datetime | None = None
    make = codecs.getincrementaldecoder("utf-8")
    async for chunk in chunks:
        decoder = decoders.setdefault(chunk.stream, make(errors="replace"))
        first, *more = decoder.decode(chunk.data).split("\n")
        at = chunk.at
        text = (partial.get(chunk.stream, "") + first)[: _LONGEST_LINE + 1]
        for following in more:
            yield _cut(text), at
            text = following[: _LONGEST_LINE + 1]
        partial[chunk.stream] = text
    for rest in partial.values():
        if rest:
            yield _cut(rest), at


def _cut(line: str) -> str:
    if len(line) > _LONGEST_LINE:
        return f"{line[:_LONGEST_LINE]} … (the rest of the line is left out)"
    return line.rstrip("\r")
