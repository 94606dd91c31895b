"""Uploads: kept whole or not at all, for their app, and pruned."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from covey.apps.containers import Log
from covey.apps.uploads import Uploaded, UploadPart, Uploads
from covey.errors import InvalidRequestError, NotFoundError, StorageError, TooLargeError

DATA = os.urandom(100_000)
SHA256 = hashlib.sha256(DATA).hexdigest()


class Copying:
    """Unpacks by copying the archive."""

    async def unpack(self, archive: Path, into: Path, log: Log) -> None:
        into.write_bytes(archive.read_bytes())


async def parts(data: bytes = DATA, size: int = 30_000) -> AsyncIterator[UploadPart]:
    for at in range(0, len(data), size):
        yield UploadPart(data[at : at + size])


@pytest.fixture
def uploads(tmp_path: Path) -> Uploads:
    return Uploads(tmp_path / "uploads", 1 << 20, Copying())


def receive(
    uploads: Uploads, data: AsyncIterator[UploadPart], sha256: str = SHA256, size: int = len(DATA)
) -> Uploaded:
    return asyncio.run(uploads.receive("shop", sha256, size, data))


def kept(tmp_path: Path) -> list[Path]:
    return [path for path in (tmp_path / "uploads").rglob("*") if path.is_file()]


def test_an_upload_is_kept_for_its_app_alone(uploads: Uploads, tmp_path: Path) -> None:
    found = receive(uploads, parts())
    assert not found.known
    (path,) = kept(tmp_path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    into = tmp_path / "into"
    asyncio.run(uploads.unpack("shop", found.id, into, print))
    assert into.read_bytes() == DATA
    for app, upload in (("other", found.id), ("shop", "0" * 32), ("shop", "../x")):
        with pytest.raises(NotFoundError):
            asyncio.run(uploads.unpack(app, upload, into, print))


def test_the_same_again_is_not_read(uploads: Uploads) -> None:
    async def never() -> AsyncIterator[UploadPart]:
        raise AssertionError
        yield

    receive(uploads, parts())
    assert receive(uploads, never()).known


@pytest.mark.parametrize(
    "data", [DATA[:-1], DATA + b"x", b"", bytes(len(DATA))], ids=["short", "long", "none", "other"]
)
def test_what_was_not_announced_is_not_kept(uploads: Uploads, tmp_path: Path, data: bytes) -> None:
    with pytest.raises(InvalidRequestError, match="announced"):
        receive(uploads, parts(data))
    assert kept(tmp_path) == []


def test_what_is_too_large_is_refused_before_it_is_read(uploads: Uploads) -> None:
    with pytest.raises(TooLargeError, match="1 MiB"):
        receive(uploads, parts(), size=(1 << 20) + 1)


def test_an_upload_that_breaks_off_leaves_nothing(uploads: Uploads, tmp_path: Path) -> None:
    async def broken() -> AsyncIterator[UploadPart]:
        yield UploadPart(DATA[:1000])
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        receive(uploads, broken())
    assert kept(tmp_path) == []


def test_a_full_disk_says_so_and_leaves_nothing(
    uploads: Uploads, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "uploads" / "shop").mkdir(parents=True)
    opened = os.open

    def full(path: object, *arguments: int, **options: int) -> int:
        if str(path).endswith(".part"):
            opened(path, *arguments, **options)  # type: ignore[arg-type]
            return opened("/dev/full", os.O_WRONLY)
        return opened(path, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "open", full)
    with pytest.raises(StorageError, match="No space left"):
        receive(uploads, parts())
    assert kept(tmp_path) == []


def test_what_a_killed_daemon_left_is_cleaned(uploads: Uploads, tmp_path: Path) -> None:
    found = receive(uploads, parts())
    half = tmp_path / "uploads" / "shop" / f"{found.id}.abcd.part"
    half.write_bytes(b"half")
    uploads.clean()
    assert not half.exists()
    assert len(kept(tmp_path)) == 1


def test_old_uploads_that_nothing_names_are_pruned(uploads: Uploads, tmp_path: Path) -> None:
    found = receive(uploads, parts())
    later = (tmp_path / "uploads" / "shop").stat().st_mtime + 7200
    assert uploads.prune(set()) == 0
    assert uploads.prune({found.id}, now=later) == 0
    assert uploads.prune(set(), now=later) == 1
    assert kept(tmp_path) == []
    receive(uploads, parts())
    uploads.forget("shop")
    assert list((tmp_path / "uploads").iterdir()) == []
