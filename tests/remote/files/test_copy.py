"""Copying trees: contents, metadata, placing, and what fails alone."""

from __future__ import annotations

import os
import pwd
import socket
import time
from pathlib import Path
from typing import Any

import pytest

from covey.errors import ConflictError, InvalidRequestError, NotFoundError, RefusedError
from covey.operations.access import Caller, CallerKind, Limits, Role
from covey.remote.files.model import Data, Hole, Small
from covey.remote.files.tree import Placing
from tests.remote.files import machine
from tests.remote.files.machine import (
    BIG,
    Two,
    at_once,
    copy,
    files,
    leftovers,
    make_tree,
    snapshot,
)


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


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become someone else")
def test_files_of_another_user_are_theirs_and_out_of_reach_what_they_may_not(tmp_path: Path):
    nobody = Caller(CallerKind.NODE, "x", Role.ADMIN, "x", limits=Limits(as_user="nobody"))
    tmp_path.chmod(0o755)
    for parent in tmp_path.parents[:3]:
        parent.chmod(parent.stat().st_mode | 0o011)
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    (tmp_path / "secret").write_bytes(b"x")
    (tmp_path / "secret").chmod(0o600)
    service = files(tmp_path, home=tmp_path / "h")

    async def work() -> None:
        made = await service.make_directory(
            nobody, str(tmp_path / "open" / "d"), 0o755, parents=False
        )
        assert made.user == "nobody"
        with pytest.raises(RefusedError):
            await service.hash(nobody, str(tmp_path / "secret"))
        with pytest.raises(RefusedError):
            await service.make_directory(nobody, str(tmp_path / "d"), 0o755, parents=False)

    at_once(work)
    assert (tmp_path / "open" / "d").stat().st_uid == pwd.getpwnam("nobody").pw_uid
