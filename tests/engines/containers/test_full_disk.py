"""A disk that is full: the reason is told, and nothing of the attempt is left on it."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from covey.apps.containers import ContainerSpec
from covey.engines.containers.copying import copy_directory
from covey.engines.containers.unfinished import BuildJournal
from covey.errors import CoveyError, StorageError
from tests.engines.containers.engine_stand_in import Reply, stand_in, told
from tests.engines.containers.laboratories import NODE, build, make_podman_engine
from tests.images import WEB
from tests.podman import Podman, new_podman

_BYTES = 32 << 20


@pytest.fixture
def small() -> Iterator[Path]:
    """A small file system."""
    place = Path(tempfile.mkdtemp(prefix="cvs-", dir="/tmp"))
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={_BYTES}", "none", place], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", place], check=True)
        place.rmdir()


@pytest.fixture
def small_podman(small: Path) -> Iterator[Podman]:
    """A Podman whose storage is small."""
    root = Path(tempfile.mkdtemp(prefix="cvp-", dir="/tmp"))
    (root / "storage").symlink_to(small)
    with new_podman(root, with_python=False) as podman:
        yield podman


@pytest.mark.parametrize(
    "text", ["RUN dd if=/dev/zero of=/big bs=1M count=60", "COPY . /app"], ids=["step", "copy"]
)
async def test_a_build_says_so_and_leaves_nothing(
    small_podman: Podman, home: Path, tmp_path: Path, text: str
):
    app = tmp_path / "app"
    app.mkdir()
    (app / "big").write_bytes(os.urandom(_BYTES))
    engine = make_podman_engine(small_podman, home)
    await engine.version()
    before = small_podman.leftovers()
    with pytest.raises(StorageError) as failure:
        await build(engine, app, f"FROM {WEB}\n{text}\n")
    assert failure.value.message.startswith("The build failed, because the disk is full.")
    assert "Free some space" in str(failure.value.hint)
    assert max(map(len, failure.value.message.splitlines())) < 500
    assert small_podman.leftovers() == before
    assert shutil.disk_usage(small_podman.root / "storage").free > _BYTES * 0.8
    (app / "big").unlink()
    await build(engine, app, f"FROM {WEB}\nRUN echo enough > /small\n")
    await engine.close()


async def test_a_container_says_so(small_podman: Podman, home: Path):
    engine = make_podman_engine(small_podman, home)
    await engine.version()
    filling = small_podman.root / "storage/filling"
    with filling.open("wb") as file:
        while shutil.disk_usage(filling.parent).free:
            file.write(bytes(4096))
            file.flush()
    with pytest.raises(StorageError, match="The disk is full"):
        await engine.create(ContainerSpec("one", WEB, NODE))
    filling.unlink()
    assert await engine.list_containers(NODE) == []
    await engine.create(ContainerSpec("one", WEB, NODE))
    await engine.close()


async def test_a_build_that_cannot_be_noted_is_not_begun(home: Path):
    (home / "builds").write_text("no directory")
    journal = BuildJournal(home / "builds")
    async with stand_in(home) as (_, engine):
        api = await engine._access.api()
        with pytest.raises(StorageError, match="not begun"):
            await journal.begin(api, {}, podman=False)


async def test_files_that_cannot_be_kept_are_a_clear_error_and_their_container_goes(
    home: Path, small: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(tempfile, "tempdir", str(small))
    async with stand_in(home) as (there, engine):
        there.answer("POST /containers/create", told({"Id": "made"}))
        there.answer("GET /containers/made/archive", Reply(bytes(_BYTES + (9 << 20))))
        there.answer("DELETE /containers/made", Reply())
        with pytest.raises(CoveyError, match="could not be kept"):
            await copy_directory(await engine._access.api(), "image", "/www", home / "out")
        assert there.requests[-1].method == "DELETE"
    assert list(small.iterdir()) == []
