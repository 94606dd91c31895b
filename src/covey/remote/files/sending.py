"""Sending a tree: what there is, then the contents that the other side wants."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from itertools import islice

from covey.errors import CoveyError, InvalidRequestError
from covey.remote.files.delta import Literal, Reuse, find_delta, is_block_length, joined
from covey.remote.files.disk import Disk, acquire
from covey.remote.files.model import (
    Begin,
    ContentEnd,
    Data,
    Entries,
    EntriesEnd,
    Entry,
    Finished,
    Hole,
    ReceiveItem,
    Same,
    SendEnd,
    SendItem,
    Small,
    SmallFile,
    Unreadable,
    Want,
    Wants,
)
from covey.remote.files.reading import (
    CHUNK,
    SourceTree,
    hash_content,
    hash_zeros,
    new_hash,
    read_fully,
    segments,
)

SMALL_BYTES = 64 << 10
"""Contents up to this size are sent whole, several in one message."""

_ENTRIES_AT_ONCE = 1000
_SMALL_AT_ONCE = 512
_SMALL_BYTES_AT_ONCE = 1 << 20
_CHANGED = "it was changed while it was read"


async def send_tree(
    disk: Disk,
    tree: SourceTree,
    entries: Iterator[Entry],
    answers: AsyncIterator[ReceiveItem],
) -> AsyncGenerator[SendItem, None]:
    """Offer a tree and send what is wanted of it, until the other side is finished."""
    while batch := await disk.run(lambda: list(islice(entries, _ENTRIES_AT_ONCE))):
        yield Entries(batch)
    yield EntriesEnd(damaged=bool(tree.damaged))
    sender = _Sender(disk, tree)
    heard: asyncio.Queue[ReceiveItem | None] = asyncio.Queue()
    # Answers are taken as they come: nobody waits for us to read while we wait to be read.
    listening = asyncio.create_task(_listen(answers, heard, len(tree.sources) + 1))
    try:
        while (answer := await heard.get()) is not None and not isinstance(answer, Finished):
            if isinstance(answer, Wants):
                async for item in sender.send(answer.wants):
                    yield item
                if answer.last:
                    yield SendEnd()
        if listening.done():
            listening.result()
    finally:
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)


async def _listen(
    answers: AsyncIterator[ReceiveItem], heard: asyncio.Queue[ReceiveItem | None], most: int
) -> None:
    """Pass on what is wanted; `most` contents and last words, so that memory has a bound."""
    try:
        async for answer in answers:
            most -= len(answer.wants) or 1 if isinstance(answer, Wants) else 0
            if most < 0:
                raise InvalidRequestError("More was wanted than was offered.")
            if isinstance(answer, Wants | Finished):
                heard.put_nowait(answer)
    finally:
        heard.put_nowait(None)


class _Sender:
    def __init__(self, disk: Disk, tree: SourceTree) -> None:
        self._disk = disk
        self._tree = tree

    async def send(self, wants: list[Want]) -> AsyncGenerator[SendItem, None]:
        small: list[Want] = []
        size = 0
        for want in wants:
            source = self._tree.sources.get(want.number)
            if source is None:
                raise InvalidRequestError(f"File {want.number} was wanted and never offered.")
            if want.blocks and not is_block_length(want.block_bytes):
                raise InvalidRequestError(f"{want.block_bytes} bytes are no length of blocks.")
            if source.entry.size <= SMALL_BYTES and not want.offset and not want.blocks:
                small.append(want)
                size += source.entry.size
                if len(small) >= _SMALL_AT_ONCE or size >= _SMALL_BYTES_AT_ONCE:
                    for item in await self._disk.run(self._read_small, small):
                        yield item
                    small, size = [], 0
                continue
            for item in await self._disk.run(self._read_small, small):
                yield item
            small, size = [], 0
            async for item in self._send_large(want):
                yield item
        for item in await self._disk.run(self._read_small, small):
            yield item

    def _read_small(self, wants: list[Want]) -> list[SendItem]:
        """Read whole contents; those that changed since they were listed are not sent."""
        files: list[SmallFile] = []
        missing: list[SendItem] = []
        for want in wants:
            try:
                descriptor, _ = self._tree.open(want.number)
            except (OSError, CoveyError) as error:
                missing.append(Unreadable(want.number, _reason(error)))
                continue
            try:
                entry = self._tree.sources[want.number].entry
                data = read_fully(descriptor, 0, entry.size + 1)
                if len(data) != entry.size or _changed(descriptor, entry):
                    missing.append(Unreadable(want.number, _CHANGED))
                    continue
            except OSError as error:
                missing.append(Unreadable(want.number, _reason(error)))
                continue
            finally:
                os.close(descriptor)
            hasher = new_hash()
            hasher.update(data)
            files.append(SmallFile(want.number, data, hasher.digest()))
        return [*missing, *([Small(files)] if files else [])]

    async def _send_large(self, want: Want) -> AsyncGenerator[SendItem, None]:
        """Send one content in pieces; the next is read while one is sent."""
        try:
            content = await acquire(
                self._disk, lambda: _Content(self._tree, want), lambda made: made.close()
            )
        except (OSError, CoveyError) as error:
            yield Unreadable(want.number, _reason(error))
            return
        reading: asyncio.Task[SendItem | None] | None = None
        try:
            yield Begin(want.number, content.offset)
            reading = asyncio.ensure_future(self._disk.run(content.next))
            while (item := await reading) is not None:
                reading = asyncio.ensure_future(self._disk.run(content.next))
                yield item
            yield await self._disk.run(content.end)
        except OSError as error:
            yield Unreadable(want.number, _reason(error))
        finally:
            if reading is not None:
                reading.cancel()
                await asyncio.gather(reading, return_exceptions=True)
            content.close()


class _Content:
    """One content as it is sent: after what the other side has already, in pieces."""

    def __init__(self, tree: SourceTree, want: Want) -> None:
        self._entry = tree.sources[want.number].entry
        self._descriptor, found = tree.open(want.number)
        try:
            self.offset, self._hasher = self._common(want)
        except BaseException:
            self.close()
            raise
        size = self._entry.size
        if want.blocks and not self.offset:
            self._items = self._with_delta(want)
        else:
            pieces = segments(self._descriptor, size, found.st_blocks, self.offset)
            self._items = self._without_delta(pieces)

    def next(self) -> SendItem | None:
        return next(self._items, None)

    def end(self) -> SendItem:
        if _changed(self._descriptor, self._entry):
            return Unreadable(self._entry.number, _CHANGED)
        return ContentEnd(self._hasher.digest())

    def close(self) -> None:
        os.close(self._descriptor)

    def _common(self, want: Want) -> tuple[int, hashlib.blake2b]:
        """Return where to begin, and the hash of what is before that."""
        if 0 < want.offset <= self._entry.size:
            hasher = hash_content(self._descriptor, want.offset)
            if hasher.digest() == want.digest:
                return want.offset, hasher
        return 0, new_hash()

    def _without_delta(self, pieces: Iterator[tuple[int, int, bool]]) -> Iterator[SendItem]:
        for start, end, is_data in pieces:
            if is_data:
                yield from self._bytes(start, end)
            else:
                hash_zeros(self._hasher, end - start)
                yield Hole(end - start)

    def _with_delta(self, want: Want) -> Iterator[SendItem]:
        def read(offset: int, count: int) -> bytes:
            return read_fully(self._descriptor, offset, count)

        parts = find_delta(read, self._entry.size, want.block_bytes, want.blocks)
        for part in joined(parts):
            match part:
                case Literal(start, end):
                    yield from self._bytes(start, end)
                case Reuse(start, source, length):
                    for at in range(start, start + length, CHUNK):
                        count = min(CHUNK, start + length - at)
                        self._hasher.update(self._read(at, count))
                    yield Same(source, length)

    def _bytes(self, start: int, end: int) -> Iterator[SendItem]:
        for at in range(start, end, CHUNK):
            data = self._read(at, min(CHUNK, end - at))
            self._hasher.update(data)
            yield Data(data)

    def _read(self, offset: int, count: int) -> bytes:
        data = read_fully(self._descriptor, offset, count)
        if len(data) < count:
            raise OSError(0, _CHANGED)
        return data


def _changed(descriptor: int, entry: Entry) -> bool:
    found = os.fstat(descriptor)
    return found.st_size != entry.size or found.st_mtime_ns != entry.mtime_ns


def _reason(error: OSError | CoveyError) -> str:
    if isinstance(error, CoveyError):
        return error.message
    return error.strerror or "it cannot be read"
