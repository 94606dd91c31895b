"""Receiving a tree: a plan first, then the contents, each in place only when it is whole."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from functools import partial

from covey.errors import CoveyError, DamagedError, InvalidRequestError, TooLargeError
from covey.remote.files.delta import SMALLEST as SMALLEST_DELTA
from covey.remote.files.disk import Disk
from covey.remote.files.model import (
    Begin,
    ContentEnd,
    Copied,
    Data,
    Entries,
    EntriesEnd,
    Entry,
    Failed,
    FileKind,
    Finished,
    Hole,
    Plan,
    ReceiveItem,
    Same,
    SendEnd,
    SendItem,
    Small,
    Unreadable,
    Want,
    Wants,
)
from covey.remote.files.part import Part
from covey.remote.files.sending import SMALL_BYTES
from covey.remote.files.tree import (
    MOST_ENTRIES,
    Existing,
    Rules,
    TreePlan,
    check_tree,
    plan_tree,
)
from covey.remote.files.writing import TargetTree

_WANTS_AT_ONCE = 1000
_MOST_PARTS = 16
_LARGE_AT_ONCE = 8
_PATHS_SHOWN = 1000


class Receiver:
    """Receives one tree into a target; `targets` makes it once the tree's tops are known."""

    def __init__(
        self, disk: Disk, rules: Rules, targets: Callable[[list[Entry]], Awaitable[TargetTree]]
    ) -> None:
        self._disk = disk
        self._rules = rules
        self._targets = targets
        self._entries: dict[int, Entry] = {}
        self._wanted: dict[int, Entry] = {}
        self._compared: set[int] = set()
        self._parts: dict[int, Part] = {}
        self._existing: dict[bytes, Existing] = {}
        self._current: _Incoming | None = None
        self._copied = self._skipped = self._deleted = self._failed = self._bytes = 0

    async def receive(self, items: AsyncIterator[SendItem]) -> AsyncGenerator[ReceiveItem, None]:
        """Yield the plan, what is wanted, and what became of it; raises `InvalidRequestError`."""
        damaged = await self._read_entries(items)
        entries = list(self._entries.values())
        check_tree(entries)
        target = await self._targets(entries)
        try:
            plan = await self._disk.run(self._plan, target, entries)
            if damaged and plan.deletions:
                plan.deletions.clear()
                yield Failed(b"", "some of the source cannot be read: nothing is deleted")
            yield self._summary(plan)
            for path, reason in plan.refusals:
                yield self._fail(path, reason)
            if self._rules.dry_run:
                yield Wants([], last=True)
            else:
                async for item in self._copy(target, plan, items):
                    yield item
            yield Finished(self._copied, self._skipped, self._deleted, self._failed, self._bytes)
        finally:
            for part in self._parts.values():
                part.close()
            target.close()

    async def _read_entries(self, items: AsyncIterator[SendItem]) -> bool:
        async for item in items:
            match item:
                case Entries(entries):
                    for entry in entries:
                        if entry.number in self._entries:
                            raise InvalidRequestError(f"File {entry.number} comes twice.")
                        self._entries[entry.number] = entry
                    if len(self._entries) > MOST_ENTRIES:
                        raise TooLargeError(
                            f"The tree has more than {MOST_ENTRIES} files.",
                            hint="Copy its directories one by one.",
                        )
                case EntriesEnd(damaged):
                    return damaged
                case _:
                    break
        raise InvalidRequestError(
            "The tree ended before it was complete.", hint="Was the connection lost? Try again."
        )

    def _plan(self, target: TargetTree, entries: list[Entry]) -> TreePlan:
        existing: dict[bytes, Existing] = {}
        for entry in entries:
            found = target.existing(entry.path)
            if found is not None:
                existing[entry.path] = found
        if self._rules.delete:
            existing.update(target.everything())
        plan = plan_tree(entries, existing, self._rules)
        self._existing = existing
        return plan

    def _summary(self, plan: TreePlan) -> Plan:
        paths = [entry.path for entry in (*plan.copies, *plan.compare, *plan.links)]
        return Plan(
            copy=len(paths),
            skip=len(plan.skips),
            delete=len(plan.deletions),
            size=plan.size,
            paths=paths[:_PATHS_SHOWN],
        )

    async def _copy(
        self, target: TargetTree, plan: TreePlan, items: AsyncIterator[SendItem]
    ) -> AsyncGenerator[ReceiveItem, None]:
        for failed in await self._disk.run(self._prepare, target, plan):
            yield failed
        self._wanted = {entry.number: entry for entry in (*plan.copies, *plan.compare)}
        self._compared = {entry.number for entry in plan.compare}
        batch: list[Want] = []
        for entries in _batches(list(self._wanted.values())):
            wants, failures = await self._disk.run(self._wants, target, entries)
            for failed in failures:
                yield failed
            batch += wants
            if len(self._parts) >= _MOST_PARTS or len(batch) >= _WANTS_AT_ONCE:
                yield Wants(batch)
                batch = []
                async for item in self._take(target, items, until=_MOST_PARTS // 2):
                    yield item
        yield Wants(batch, last=True)
        async for item in self._take(target, items, until=None):
            yield item
        for failed in await self._disk.run(self._finish, target, plan):
            yield failed

    def _prepare(self, target: TargetTree, plan: TreePlan) -> list[ReceiveItem]:
        """Make directories and links, and set right what stays as it is."""
        found: list[ReceiveItem] = []
        preserve = self._rules.preserve
        for entry in plan.directories:
            found += self._try(entry.path, partial(target.make_directory, entry.path))
        for entry in plan.links:
            failed = self._try(entry.path, partial(target.make_link, entry, preserve=preserve))
            self._copied += not failed
            found += failed
        for entry in plan.skips:
            self._skipped += 1
            present = self._existing.get(entry.path)
            if entry.kind is not FileKind.FILE or present is None or not preserve:
                continue
            if (present.mode, present.mtime_ns) != (entry.mode, entry.mtime_ns):
                found += self._try(entry.path, partial(target.set_right, entry))
        return found

    def _wants(
        self, target: TargetTree, entries: list[Entry]
    ) -> tuple[list[Want], list[ReceiveItem]]:
        wants: list[Want] = []
        failures: list[ReceiveItem] = []
        for entry in entries:
            try:
                wants.append(self._want(target, entry))
            except (OSError, CoveyError) as error:
                del self._wanted[entry.number]
                failures.append(self._fail(entry.path, _reason(error)))
        return wants, failures

    def _want(self, target: TargetTree, entry: Entry) -> Want:
        """Say what is needed of one content, given what is there of it."""
        if entry.number in self._compared:
            return Want(entry.number, entry.size, target.digest(entry.path))
        if entry.size <= SMALL_BYTES:
            return Want(entry.number)
        part = target.open_part(entry)
        self._parts[entry.number] = part
        if 0 < part.size <= entry.size:
            return Want(entry.number, part.size, part.prefix_digest())
        present = self._existing.get(entry.path)
        if (
            self._rules.sync
            and present is not None
            and present.kind is FileKind.FILE
            and min(present.size, entry.size) >= SMALLEST_DELTA
        ):
            length, blocks = part.describe_old(present.size)
            return Want(entry.number, block_bytes=length, blocks=blocks)
        return Want(entry.number)

    async def _take(  # noqa: C901 - one case for each kind of message
        self, target: TargetTree, items: AsyncIterator[SendItem], until: int | None
    ) -> AsyncGenerator[ReceiveItem, None]:
        """Take contents until so few parts are open, or until there is no more."""
        while until is None or len(self._parts) > until:
            item = await anext(items, None)
            match item:
                case Small(files):
                    wanted = [(self._take_out(file.number), file) for file in files]
                    done, failures = await self._disk.run(
                        target.write_small, wanted, preserve=self._rules.preserve
                    )
                    for entry, reason in failures:
                        yield self._fail(entry.path, reason)
                    if done:
                        yield self._placed(done)
                case Begin(number, offset):
                    await self._disk.run(self._begin, target, number, offset)
                case Data() | Hole() | Same():
                    await self._disk.run(self._write, item)
                case ContentEnd(digest):
                    for result in await self._disk.run(self._complete, target, digest):
                        yield result
                case Unreadable(number, reason):
                    self._current = None
                    self._drop(number)
                    yield self._fail(self._take_out(number).path, reason)
                case SendEnd() if until is None:
                    for entry in self._wanted.values():
                        yield self._fail(entry.path, "it did not come")
                    return
                case _:
                    raise InvalidRequestError(
                        "The contents ended before they were complete.",
                        hint="Was the connection lost? Copy again: what has come is kept.",
                    )

    def _begin(self, target: TargetTree, number: int, offset: int) -> None:
        entry = self._wanted.get(number)
        if entry is None:
            raise InvalidRequestError(f"File {number} comes and was not wanted.")
        self._current = _Incoming(entry)
        if number in self._compared and offset == entry.size:
            self._current.same = True
            return
        try:
            part = self._parts.get(number)
            if part is None:
                part = self._parts[number] = target.open_part(entry)
            part.begin(offset)
            self._current.part = part
        except (OSError, DamagedError) as error:
            self._current.failure = _reason(error)
            self._drop(number)

    def _write(self, item: Data | Hole | Same) -> None:
        """Write some of the content; after a failure the rest of it is passed over."""
        current = self._current
        if current is None or current.same:
            raise InvalidRequestError("Bytes came that belong to no file.")
        part, entry = current.part, current.entry
        if part is None:
            return
        try:
            match item:
                case Data(data) if part.size + len(data) <= entry.size:
                    part.write(data)
                    self._bytes += len(data)
                case Hole(length) if part.size + length <= entry.size:
                    part.skip(length)
                case Same(source, length) if part.size + length <= entry.size:
                    part.copy_old(source, length)
                case _:
                    raise DamagedError("more came than was offered")  # noqa: TRY301 - as below
        except (OSError, DamagedError) as error:
            current.failure = _reason(error)
            current.part = None
            self._drop(entry.number)

    def _complete(self, target: TargetTree, digest: bytes) -> list[ReceiveItem]:
        current, self._current = self._current, None
        if current is None:
            raise InvalidRequestError("A content ended that had not begun.")
        entry = self._take_out(current.entry.number)
        if current.same:
            self._skipped += 1
            if self._rules.preserve:
                return self._try(entry.path, partial(target.set_right, entry))
            return []
        if current.part is None:
            return [self._fail(entry.path, current.failure)]
        try:
            current.part.commit(entry, digest, preserve=self._rules.preserve)
        except (OSError, DamagedError) as error:
            self._drop(entry.number)
            return [self._fail(entry.path, _reason(error))]
        del self._parts[entry.number]
        self._copied += 1
        return [Copied(1, entry.size, entry.number, digest)]

    def _finish(self, target: TargetTree, plan: TreePlan) -> list[ReceiveItem]:
        """Delete what is to go, and give directories their modes and times."""
        found: list[ReceiveItem] = []
        if self._failed:
            if plan.deletions:
                found.append(Failed(b"", "not everything was copied: nothing is deleted"))
        else:
            for path in plan.deletions:
                failed = self._try(path, partial(target.remove, path))
                self._deleted += not failed
                found += failed
        for entry in reversed(plan.directories):
            finish = partial(target.finish_directory, entry, preserve=self._rules.preserve)
            found += self._try(entry.path, finish)
        return found

    def _placed(self, done: list[Entry]) -> Copied:
        size = sum(entry.size for entry in done)
        self._copied += len(done)
        self._bytes += size
        return Copied(len(done), size)

    def _take_out(self, number: int) -> Entry:
        entry = self._wanted.pop(number, None)
        if entry is None:
            raise InvalidRequestError(f"File {number} comes and was not wanted.")
        return entry

    def _drop(self, number: int) -> None:
        part = self._parts.pop(number, None)
        if part is not None:
            part.discard()

    def _try(self, path: bytes, work: Callable[[], None]) -> list[ReceiveItem]:
        try:
            work()
        except OSError as error:
            return [self._fail(path, _reason(error))]
        return []

    def _fail(self, path: bytes, reason: str) -> Failed:
        self._failed += 1
        return Failed(path, reason)


@dataclass(slots=True)
class _Incoming:
    """The content that is coming: into a part, or compared with what is there and the same."""

    entry: Entry
    part: Part | None = None
    same: bool = False
    failure: str = ""


def _batches(entries: list[Entry]) -> Iterator[list[Entry]]:
    """Divide entries so that few of them need a part of their own."""
    batch: list[Entry] = []
    large = 0
    for entry in entries:
        batch.append(entry)
        large += entry.size > SMALL_BYTES
        if large >= _LARGE_AT_ONCE or len(batch) >= _WANTS_AT_ONCE:
            yield batch
            batch, large = [], 0
    if batch:
        yield batch


def _reason(error: OSError | CoveyError) -> str:
    if isinstance(error, CoveyError):
        return error.message
    return error.strerror or "it cannot be written"
