"""The service behind the operations on files: places within the roots, and work on the disk."""

from __future__ import annotations

import os
import stat
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Sequence
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from covey.errors import ConflictError, InvalidRequestError, NotFoundError
from covey.operations.access import Caller, CallerKind
from covey.remote.files.disk import Disk, Disks, acquire
from covey.remote.files.failures import failure, shown
from covey.remote.files.flags import DIRECTORY
from covey.remote.files.model import (
    Entry,
    FileHash,
    FileInfo,
    FilePart,
    ReceiveItem,
    Removed,
    SendItem,
)
from covey.remote.files.partials import Partials
from covey.remote.files.reading import (
    CHUNK,
    SourceTree,
    describe,
    hash_content,
    list_directory,
    new_hash,
    open_content,
    read_fully,
)
from covey.remote.files.removing import identify, make_directory, remove
from covey.remote.files.roots import Place, Roots
from covey.remote.files.tree import Placing, Rules

if TYPE_CHECKING:
    from covey.remote.files.writing import TargetTree

_DESCRIBED_AT_ONCE = 200
_HASHED_AT_ONCE = 64 << 20


class Files:
    """The files of this machine within its roots, as each caller may see them.

    `roots` returns the roots for a user of the machine, None being the daemon's own. They are for
    others: this machine's owner has all of it, as without the daemon.
    """

    def __init__(
        self, roots: Callable[[str | None], Roots], disks: Disks, partials: Partials
    ) -> None:
        self._roots = roots
        self._disks = disks
        self._partials = partials

    def _view(self, caller: Caller) -> tuple[Roots, Disk]:
        user = caller.as_user
        roots = self._roots(user)
        if caller.kind is CallerKind.LOCAL and caller.via is None:
            roots = Roots((*roots.paths, "/"))
        return roots, self._disks.of(user)

    async def look(self, caller: Caller, path: str) -> AsyncGenerator[FileInfo, None]:
        """Yield what is in a directory, sorted by name; a file by itself."""
        roots, disk = self._view(caller)

        def begin() -> tuple[int, list[bytes], str | None]:
            with roots.locate(path) as place:
                if not stat.S_ISDIR(place.stat().st_mode):
                    return os.dup(place.directory), [place.at], None
                names = list_directory(place)
                directory = os.open(place.at, DIRECTORY, dir_fd=place.directory)
                return directory, names, "" if path == "." else path.rstrip("/") + "/"

        def describe_some(names: Sequence[bytes]) -> list[FileInfo]:
            found = []
            for name in names:
                try:
                    shown_as = path if prefix is None else prefix + shown(name)
                    found.append(describe(directory, name, shown_as))
                except FileNotFoundError:
                    continue
                except OSError as error:
                    raise failure(path, error) from error
            return found

        directory, names, prefix = await acquire(disk, begin, lambda found: os.close(found[0]))
        try:
            for at in range(0, len(names), _DESCRIBED_AT_ONCE):
                for item in await disk.run(describe_some, names[at : at + _DESCRIBED_AT_ONCE]):
                    yield item
        finally:
            os.close(directory)

    async def stat(self, caller: Caller, path: str, *, follow: bool) -> FileInfo:
        """Describe one file, directory or link."""
        roots, disk = self._view(caller)

        def work() -> FileInfo:
            with roots.locate(path, follow=follow) as place:
                return describe(place.directory, place.at, path)

        return await disk.run(work)

    async def read(
        self, caller: Caller, path: str, offset: int, length: int | None
    ) -> AsyncGenerator[FilePart, None]:
        """Yield a file's bytes from an offset on."""
        roots, disk = self._view(caller)
        descriptor, _ = await self._opened(disk, roots, path)
        try:
            left = length
            while left is None or left > 0:
                count = CHUNK if left is None else min(CHUNK, left)
                data = await disk.run(_read, path, descriptor, offset, count)
                if not data:
                    return
                yield FilePart(offset, data)
                offset += len(data)
                left = None if left is None else left - len(data)
        finally:
            os.close(descriptor)

    async def hash(self, caller: Caller, path: str) -> FileHash:
        """Return the checksum of a file's content."""
        roots, disk = self._view(caller)
        descriptor, found = await self._opened(disk, roots, path)
        hasher = new_hash()

        def hash_some(at: int) -> None:
            try:
                hash_content(descriptor, min(found.st_size, at + _HASHED_AT_ONCE), hasher, at)
            except OSError as error:
                raise failure(path, error) from error

        try:
            # Not all at once: others have their turn, and who leaves is not waited for.
            for at in range(0, found.st_size, _HASHED_AT_ONCE):
                await disk.run(hash_some, at)
        finally:
            os.close(descriptor)
        return FileHash(path, found.st_size, hasher.hexdigest())

    async def remove(self, caller: Caller, path: str, *, recursive: bool) -> Removed:
        """Remove a file or link, or with `recursive` a directory with all that is in it."""
        roots, disk = self._view(caller)

        def work() -> Removed:
            with roots.locate(path, follow=False) as place:
                kept = identify(roots.paths)
                return Removed(path, remove(place, kept, recursive=recursive))

        return await disk.run(work)

    async def make_directory(
        self, caller: Caller, path: str, mode: int, *, parents: bool
    ) -> FileInfo:
        """Make a directory, with `parents` also those that lead to it."""
        roots, disk = self._view(caller)

        def work() -> FileInfo:
            if parents:
                for above in reversed(PurePosixPath(path).parents):
                    _make_missing(roots, str(above), mode)
                _make_missing(roots, path, mode)
            else:
                try:
                    with roots.locate(path.rstrip("/") or "/") as place:
                        make_directory(place, mode)
                except NotFoundError as error:
                    raise NotFoundError(
                        f"What {path} would be in does not exist.",
                        hint="Make that too: --parents",
                    ) from error
            with roots.locate(path) as place:
                return describe(place.directory, place.at, path)

        return await disk.run(work)

    async def send(
        self,
        caller: Caller,
        paths: Sequence[str],
        answers: AsyncIterator[ReceiveItem],
        *,
        contents: bool,
    ) -> AsyncGenerator[SendItem, None]:
        """Offer files and directories, and send what the other side wants of them."""
        from covey.remote.files.sending import send_tree

        roots, disk = self._view(caller)
        tree = SourceTree()
        try:
            entries = _offers(roots, tree, paths, contents=contents)
            sending = send_tree(disk, tree, entries, answers)
            try:
                async for item in sending:
                    yield item
            finally:
                await sending.aclose()
        finally:
            tree.close()

    async def receive(
        self,
        caller: Caller,
        destination: str,
        items: AsyncIterator[SendItem],
        *,
        placing: Placing,
        rules: Rules,
    ) -> AsyncGenerator[ReceiveItem, None]:
        """Receive a tree: a plan first, then each content in place once it is whole."""
        from covey.remote.files.receiving import Receiver

        roots, disk = self._view(caller)
        own = self._disks.of(None)
        await own.run(self._partials.prepare)

        def open_target(entries: list[Entry]) -> TargetTree:
            with roots.locate(destination) as place:
                return self._open_target(place, destination, entries, placing, rules)

        async def targets(entries: list[Entry]) -> TargetTree:
            target = await acquire(disk, lambda: open_target(entries), lambda made: made.close())
            try:
                where = target.real_path
                if where is not None and not rules.dry_run:
                    await own.run(self._partials.note, where)
            except BaseException:
                target.close()
                raise
            return target

        receiving = Receiver(disk, rules, targets).receive(items)
        try:
            async for item in receiving:
                yield item
        finally:
            await receiving.aclose()

    async def remove_abandoned(self) -> int:
        """Remove temporary files of copies that were given up long ago; returns how many."""

        def work() -> int:
            self._partials.prepare()
            return self._partials.remove_abandoned()

        return await self._disks.of(None).run(work)

    async def _opened(self, disk: Disk, roots: Roots, path: str) -> tuple[int, os.stat_result]:
        def work() -> tuple[int, os.stat_result]:
            with roots.locate(path) as place:
                return open_content(place.directory, place.at, path)

        return await acquire(disk, work, lambda found: os.close(found[0]))

    def _open_target(
        self,
        place: Place,
        destination: str,
        entries: list[Entry],
        placing: Placing,
        rules: Rules,
    ) -> TargetTree:
        from covey.remote.files.writing import TargetTree

        tops = [entry for entry in entries if b"/" not in entry.path]
        contents = any(not entry.path for entry in tops)
        try:
            found = place.stat()
        except FileNotFoundError:
            found = None
        is_directory = found is not None and stat.S_ISDIR(found.st_mode)
        if placing is Placing.AUTO:
            into = contents or is_directory or destination.endswith("/")
            into = into or place.is_root or len([item for item in tops if item.path]) > 1
        else:
            into = placing is Placing.INTO or place.is_root
        if not into:
            if len(tops) != 1 or contents:
                raise InvalidRequestError(
                    "Only one file or directory can be received under another name.",
                    hint="Name a directory that it goes into.",
                )
            return TargetTree(_reopened(place), self._partials, top=place.name)
        if found is None and rules.dry_run:
            return TargetTree(_reopened(place), self._partials, below=place.name)
        if found is None:
            make_directory(place, 0o755)
        elif not is_directory:
            raise ConflictError(
                f"{destination} is not a directory.", hint="Name another destination."
            )
        base = os.open(place.at, DIRECTORY, dir_fd=place.directory)
        return TargetTree(base, self._partials)


def _offers(
    roots: Roots, tree: SourceTree, paths: Sequence[str], *, contents: bool
) -> Iterator[Entry]:
    """Yield what is offered; runs on the disk."""
    for path in paths:
        with roots.locate(path) as place:
            found = place.stat()
            if contents and not stat.S_ISDIR(found.st_mode):
                raise ConflictError(f"{path} is not a directory.", hint="To copy a file: covey cp")
            yield from tree.add(place, b"" if contents else _offered_name(place, path))


def _offered_name(place: Place, path: str) -> bytes:
    """Return the name under which a source is offered: the one it was asked for by."""
    name = os.path.basename(os.fsencode(path.rstrip("/")))
    if name in {b"", b".", b"..", b"~"}:
        name = place.name or os.path.basename(os.fsencode(place.path.rstrip("/")))
    return name if name not in {b"", b".", b"..", b"~"} else b"files"


def _make_missing(roots: Roots, path: str, mode: int) -> None:
    """Make one directory of a path unless it is there; those above the roots are not ours."""
    if not roots.contains(path):
        return
    with roots.locate(path) as place:
        if place.is_root:
            return
        try:
            make_directory(place, mode)
        except FileExistsError:
            if not stat.S_ISDIR(place.stat().st_mode):
                raise


def _reopened(place: Place) -> int:
    """Open a place's directory so that it can be synced; one that we may not read, only passed."""
    try:
        return os.open(b".", DIRECTORY, dir_fd=place.directory)
    except PermissionError:
        return os.dup(place.directory)


def _read(path: str, descriptor: int, offset: int, count: int) -> bytes:
    try:
        return read_fully(descriptor, offset, count)
    except OSError as error:
        raise failure(path, error) from error
