"""The repositories that a node serves: what is left of pushes that broke off."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

import pytest

from covey.apps.pkt_line import NO_COMMIT, RefUpdate
from covey.engines.git.serving import GitPrograms
from covey.errors import CoveyError
from tests.engines.git.servers import Repository, make_repository

MAIN = "refs/heads/main"


@pytest.fixture
def programs() -> GitPrograms:
    return GitPrograms(1 << 20)


def test_what_a_broken_off_push_left_is_removed_but_not_what_one_writes_now(
    programs: GitPrograms, tmp_path: Path
) -> None:
    place = tmp_path / "shop.git"
    asyncio.run(programs.make(place))
    old, slow = (place / "objects" / f"tmp_objdir-incoming-{name}" for name in ("old", "slow"))
    for left in (old, slow):
        (left / "pack").mkdir(parents=True)
        (left / "pack" / "tmp_pack_x").write_bytes(b"PACK")
    long_ago = time.time() - 10_000
    for path in (*old.rglob("*"), old, slow / "pack", slow):
        os.utime(path, (long_ago, long_ago))
    asyncio.run(programs.make(place))
    assert not old.exists()
    assert (slow / "pack" / "tmp_pack_x").exists()


def test_a_ref_moves_only_from_where_it_is_expected(programs: GitPrograms, tmp_path: Path) -> None:
    work = make_repository(tmp_path / "work")
    first, second = work.commit({"a": "1"}), work.commit({"a": "2"})
    place = work.path / ".git"

    async def move() -> None:
        assert await programs.set_ref(place, MAIN, second, second)
        assert not await programs.set_ref(place, MAIN, first, first)
        assert await programs.set_ref(place, MAIN, first, second)
        assert await programs.set_ref(place, MAIN, NO_COMMIT, first)
        assert not await programs.set_ref(place, MAIN, second, first)

    asyncio.run(move())


def test_the_files_of_a_push_are_told_unless_all_are_new_or_the_old_ones_gone(
    programs: GitPrograms, tmp_path: Path
) -> None:
    work: Repository = make_repository(tmp_path / "work")
    first = work.commit({"a": "1", "b": "1"})
    second = work.commit({"b": "2", "d/c": "1"})
    place = work.path / ".git"

    async def look() -> None:
        assert await programs.changed(place, RefUpdate(MAIN, first, second)) == ["b", "d/c"]
        assert await programs.changed(place, RefUpdate(MAIN, NO_COMMIT, second)) is None
        assert await programs.changed(place, RefUpdate(MAIN, "1" * 40, second)) is None
        with pytest.raises(CoveyError):
            await programs.message(place, "1" * 40)

    asyncio.run(look())


def test_only_commits_that_are_kept_stay(programs: GitPrograms, tmp_path: Path) -> None:
    work = make_repository(tmp_path / "work")
    commits = [work.commit({"a": text}) for text in "123"]
    place = work.path / ".git"

    async def tidy() -> None:
        for commit in commits:
            await programs.set_ref(place, f"refs/covey/commits/{commit}", commit, None)
        await programs.tidy(place, "refs/covey/commits/", {commits[1]})

    asyncio.run(tidy())
    kept = work.git("for-each-ref", "--format=%(refname)", "refs/covey")
    assert kept.split() == [f"refs/covey/commits/{commits[1]}"]
