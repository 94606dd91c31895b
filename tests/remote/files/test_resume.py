"""Copies that are interrupted: no half file, nothing sent twice, nothing left for good."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from covey.errors import CoveyError
from tests.remote.files.machine import (
    BIG,
    Copying,
    Two,
    at_once,
    copy,
    files,
    leftovers,
)


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


def planted_by_another(part: Path) -> None:
    os.chown(part, 65534, 65534)


def planted_link(part: Path) -> None:
    part.unlink()
    part.symlink_to(part.parent / "elsewhere")


def planted_fifo(part: Path) -> None:
    part.unlink()
    os.mkfifo(part)


@pytest.mark.parametrize(
    "plant",
    [
        pytest.param(
            planted_by_another,
            marks=pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away"),
        ),
        planted_link,
        planted_fifo,
    ],
)
def test_nothing_is_written_into_what_another_user_laid_there(
    two: Two, plant: Callable[[Path], None]
):
    a, b, here, there = two
    (a / "f").write_bytes(BIG)
    with pytest.raises(CoveyError):
        at_once(lambda: copy(here, [str(a / "f")], there, str(b), lose_after=6))
    [part] = leftovers(b)
    plant(part)
    before = part.lstat()
    result = at_once(lambda: copy(here, [str(a / "f")], there, str(b)))
    assert (b / "f").read_bytes() == BIG
    assert (b / "f").stat().st_uid == os.geteuid()
    assert result.whole.sent == len(BIG)
    assert leftovers(b) == [part]
    assert (part.lstat().st_ino, part.lstat().st_size) == (before.st_ino, before.st_size)


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
