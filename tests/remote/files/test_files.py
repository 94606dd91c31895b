"""Looking, reading, making and removing; and senders who do not keep to the protocol."""

from __future__ import annotations

import hashlib
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from covey.errors import ConflictError, CoveyError, InvalidRequestError, NotFoundError, RefusedError
from covey.remote.files.delta import block_digest
from covey.remote.files.model import (
    Begin,
    Block,
    ContentEnd,
    Data,
    Entries,
    EntriesEnd,
    Entry,
    Failed,
    FileInfo,
    FileKind,
    Finished,
    ReceiveItem,
    SendEnd,
    SendItem,
    Small,
    SmallFile,
    Want,
    Wants,
)
from covey.remote.files.service import Files
from covey.remote.files.tree import Placing, Rules
from tests.remote.files.machine import CALLER, at_once, files, leftovers


@pytest.fixture
def top(tmp_path: Path) -> Path:
    (tmp_path / "top").mkdir()
    return tmp_path / "top"


@pytest.fixture
def service(top: Path) -> Files:
    return files(top, home=top.parent / "home")


def look(service: Files, path: str) -> list[FileInfo]:
    async def work() -> list[FileInfo]:
        return [item async for item in service.look(CALLER, path)]

    return at_once(work)


def read(service: Files, path: str, offset: int = 0, length: int | None = None) -> bytes:
    async def work() -> bytes:
        parts = [item async for item in service.read(CALLER, path, offset, length)]
        return b"".join(part.data for part in parts)

    return at_once(work)


def test_a_directory_is_listed_by_name(service: Files, top: Path):
    (top / "b").write_bytes(b"12345")
    (top / "b").chmod(0o640)
    os.utime(top / "b", (1_600_000_000, 1_600_000_000))
    (top / "a").mkdir()
    (top / "c").symlink_to("b")
    Path(os.fsdecode(os.fsencode(top) + b"/\xff")).write_bytes(b"")
    found = look(service, ".")
    assert [item.path for item in found] == ["a", "b", "c", "\\xff"]
    assert [item.kind.value for item in found] == ["directory", "file", "symlink", "file"]
    assert (found[1].size, found[1].mode) == (5, "0640")
    assert found[1].modified == "2020-09-13T12:26:40+00:00"
    assert found[2].target == "b"
    assert [item.path for item in look(service, str(top / "b"))] == [str(top / "b")]
    with pytest.raises(NotFoundError):
        look(service, "none")


def test_stat_follows_when_asked(service: Files, top: Path):
    (top / "f").write_bytes(b"123")
    (top / "l").symlink_to("f")
    link = at_once(lambda: service.stat(CALLER, "l", follow=False))
    assert (link.kind, link.target) == (FileKind.SYMLINK, "f")
    assert at_once(lambda: service.stat(CALLER, "l", follow=True)).size == 3


def test_reading_from_anywhere_and_the_checksum(service: Files, top: Path):
    data = os.urandom(1_200_000)
    (top / "f").write_bytes(data)
    assert read(service, "f") == data
    assert read(service, "f", 5, 7) == data[5:12]
    assert read(service, "f", 600_000, 600_001) == data[600_000:]
    assert read(service, "f", 2_000_000) == b""
    found = at_once(lambda: service.hash(CALLER, "f"))
    assert (found.size, found.blake2b) == (
        len(data),
        hashlib.blake2b(data, digest_size=32).hexdigest(),
    )


def test_only_files_are_read(service: Files, top: Path):
    (top / "d").mkdir()
    os.mkfifo(top / "pipe")
    for path in ("d", "pipe", "."):
        with pytest.raises(ConflictError):
            read(service, path)


def test_removing(service: Files, top: Path):
    (top / "f").write_bytes(b"")
    (top / "d" / "e").mkdir(parents=True)
    (top / "d" / "e" / "g").write_bytes(b"")
    (top.parent / "outside").mkdir()
    (top.parent / "outside" / "kept").write_bytes(b"")
    (top / "d" / "l").symlink_to(top.parent / "outside")
    (top / "out").symlink_to(top.parent / "outside")

    def remove(path: str, *, recursive: bool = False) -> int:
        return at_once(lambda: service.remove(CALLER, path, recursive=recursive)).count

    assert remove("f") == 1
    with pytest.raises(ConflictError):
        remove("d")
    assert remove("d", recursive=True) == 4
    assert remove("out") == 1
    assert (top.parent / "outside" / "kept").exists()
    for path in (".", str(top), "~", "x/.."):
        with pytest.raises(CoveyError):
            remove(path, recursive=True)
    assert top.exists()
    with pytest.raises(NotFoundError):
        remove("none")


def test_no_root_within_a_directory_is_removed(top: Path):
    (top / "d" / "root").mkdir(parents=True)
    service = files(top, top / "d" / "root", home=top.parent / "home")
    for path in ("d", "d/root"):
        with pytest.raises(RefusedError):
            at_once(lambda path=path: service.remove(CALLER, path, recursive=True))
    assert (top / "d" / "root").exists()


def test_making_directories(service: Files, top: Path):
    def make(path: str, *, parents: bool = False) -> FileInfo:
        return at_once(lambda: service.make_directory(CALLER, path, 0o750, parents=parents))

    assert make("a").mode == "0750"
    with pytest.raises(ConflictError):
        make("a")
    with pytest.raises(NotFoundError):
        make("x/y/z")
    make("x/y/z", parents=True)
    make(f"{top}/x/y/w", parents=True)
    make("x/y/z", parents=True)
    assert sorted(path.name for path in (top / "x" / "y").iterdir()) == ["w", "z"]
    (top / "f").write_bytes(b"")
    with pytest.raises(ConflictError):
        make("f", parents=True)
    with pytest.raises(RefusedError):
        make("../x", parents=True)


def receive(service: Files, items: list[SendItem], path: str = ".") -> list[ReceiveItem]:
    async def script() -> AsyncIterator[SendItem]:
        for item in items:
            yield item

    async def work() -> list[ReceiveItem]:
        found = service.receive(CALLER, path, script(), placing=Placing.INTO, rules=Rules())
        return [item async for item in found]

    return at_once(work)


def small(number: int, data: bytes) -> Small:
    return Small([SmallFile(number, data, hashlib.blake2b(data, digest_size=32).digest())])


def entry(number: int, path: bytes, size: int = 4, kind: FileKind = FileKind.FILE) -> Entry:
    return Entry(number, path, kind, size, 0o644, 1)


def test_a_file_below_a_link_that_was_there_is_not_written(service: Files, top: Path):
    outside = top.parent / "outside"
    outside.mkdir()
    (top / "d").symlink_to(outside)
    tree = [entry(0, b"d", kind=FileKind.DIRECTORY), entry(1, b"d/f"), entry(2, b"d/g", 100_000)]
    items = [Entries(tree), EntriesEnd(), small(1, b"evil"), SendEnd()]
    found = receive(service, items)
    assert {item.path for item in found if isinstance(item, Failed)} == {b"d", b"d/f", b"d/g"}
    assert list(outside.iterdir()) == []


@pytest.mark.parametrize(
    "items",
    [
        [],
        [Entries([entry(1, b"../f")]), EntriesEnd()],
        [Entries([entry(1, b"f"), entry(1, b"g")]), EntriesEnd()],
        [Entries([entry(1, b"f")])],
        [Entries([entry(1, b"f")]), EntriesEnd(), small(2, b"evil"), SendEnd()],
        [Entries([entry(1, b"f")]), EntriesEnd(), Data(b"evil"), SendEnd()],
        [Entries([entry(1, b"f")]), EntriesEnd(), Begin(7, 0), SendEnd()],
        [Entries([entry(1, b"f")]), EntriesEnd(), ContentEnd(b""), SendEnd()],
        [Entries([entry(1, b"f")]), EntriesEnd()],
        [Entries([entry(1, b"f")]), EntriesEnd(), small(1, b"once"), small(1, b"once"), SendEnd()],
    ],
)
def test_senders_who_do_not_keep_to_the_protocol(service: Files, top: Path, items: list[SendItem]):
    with pytest.raises(InvalidRequestError):
        receive(service, items)
    assert leftovers(top) == []
    assert not (top.parent / "f").exists()


@pytest.mark.parametrize(
    "items",
    [
        [small(1, b"longer than it was said to be")],
        [Begin(1, 0), Data(b"12345"), ContentEnd(b"")],
        [Begin(1, 2), Data(b"12"), ContentEnd(b"")],
        [Begin(1, 0), Data(b"1234"), ContentEnd(b"wrong")],
        [],
    ],
)
def test_contents_that_do_not_fit_are_not_put_in_place(
    service: Files, top: Path, items: list[SendItem]
):
    found = receive(service, [Entries([entry(1, b"f")]), EntriesEnd(), *items, SendEnd()])
    assert [item.path for item in found if isinstance(item, Failed)] == [b"f"]
    assert isinstance(found[-1], Finished)
    assert list(top.iterdir()) == []


@pytest.mark.parametrize(
    "wants",
    [
        [Wants([Want(99)], last=True)],
        [Wants([Want(0, block_bytes=0, blocks=[Block(b"", block_digest(b""))])], last=True)],
        [Wants([Want(0, block_bytes=1 << 40, blocks=[Block(b"", b"")])], last=True)],
        [Wants([Want(0)])] * 3,
        [Wants([])] * 3,
    ],
)
def test_what_was_not_offered_is_not_sent(service: Files, top: Path, wants: list[Wants]):
    (top / "f").write_bytes(b"x")

    async def answers() -> AsyncIterator[ReceiveItem]:
        for item in wants:
            yield item

    async def work() -> None:
        async for _ in service.send(CALLER, ["f"], answers(), contents=False):
            pass

    with pytest.raises(InvalidRequestError):
        at_once(work)


def test_a_directory_in_none_is_told_with_the_way_to_make_both(service: Files):
    with pytest.raises(NotFoundError) as caught:
        at_once(lambda: service.make_directory(CALLER, "a/b", 0o755, parents=False))
    assert "--parents" in str(caught.value.hint)
