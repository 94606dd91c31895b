"""What of a new content is in an old one already: pure, over any way to read the new one.

The old content is described by fixed blocks. After a block that is not found, the blocks that
should follow are looked for by how they begin: bytes that were put in or taken out cost the
bytes around them and no more.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from covey.remote.files.model import Block

HEAD_BYTES = 16
SMALLEST = 256 << 10
"""Smaller files are sent whole."""

_DIGEST_BYTES = 16
_SMALLEST_BLOCK = 8 << 10
_LARGEST_BLOCK = 1 << 20
_MOST_BLOCKS = 8192
_LOOK_AHEAD_BLOCKS = 8
_WINDOW = 2 << 20
_MOST_TRIES = 4


@dataclass(frozen=True, slots=True)
class Literal:
    """Bytes of the new content, from `start` to `end`, that must be sent."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Reuse:
    """Bytes of the new content from `start` on that stand at `source` in the old one."""

    start: int
    source: int
    length: int


def block_bytes(size: int) -> int:
    """Return how large the blocks of a file of `size` bytes are."""
    wanted = _SMALLEST_BLOCK
    while wanted < _LARGEST_BLOCK and size // wanted > _MOST_BLOCKS:
        wanted *= 2
    return wanted


def is_block_length(length: int) -> bool:
    """Whether blocks of so many bytes are any that `block_bytes` makes."""
    return _SMALLEST_BLOCK <= length <= _LARGEST_BLOCK


def describe(contents: Iterable[bytes]) -> list[Block]:
    """Describe blocks, given one by one; the last may be shorter and is left out."""
    return [Block(data[:HEAD_BYTES], block_digest(data)) for data in contents]


def block_digest(data: bytes | memoryview) -> bytes:
    """Return the checksum of one block."""
    return hashlib.blake2b(data, digest_size=_DIGEST_BYTES).digest()


def find_delta(
    read: Callable[[int, int], bytes], size: int, length: int, blocks: list[Block]
) -> Iterator[Literal | Reuse]:
    """Divide a new content into what is new and what is old; in order, without gaps.

    `read(offset, count)` returns the new content's bytes, fewer only at its end; `length` is that
    of the old content's blocks.
    """
    places: dict[bytes, int] = {}
    for index, block in enumerate(blocks):
        places.setdefault(block.digest, index)
    at = start = expected = look_again = 0
    while at + length <= size:
        data = read(at, length)
        if len(data) < length:
            break
        match = _match(data, places, blocks, expected)
        if match is None:
            found: int | None = None
            if at >= look_again:
                found = _resume(read, at, size, length, blocks, expected)
                look_again = at if found is not None else at + _WINDOW
            at = at + length if found is None else found
            continue
        if start < at:
            yield Literal(start, at)
        yield Reuse(at, match * length, length)
        at += length
        start = at
        expected = match + 1
    if start < size:
        yield Literal(start, size)


def joined(parts: Iterable[Literal | Reuse]) -> Iterator[Literal | Reuse]:
    """Join neighbours that continue each other."""
    held: Literal | Reuse | None = None
    for part in parts:
        match held, part:
            case Literal(), Literal():
                held = Literal(held.start, part.end)
            case Reuse(), Reuse() if held.source + held.length == part.source:
                held = Reuse(held.start, held.source, held.length + part.length)
            case _:
                if held is not None:
                    yield held
                held = part
    if held is not None:
        yield held


def _match(data: bytes, places: dict[bytes, int], blocks: list[Block], expected: int) -> int | None:
    """Return the old block that these bytes are; preferably the one that should follow."""
    digest = block_digest(data)
    if expected < len(blocks) and blocks[expected].digest == digest:
        return expected
    return places.get(digest)


def _resume(
    read: Callable[[int, int], bytes],
    at: int,
    size: int,
    length: int,
    blocks: list[Block],
    expected: int,
) -> int | None:
    """Return the nearest place behind `at` where one of the next old blocks begins."""
    window = read(at, min(_WINDOW + length, size - at))
    nearest: int | None = None
    for block in blocks[expected : expected + _LOOK_AHEAD_BLOCKS]:
        end = len(window) if nearest is None else nearest + HEAD_BYTES - 1
        found = _find(window, block, length, end)
        if found is not None:
            nearest = found
    return None if nearest is None else at + nearest


def _find(window: bytes, block: Block, length: int, end: int) -> int | None:
    at = 0
    for _ in range(_MOST_TRIES):
        at = window.find(block.head, at + 1, end)
        if at < 0 or at + length > len(window):
            return None
        if block_digest(memoryview(window)[at : at + length]) == block.digest:
            return at
    return None
