"""Scanning real files and the index of real git repositories."""

from __future__ import annotations

import base64
import os
import subprocess
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from covey.engines.scan_files import FilesToScan
from covey.env.results import Finding
from covey.env.scan import MAX_FILE_BYTES, Needle, Scanner, Source
from covey.errors import InvalidRequestError, NotFoundError

SECRET = "hunter2-é/+long&value"


def _found(data: bytes, secret: str = SECRET) -> list[Finding]:
    return Scanner([Needle("KEY", "fleet", secret)]).scan(Source("f", data))


def test_line_and_column_count_characters() -> None:
    [found] = _found(f"a\né: {SECRET} x\n".encode())
    assert (found.line, found.column, found.encoding) == (2, 4, "raw")
    assert SECRET not in repr(found)


def test_values_are_found_encoded() -> None:
    assert [one.encoding for one in _found(quote(SECRET, safe="").encode())] == ["url"]
    assert [one.encoding for one in _found(base64.b64encode(SECRET.encode()))] == ["base64"]
    pem = "-----BEGIN-----\nabcdef\n-----END-----\n"
    assert [
        one.encoding for one in _found(b'{"k": "-----BEGIN-----\\nabcdef\\n-----END-----"}', pem)
    ] == ["json"]
    assert [one.encoding for one in _found(pem.replace("\n", "\r\n").encode(), pem)] == ["raw"]


@given(st.binary(max_size=7), st.binary(max_size=7), st.booleans())
def test_base64_at_any_offset(before: bytes, after: bytes, url_safe: bool) -> None:
    encode = base64.urlsafe_b64encode if url_safe else base64.b64encode
    assert "base64" in [one.encoding for one in _found(encode(before + SECRET.encode() + after))]


def test_short_values_are_not_looked_for() -> None:
    assert _found(b"yes true 12345", "true") == []


def test_each_line_and_variable_once() -> None:
    scanner = Scanner([Needle("A", "fleet", SECRET), Needle("B", "fleet", SECRET)])
    found = scanner.scan(Source("f", f"{SECRET} {SECRET}\n{SECRET}".encode()))
    assert [(one.line, one.name) for one in found] == [(1, "A"), (1, "B"), (2, "A"), (2, "B")]


def _git(directory: Path, *words: str) -> None:
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.com", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", *identity, *words], cwd=directory, check=True, capture_output=True)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    tree = tmp_path / "tr ee"
    (tree / "sub").mkdir(parents=True)
    (tree / "sub" / "a b.txt").write_text(SECRET)
    (tree / "ignored.env").write_text(SECRET)
    (tree / ".gitignore").write_text("*.env\n")
    (tree / "binary").write_bytes(b"\0" + SECRET.encode())
    (tree / "link").symlink_to("ignored.env")
    os.mkfifo(tree / "fifo")
    with (tree / "large").open("wb") as file:
        file.truncate(MAX_FILE_BYTES + 1)
    return tree


def _names(sources: list[Source], tree: Path) -> dict[str, bool]:
    return {os.path.relpath(one.name, tree): one.data is not None for one in sources}


def test_a_plain_directory_is_read_whole(tree: Path) -> None:
    assert _names(list(FilesToScan().files([str(tree)])), tree) == {
        ".gitignore": True,
        "binary": False,
        "ignored.env": True,
        "large": False,
        "sub/a b.txt": True,
    }


def test_a_repository_is_read_without_what_git_ignores(tree: Path) -> None:
    _git(tree, "init", "-q")
    found = _names(list(FilesToScan().files([str(tree)])), tree)
    assert "ignored.env" not in found
    assert "sub/a b.txt" in found
    assert not [name for name in found if name.startswith(".git/")]
    assert _names(list(FilesToScan().files([str(tree / "sub")])), tree) == {"sub/a b.txt": True}
    assert _names(list(FilesToScan().files([str(tree / "ignored.env")])), tree) == {
        "ignored.env": True
    }


def test_staged_content_counts_not_the_file_on_disk(tree: Path) -> None:
    _git(tree, "init", "-q")
    (tree / "staged.txt").write_text(f"x\n {SECRET}\n")
    _git(tree, "add", "staged.txt", "binary")
    (tree / "staged.txt").write_text("clean\n")
    (tree / "sub" / "a b.txt").write_text("x")
    sources = list(FilesToScan().staged(str(tree / "sub")))
    assert {one.name: one.data is None for one in sources} == {"staged.txt": False, "binary": True}
    scanner = Scanner([Needle("KEY", "fleet", SECRET)])
    found = [place for one in sources for place in scanner.scan(one)]
    assert [(one.file, one.line, one.column) for one in found] == [("staged.txt", 2, 2)]
    _git(tree, "commit", "-qm", "x")
    assert list(FilesToScan().staged(str(tree))) == []


def test_the_index_of_a_commit_in_progress_is_read(tree: Path, tmp_path: Path) -> None:
    _git(tree, "init", "-q")
    (tree / "new.txt").write_text(SECRET)
    index = tmp_path / "index"
    subprocess.run(
        ["git", "add", "new.txt"],
        cwd=tree,
        check=True,
        env={**os.environ, "GIT_INDEX_FILE": str(index)},
    )
    assert list(FilesToScan().staged(str(tree))) == []
    assert [one.name for one in FilesToScan().staged(str(tree), str(index))] == ["new.txt"]


def test_a_repository_cannot_have_programs_started(tree: Path, tmp_path: Path) -> None:
    _git(tree, "init", "-q")
    program = tmp_path / "program"
    program.write_text(f"#!/bin/sh\ntouch '{tmp_path}/PWNED'\n")
    program.chmod(0o755)
    for key in ("core.fsmonitor", "diff.external", "diff.x.textconv", "filter.x.smudge"):
        _git(tree, "config", key, str(program))
    (tree / ".gitattributes").write_text("* diff=x filter=x\n")
    _git(tree, "-c", "core.fsmonitor=false", "add", ".gitattributes")
    list(FilesToScan().staged(str(tree)))
    list(FilesToScan().files([str(tree)]))
    assert not (tmp_path / "PWNED").exists()


def test_a_partial_clone_fetches_nothing_by_a_program_of_its_own(tmp_path: Path) -> None:
    clone, origin = tmp_path / "clone", tmp_path / "origin"
    for directory in (clone, origin):
        directory.mkdir()
        _git(directory, "init", "-q")
    (clone / "file").write_text(SECRET)
    _git(clone, "add", "file")
    for key, value in {
        "core.repositoryformatversion": "1",
        "extensions.partialClone": "origin",
        "remote.origin.url": str(origin),
        "remote.origin.promisor": "true",
        "remote.origin.uploadpack": f"touch '{tmp_path}/PWNED'; false",
    }.items():
        _git(clone, "config", key, value)
    for blob in (clone / ".git" / "objects").glob("??/*"):
        blob.unlink()
    with pytest.raises(InvalidRequestError):
        list(FilesToScan().staged(str(clone)))
    assert not (tmp_path / "PWNED").exists()


def test_errors(tree: Path) -> None:
    with pytest.raises(NotFoundError):
        list(FilesToScan().files([str(tree / "missing")]))
    for path in ["sub", "", "."]:
        with pytest.raises(InvalidRequestError):
            list(FilesToScan().files([path]))
    with pytest.raises(InvalidRequestError, match="not in a git repository"):
        list(FilesToScan().staged(str(tree)))
