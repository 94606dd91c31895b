"""Copying trees: contents, metadata, placing, refusals, resuming, and nothing half done."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from covey.errors import ConflictError, CoveyError, InvalidRequestError, NotFoundError
from covey.remote.files.model import Data, Hole, Same, Small
from covey.remote.files.service import Files
from covey.remote.files.tree import Placing
from tests.remote.files import machine
from tests.remote.files.machine import Copying, at_once, copy, files, leftovers, snapshot

Two = tuple[Path, Path, Files, Files]
BIG = random.Random(1).randbytes(3 << 20)


@pytest.fixture
def two(tmp_path: Path) -> Two:
    """Two roots, and the files of two machines that share one each."""
    a, b = tmp_path / "a", tmp_path / "b"
    a.mkdir()
    b.mkdir()
    return a, b, files(a, home=tmp_path / "ha"), files(b, home=tmp_path / "hb")


def make_tree(top: Path) -> None:
    (top / "sub" / "deeper").mkdir(parents=True)
    (top / "empty").mkdir()
    (top / "sub" / "small.txt").write_bytes(b"small")
    (top / "sub" / "nothing").write_bytes(b"")
    (top / "sub" / "deeper" / "big.bin").write_bytes(BIG)
    (top / "link").symlink_to("sub/small.txt")
    (top / "dangling").symlink_to("/no/such/place")
    Path(os.fsdecode(os.fsencode(top) + b"/\xe9-not-utf8")).symlink_to(os.fsdecode(b"\xff\xfe"))
    (top / "run.sh").write_bytes(b"#!/bin/sh\n")
    (top / "run.sh").chmod(0o755)
    (top / "sub").chmod(0o550)
    for path in sorted(top.rglob("*"), reverse=True):
        os.utime(path, ns=(0, 1_500_000_000_123_456_789), follow_symlinks=False)


def test_a_tree_arrives_with_modes_times_links_and_contents(two: Two):
    a, b, here, there = two
    (a / "tree").mkdir()
    make_tree(a / "tree")
    result = at_once(lambda: copy(here, [str(a / "tree")], there, str(b) + "/"))
    assert result.whole.copied == 7
    assert snapshot(b / "tree") == snapshot(a / "tree")
    assert leftovers(b) == []


def test_without_preserve_modes_are_plain_and_times_new(two: Two):
    a, b, here, there = two
    (a / "f").write_bytes(b"x")
    (a / "f").chmod(0o777)
    os.utime(a / "f", (1, 1))
    at_once(lambda: copy(here, [str(a / "f")], there, str(b), preserve=False))
    status = (b / "f").stat()
    assert status.st_mode & 0o7777 == 0o755
    assert status.st_mtime > time.time() - 1000


def test_set_user_id_is_not_copied(two: Two):
    a, b, here, there = two
    (a / "f").write_bytes(b"x")
    (a / "f").chmod(0o4755)
    at_once(lambda: copy(here, [str(a / "f")], there, str(b)))
    assert (b / "f").stat().st_mode & 0o7777 == 0o755


@pytest.mark.parametrize("size", [0, 1, 65_536, 65_537, 3 << 20])
def test_one_file_under_another_name_and_over_an_old_one(two: Two, size: int):
    a, b, here, there = two
    (a / "f").write_bytes(BIG[:size])
    (b / "g").write_bytes(b"old" * 30_000)
    result = at_once(lambda: copy(here, [str(a / "f")], there, str(b / "g")))
    assert result.whole.sent == size
    assert (b / "g").read_bytes() == BIG[:size]


@pytest.mark.parametrize(
    "destination, placing, found",
    [
        ("dir", Placing.AUTO, "dir/f"),
        ("new", Placing.AUTO, "new"),
        ("new/", Placing.AUTO, "new/f"),
        ("new", Placing.INTO, "new/f"),
        ("new", Placing.AS, "new"),
        ("", Placing.AUTO, "f"),
    ],
)
def test_where_it_goes(two: Two, destination: str, placing: Placing, found: str):
    a, b, here, there = two
    (a / "f").write_bytes(b"x")
    (b / "dir").mkdir()
    where = f"{b}/{destination}"
    result = at_once(lambda: copy(here, [str(a / "f")], there, where, placing=placing))
    assert result.whole.copied == 1
    assert (b / found).read_bytes() == b"x"


def test_several_sources_need_a_directory(two: Two):
    a, b, here, there = two
    (a / "f").write_bytes(b"1")
    (a / "g").write_bytes(b"2")
    paths = [str(a / "f"), str(a / "g")]
    at_once(lambda: copy(here, paths, there, str(b / "new")))
    assert sorted(path.name for path in (b / "new").iterdir()) == ["f", "g"]
    with pytest.raises(InvalidRequestError):
        at_once(lambda: copy(here, paths, there, str(b / "x"), placing=Placing.AS))
    (b / "plain").write_bytes(b"")
    with pytest.raises(ConflictError):
        at_once(lambda: copy(here, paths, there, str(b / "plain")))


def test_a_link_that_is_named_is_followed_one_that_is_found_is_copied(two: Two):
    a, b, here, there = two
    (a / "real").mkdir()
    (a / "real" / "f").write_bytes(b"x")
    (a / "real" / "l").symlink_to("f")
    (a / "named").symlink_to("real")
    at_once(lambda: copy(here, [str(a / "named")], there, str(b)))
    assert (b / "named" / "f").read_bytes() == b"x"
    assert not (b / "named").is_symlink()
    assert str((b / "named" / "l").readlink()) == "f"


def test_holes_stay_holes(two: Two):
    a, b, here, there = two
    with (a / "sparse").open("wb") as file:
        file.seek(40 << 20)
        file.write(b"middle")
        file.truncate(100 << 20)
    result = at_once(lambda: copy(here, [str(a / "sparse")], there, str(b)))
    assert result.whole.sent < 1 << 20
    assert any(isinstance(item, Hole) for item in result.sent)
    assert (b / "sparse").stat().st_size == 100 << 20
    assert (b / "sparse").stat().st_blocks * 512 < 1 << 20
    with (b / "sparse").open("rb") as file:
        file.seek(40 << 20)
        assert file.read(6) == b"middle"


def test_special_files_are_left_and_named(two: Two):
    a, b, here, there = two
    (a / "tree").mkdir()
    os.mkfifo(a / "tree" / "pipe")
    (a / "tree" / "f").write_bytes(b"x")
    with socket.socket(socket.AF_UNIX) as bound:
        before = Path.cwd()
        os.chdir(a / "tree")
        bound.bind("sock")
        os.chdir(before)
        result = at_once(lambda: copy(here, [str(a / "tree")], there, str(b)))
    assert sorted(item.path for item in result.failed) == [b"tree/pipe", b"tree/sock"]
    assert result.end is not None
    assert (result.end.copied, result.end.failed) == (1, 2)
    with pytest.raises(NotFoundError):
        at_once(lambda: copy(here, [str(a / "none")], there, str(b)))


def test_a_thousand_small_files_are_a_few_messages(two: Two):
    a, b, here, there = two
    (a / "tree").mkdir()
    for number in range(1000):
        (a / "tree" / f"{number}").write_bytes(BIG[number : number + 4096])
    result = at_once(lambda: copy(here, [str(a / "tree")], there, str(b)))
    assert result.whole.copied == 1000
    assert len(result.sent) < 15
    assert snapshot(a / "tree") == snapshot(b / "tree")


def test_what_is_in_the_way_fails_alone(two: Two):
    a, b, here, there = two
    (a / "tree").mkdir()
    (a / "tree" / "file").write_bytes(b"x")
    (a / "tree" / "other").write_bytes(b"y")
    (a / "tree" / "dir").mkdir()
    (a / "tree" / "dir" / "in").write_bytes(b"z")
    (b / "tree" / "file").mkdir(parents=True)
    (b / "tree" / "dir").write_bytes(b"a file")
    result = at_once(lambda: copy(here, [str(a / "tree")], there, str(b)))
    assert sorted(item.path for item in result.failed) == [
        b"tree/dir",
        b"tree/dir/in",
        b"tree/file",
    ]
    assert (b / "tree" / "other").read_bytes() == b"y"
    assert (b / "tree" / "dir").read_bytes() == b"a file"


def test_a_file_that_is_not_readable_fails_alone(two: Two, monkeypatch: pytest.MonkeyPatch):
    a, b, here, there = two
    (a / "tree").mkdir()
    for name in ("gone", "stays"):
        (a / "tree" / name).write_bytes(BIG)

    original = there._open_target

    def remove_one(*given: Any) -> Any:
        (a / "tree" / "gone").unlink()
        return original(*given)

    monkeypatch.setattr(there, "_open_target", remove_one)
    result = at_once(lambda: copy(here, [str(a / "tree")], there, str(b)))
    assert [item.path for item in result.failed] == [b"tree/gone"]
    assert (b / "tree" / "stays").read_bytes() == BIG
    assert leftovers(b) == []


def test_a_file_that_changes_while_it_is_read_does_not_arrive(
    two: Two, monkeypatch: pytest.MonkeyPatch
):
    a, b, here, there = two
    for name, size in (("big", 3 << 20), ("small", 100)):
        (a / name).write_bytes(BIG[:size])
    original = there._open_target

    def change(*given: Any) -> Any:
        for name in ("big", "small"):
            os.utime(a / name, (5, 5))
        return original(*given)

    monkeypatch.setattr(there, "_open_target", change)
    result = at_once(lambda: copy(here, [str(a / "big"), str(a / "small")], there, str(b)))
    assert sorted(item.path for item in result.failed) == [b"big", b"small"]
    assert list(b.iterdir()) == []


@pytest.mark.parametrize("cut", [3, 4, 5, 6, 7])
def test_a_lost_connection_leaves_no_half_file_and_is_resumed(two: Two, cut: int):
    a, b, here, there = two
    (a / "f").write_bytes(BIG)
    (b / "f").write_bytes(b"the old content")
    with pytest.raises(CoveyError):
        at_once(lambda: copy(here, [str(a / "f")], there, str(b), lose_after=cut))
    assert (b / "f").read_bytes() == b"the old content"
    kept = sum(path.stat().st_size for path in leftovers(b))
    result = at_once(lambda: copy(here, [str(a / "f")], there, str(b)))
    assert (b / "f").read_bytes() == BIG
    assert result.whole.sent == len(BIG) - kept
    assert leftovers(b) == []
    if cut > 4:
        assert kept > 0


def test_what_was_kept_is_not_used_when_the_source_is_another(two: Two):
    a, b, here, there = two
    (a / "f").write_bytes(BIG)
    with pytest.raises(CoveyError):
        at_once(lambda: copy(here, [str(a / "f")], there, str(b), lose_after=6))
    assert leftovers(b)
    (a / "f").write_bytes(bytes(reversed(BIG)))
    result = at_once(lambda: copy(here, [str(a / "f")], there, str(b)))
    assert (b / "f").read_bytes() == bytes(reversed(BIG))
    assert result.whole.sent == len(BIG)
    assert leftovers(b) == []


def test_two_copies_to_one_name_at_once(two: Two):
    a, b, here, there = two
    (a / "f").write_bytes(BIG)
    (a / "g").write_bytes(bytes(reversed(BIG)))

    async def work() -> list[Copying]:
        return await asyncio.gather(
            copy(here, [str(a / "f")], there, str(b / "t")),
            copy(here, [str(a / "g")], there, str(b / "t")),
        )

    for result in at_once(work):
        assert result.whole.copied == 1
    assert (b / "t").read_bytes() in {BIG, bytes(reversed(BIG))}
    assert leftovers(b) == []


def test_kill_in_the_middle_leaves_no_half_file_and_the_rest_is_resumed(tmp_path: Path):
    a, b = tmp_path / "a", tmp_path / "b"
    a.mkdir()
    b.mkdir()
    data = random.Random(2).randbytes(8 << 20)
    (a / "f").write_bytes(data)
    (b / "f").write_bytes(b"old")
    program = textwrap.dedent(f"""
        import os, signal, sys
        from pathlib import Path
        from covey.remote.files.part import Part
        from tests.remote.files.machine import at_once, copy, files
        a, b, h = Path({str(a)!r}), Path({str(b)!r}), Path({str(tmp_path)!r})
        write = Part.write
        def dying(self, data):
            if self.size > 4 << 20:
                os.pwrite(self._descriptor, data[: len(data) // 2], self.size)
                os.kill(os.getpid(), signal.SIGKILL)
            write(self, data)
        Part.write = dying
        at_once(lambda: copy(files(a, home=h / "ha"), [str(a / "f")],
                             files(b, home=h / "hb"), str(b)))
    """)
    top = Path(__file__).parents[3]
    done = subprocess.run([sys.executable, "-c", program], cwd=top, check=False)
    assert done.returncode == -signal.SIGKILL
    assert (b / "f").read_bytes() == b"old"
    [part] = leftovers(b)
    kept = part.stat().st_size
    assert kept > 4 << 20
    here, there = files(a, home=tmp_path / "ha"), files(b, home=tmp_path / "hb")
    result = at_once(lambda: copy(here, [str(a / "f")], there, str(b)))
    assert result.whole.sent == len(data) - kept
    assert (b / "f").read_bytes() == data
    assert leftovers(b) == []


def test_abandoned_parts_are_removed_later_and_only_ours(two: Two, tmp_path: Path):
    a, b, here, there = two
    (a / "f").write_bytes(BIG)
    with pytest.raises(CoveyError):
        at_once(lambda: copy(here, [str(a / "f")], there, str(b), lose_after=6))
    [part] = leftovers(b)
    others = [b / ".covey-0123456789abcdef0123456789abcdef.part", b / "mine.part"]
    for path in others:
        path.write_bytes(b"not ours")
        os.utime(path, (1, 1))
    assert at_once(there.remove_abandoned) == 0
    assert part.exists()
    os.utime(part, (1, 1))
    again = files(b, home=tmp_path / "hb")
    assert at_once(again.remove_abandoned) == 1
    assert not part.exists()
    assert all(path.exists() for path in others)
    assert at_once(again.remove_abandoned) == 0


trees = st.recursive(
    st.binary(max_size=200),
    lambda inner: st.dictionaries(
        st.text(
            st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=12
        ).filter(lambda name: name not in {".", ".."} and len(name.encode()) < 100),
        inner,
        max_size=4,
    ),
    max_leaves=12,
)


def write(path: Path, tree: object) -> None:
    if isinstance(tree, dict):
        path.mkdir()
        for name, inner in tree.items():
            write(path / name, inner)
    else:
        assert isinstance(tree, bytes)
        path.write_bytes(tree)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    new=trees.filter(lambda t: isinstance(t, dict)), old=trees.filter(lambda t: isinstance(t, dict))
)
def test_any_tree_synced_over_any_other_is_the_same(new: object, old: object):
    with tempfile.TemporaryDirectory() as directory:
        top = Path(directory)
        write(top / "a", new)
        write(top / "b", old)
        here, there = files(top / "a", home=top / "ha"), files(top / "b", home=top / "hb")
        a, b = str(top / "a"), str(top / "b")
        rules = {"contents": True, "sync": True, "delete": True}
        result = at_once(lambda: copy(here, [a], there, b, **rules))
        in_the_way = any(b"in its place" in item.reason.encode() for item in result.failed)
        if not in_the_way:
            assert result.whole.failed == 0
            assert snapshot(top / "b") == snapshot(top / "a")
            again = at_once(lambda: copy(here, [a], there, b, **rules))
            assert (again.whole.copied, again.whole.sent, again.whole.deleted) == (0, 0, 0)


def test_sync_copies_what_changed_and_deletes_on_request_alone(two: Two):
    a, b, here, there = two
    (a / "tree").mkdir()
    make_tree(a / "tree")
    src, dst = str(a / "tree"), str(b / "tree")
    sync = {"contents": True, "sync": True}
    first = at_once(lambda: copy(here, [src], there, dst, dry_run=True, **sync))
    assert first.plan is not None
    assert (first.plan.copy, first.plan.size) == (7, len(BIG) + 15)
    assert list(b.iterdir()) == []
    assert at_once(lambda: copy(here, [src], there, dst, **sync)).whole.copied == 7
    assert snapshot(b / "tree") == snapshot(a / "tree")
    (b / "tree" / "extra").write_bytes(b"e")
    (b / "tree" / "more" / "deep").mkdir(parents=True)
    (a / "tree" / "run.sh").write_bytes(b"#!/bin/sh\ntrue\n")
    result = at_once(lambda: copy(here, [src], there, dst, **sync))
    assert (result.whole.copied, result.whole.deleted) == (1, 0)
    assert (b / "tree" / "extra").exists()
    plan = at_once(lambda: copy(here, [src], there, dst, delete=True, dry_run=True, **sync)).plan
    assert plan is not None
    assert (plan.copy, plan.delete) == (0, 3)
    assert (b / "tree" / "extra").exists()
    result = at_once(lambda: copy(here, [src], there, dst, delete=True, **sync))
    assert (result.whole.copied, result.whole.deleted) == (0, 3)
    assert snapshot(b / "tree") == snapshot(a / "tree")


def test_sync_by_contents(two: Two):
    a, b, here, there = two
    for top in (a, b):
        (top / "same").write_bytes(BIG[:200_000])
        (top / "differs").write_bytes(BIG[:200_000])
    (a / "differs").write_bytes(BIG[1:200_001])
    os.utime(a / "same", (1, 1))
    os.utime(a / "differs", (7, 7))
    os.utime(b / "differs", (7, 7))
    sync = {"contents": True, "sync": True}
    plan = at_once(lambda: copy(here, [str(a)], there, str(b), dry_run=True, **sync)).plan
    assert plan is not None
    assert plan.copy == 1
    result = at_once(lambda: copy(here, [str(a)], there, str(b), checksum=True, **sync))
    assert (result.whole.copied, result.whole.skipped) == (1, 1)
    assert snapshot(a) == snapshot(b)


@pytest.mark.parametrize("change", ["inside", "inserted", "removed", "appended", "truncated"])
def test_a_changed_file_costs_about_what_changed(two: Two, change: str):
    a, b, here, there = two
    (b / "f").write_bytes(BIG)
    new = {
        "inside": BIG[:1_000_000] + b"!" * 100 + BIG[1_000_100:],
        "inserted": BIG[:1_000_000] + b"inserted" + BIG[1_000_000:],
        "removed": BIG[:1_000_000] + BIG[1_000_777:],
        "appended": BIG + b"appended",
        "truncated": BIG[:2_000_001],
    }[change]
    (a / "f").write_bytes(new)
    sync = {"contents": True, "sync": True}
    result = at_once(lambda: copy(here, [str(a)], there, str(b), **sync))
    assert (b / "f").read_bytes() == new
    assert result.whole.sent < 64_000
    assert any(isinstance(item, Same) for item in result.sent)


def test_nothing_is_deleted_when_something_failed(two: Two):
    a, b, here, there = two
    (a / "f").write_bytes(b"x")
    (b / "f").mkdir()
    (b / "extra").write_bytes(b"")
    sync = {"contents": True, "sync": True, "delete": True}
    result = at_once(lambda: copy(here, [str(a)], there, str(b), **sync))
    assert result.end is not None
    assert result.end.deleted == 0
    assert (b / "extra").exists()


def test_what_arrives_damaged_is_not_put_in_place(two: Two, monkeypatch: pytest.MonkeyPatch):
    a, b, here, there = two
    (a / "big").write_bytes(BIG)
    (a / "small").write_bytes(b"small")
    carried = machine._carried

    def damage(item: Any, kind: Any) -> Any:
        match item:
            case Data(data):
                return Data(b"!" + data[1:])
            case Small([file]):
                return Small([type(file)(file.number, b"other", file.digest)])
            case _:
                return carried(item, kind)

    monkeypatch.setattr(machine, "_carried", damage)
    result = at_once(lambda: copy(here, [str(a / "big"), str(a / "small")], there, str(b)))
    assert sorted(item.path for item in result.failed) == [b"big", b"small"]
    assert list(b.iterdir()) == []
