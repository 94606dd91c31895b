"""Archives that were made to harm: nothing leaves the directory, and nothing fills the disk."""

from __future__ import annotations

import asyncio
import gzip
import io
import os
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from covey.engines.archives import Archives
from covey.engines.trees import TreeLimits
from covey.errors import CoveyError, InvalidRequestError, NotFoundError, TooLargeError

Member = tuple[str, bytes | str | None, dict[str, object]]


def archive(path: Path, members: list[Member]) -> Path:
    """Write an archive of files (bytes), links (text) and directories (None)."""
    with tarfile.open(path, "w:gz", format=tarfile.PAX_FORMAT) as tar:
        for name, content, fields in members:
            item = tarfile.TarInfo(name)
            item.mode = 0o644
            match content:
                case bytes():
                    item.size = len(content)
                case str():
                    item.type, item.linkname = tarfile.SYMTYPE, content
                case None:
                    item.type = tarfile.DIRTYPE
            for key, value in fields.items():
                setattr(item, key, value)
            tar.addfile(item, io.BytesIO(content) if isinstance(content, bytes) else None)
    return path


def unpack(path: Path, into: Path, limits: TreeLimits = TreeLimits()) -> None:  # noqa: B008
    asyncio.run(Archives(limits).unpack(path, into, lambda _line: None))


@pytest.fixture
def into(tmp_path: Path) -> Path:
    return tmp_path / "outer" / "into"


def test_a_tree_is_unpacked(tmp_path: Path, into: Path) -> None:
    path = archive(
        tmp_path / "a",
        [
            ("d", None, {}),
            ("d/run", b"#!", {"mode": 0o4777}),
            ("deep/er/file", b"x", {}),
            ("link", "deep/er/file", {}),
            ("./dot", b"y", {}),
            ("./", None, {}),
        ],
    )
    unpack(path, into)
    assert (into / "link").read_text() == "x"
    assert (into / "dot").read_text() == "y"
    assert (into / "d" / "run").stat().st_mode & 0o7777 == 0o755
    assert (into / "deep" / "er").stat().st_mode & 0o7777 == 0o755
    unpack(path, into)
    assert (into / "d" / "run").read_bytes() == b"#!"


@pytest.mark.parametrize(
    "members",
    [
        [("/etc/x", b"1", {})],
        [("../x", b"1", {})],
        [("a/../../x", b"1", {})],
        [("a/./b", b"1", {})],
        [("a//b", b"1", {})],
        [("a", b"1", {}), ("a", b"2", {})],
        [("a", b"1", {}), ("a/b", b"2", {})],
        [("a/b", b"1", {}), ("a", b"2", {})],
        [("a", "/etc", {})],
        [("a", "../..", {})],
        [("a", "b", {}), ("b", "../..", {})],
        [("a", "..", {}), ("a/x", b"1", {})],
        [("d", None, {}), ("d/l", "../d/../..", {})],
        [("d", None, {}), ("d/up", "..", {}), ("x", "d/up/../..", {})],
        [("a", b"", {"type": tarfile.LNKTYPE, "linkname": "/etc/passwd"})],
        [("a", b"", {"type": tarfile.CHRTYPE, "devmajor": 1, "devminor": 3})],
        [("a", b"", {"type": tarfile.BLKTYPE})],
        [("a", b"", {"type": tarfile.FIFOTYPE})],
        [(".git/config", b"1", {})],
        [("x/.GIT/hooks/post-checkout", b"1", {})],
        [("n" * 300, b"1", {})],
        [("a/" * 1500 + "a", b"1", {})],
        [("d/" * 40_000, None, {})],
        [("././../x", b"1", {})],
        [("l", "x" * 5000, {})],
    ],
)
def test_hostile_archives_are_refused(tmp_path: Path, into: Path, members: list[Member]) -> None:
    path = archive(tmp_path / "a", members)
    outside = sorted(tmp_path.iterdir())
    with pytest.raises(InvalidRequestError):
        unpack(path, into)
    assert sorted(into.parent.iterdir()) == [into]
    assert sorted({*tmp_path.iterdir()} - {into.parent}) == outside


def test_bombs_end_at_the_limits(tmp_path: Path, into: Path) -> None:
    zeros = archive(tmp_path / "zeros", [("a", bytes(32 << 20), {})])
    assert zeros.stat().st_size < 1 << 20
    with pytest.raises(TooLargeError, match="MiB"):
        unpack(zeros, into, TreeLimits(bytes=4 << 20))
    assert sum(p.stat().st_size for p in into.rglob("*") if p.is_file()) <= 4 << 20
    many = archive(tmp_path / "many", [(f"f{n}", b"", {}) for n in range(200)])
    with pytest.raises(TooLargeError, match="100 files"):
        unpack(many, into, TreeLimits(entries=100))


def test_a_header_that_would_fill_the_memory_is_refused(tmp_path: Path, into: Path) -> None:
    item = tarfile.TarInfo("x")
    item.type, item.size = tarfile.XHDTYPE, 1 << 32
    path = tmp_path / "a"
    path.write_bytes(gzip.compress(item.tobuf(tarfile.USTAR_FORMAT) + bytes(1 << 20)))
    with pytest.raises(InvalidRequestError, match="damaged"):
        unpack(path, into)


def test_the_names_of_a_bomb_end_at_their_limit(tmp_path: Path, into: Path) -> None:
    path = archive(tmp_path / "a", [(f"{n:03}" + "n" * 200, b"", {}) for n in range(100)])
    with pytest.raises(TooLargeError):
        unpack(path, into, TreeLimits(names=10_000))


def test_links_through_links_that_lead_out_are_refused(tmp_path: Path, into: Path) -> None:
    links = [("l000", "../..", {})]
    links += [(f"l{n:03}", f"l{n - 1:03}/../d/../d/..", {}) for n in range(1, 200)]
    path = archive(tmp_path / "a", [("d", None, {}), *links])
    with pytest.raises(InvalidRequestError):
        unpack(path, into)


def header(name: bytes, kind: bytes, content: bytes = b"") -> bytes:
    """Return a member as a program could write it that knows no bounds."""
    item = tarfile.TarInfo("x")
    item.type, item.size = kind, len(content)
    plain = bytearray(item.tobuf(tarfile.USTAR_FORMAT))
    plain[:100] = name.ljust(100, b"\0")
    plain[148:156] = b" " * 8
    plain[148:156] = b"%06o\0 " % sum(plain)
    return bytes(plain) + content + bytes(-len(content) % 512)


@pytest.mark.parametrize(
    "data",
    [
        header(b"x", b"x", b"1" * 60_000),
        header(b"x", b"x", b"11 path=\xff\n" * 3),
        header(b"x", b"x", b"9999 path=a\n"),
        header(b"x", b"x", b"3 a"),
        header(b"x", b"x", b"0 a=b\n"),
        header(b"x", b"x", b"12 size=-10\n"),
        header(b"x", b"x", b"30 size=99999999999999999999\n\n"),
        header(b"x", b"L", b"a\0") * 2000,
        header(b"x", b"g", b"10 a=bcde\n") * 2000,
        header(b"x", b"x", b"10 a=bcde\n"),
        header(b"x", b"0", b"abc").replace(b"00000000003", b"0000000000z"),
        b"\1" * 1024,
    ],
)
def test_what_is_no_archive_is_damaged(tmp_path: Path, into: Path, data: bytes) -> None:
    (tmp_path / "a").write_bytes(gzip.compress(data + bytes(1024)))
    with pytest.raises(InvalidRequestError):
        unpack(tmp_path / "a", into)


def test_sparse_files_and_hard_links_by_extended_headers_are_refused(
    tmp_path: Path, into: Path
) -> None:
    sparse = header(b"x", b"x", b"22 GNU.sparse.major=1\n") + header(b"y", b"0", b"abc")
    (tmp_path / "a").write_bytes(gzip.compress(sparse + bytes(1024)))
    with pytest.raises(InvalidRequestError, match="neither file"):
        unpack(tmp_path / "a", into)


@pytest.mark.parametrize("form", ["v7", "oldgnu", "gnu", "ustar", "pax"])
def test_what_tar_writes_is_read(tmp_path: Path, into: Path, form: str) -> None:
    top = tmp_path / "top"
    deep = top / "d" / ("e" * 40) / ("f" * 40)
    deep.mkdir(parents=True)
    long = "g" * (90 if form == "ustar" else 14 if form == "v7" else 200)
    place = top / "d" if form == "v7" else deep
    (place / long).write_bytes(b"x" * 10_000)
    (top / "run").write_text("#!/bin/sh")
    (top / "run").chmod(0o755)
    (top / "link").symlink_to("run")
    (top / "größe").write_text("ü")
    command = ["tar", f"--format={form}", "-C", str(top), "-czf", str(tmp_path / "a"), "."]
    subprocess.run(command, check=True)
    unpack(tmp_path / "a", into)
    assert (into / place.relative_to(top) / long).read_bytes() == b"x" * 10_000
    assert (into / "run").stat().st_mode & 0o111
    assert (into / "link").readlink() == Path("run")
    assert (into / "größe").read_text() == "ü"


@pytest.mark.parametrize("cut", [0, 10, 100, -20])
def test_a_damaged_archive_says_so(tmp_path: Path, into: Path, cut: int) -> None:
    path = archive(tmp_path / "a", [("a", os.urandom(10_000), {})])
    path.write_bytes(path.read_bytes()[: cut or 3])
    with pytest.raises(InvalidRequestError, match="damaged"):
        unpack(path, into)


def test_no_archive_at_all(tmp_path: Path, into: Path) -> None:
    (tmp_path / "a").write_bytes(b"PK\3\4 a zip")
    with pytest.raises(InvalidRequestError, match="damaged"):
        unpack(tmp_path / "a", into)
    with pytest.raises(NotFoundError):
        unpack(tmp_path / "none", into)


names = st.text(
    st.one_of(st.sampled_from("ab./\\\0 \n"), st.characters(codec="utf-8")), min_size=1, max_size=20
)
contents: Callable[[], st.SearchStrategy[bytes | str | None]] = lambda: st.one_of(  # noqa: E731
    st.none(), st.binary(max_size=5), names
)


@settings(max_examples=150)
@given(st.lists(st.tuples(names, contents()), max_size=6))
def test_whatever_the_names_are_nothing_leaves_the_directory(
    tmp_path_factory: pytest.TempPathFactory, members: list[tuple[str, bytes | str | None]]
) -> None:
    top = tmp_path_factory.mktemp("hostile")
    try:
        path = archive(top / "a", [(name, content, {}) for name, content in members])
    except (ValueError, UnicodeError):
        return
    into = top / "outer" / "into"
    try:
        unpack(path, into)
    except CoveyError:
        pass
    else:
        for found in into.rglob("*"):
            assert found.resolve().is_relative_to(into.resolve())
            assert found.lstat().st_mode & 0o7022 == 0 or found.is_symlink()
    assert sorted(top.iterdir()) == [top / "a", top / "outer"]
    assert sorted((top / "outer").iterdir()) == [into]
