"""Packing a directory: what git would not keep stays here, links are not followed."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from covey.errors import InvalidRequestError
from covey.surfaces.cli.checkout_state import read_checkout
from covey.surfaces.cli.ignoring import read_ignoring
from covey.surfaces.cli.packing import Packed, pack, survey


def write(top: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = top / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def git(top: Path, *arguments: str) -> str:
    return subprocess.run(
        ["git", "-c", "user.name=Ada", "-c", "user.email=ada@example.org", *arguments],
        cwd=top,
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null"},
    ).stdout.strip()


def chosen(top: Path) -> set[str]:
    state = read_checkout(top)
    found = survey(top, read_ignoring(top, state.root, state.tracked))
    return {entry.path for entry in found.entries if not (top / entry.path).is_dir()}


def packed(top: Path) -> tuple[Packed, bytes]:
    file = io.BytesIO()
    state = read_checkout(top)
    found = survey(top, read_ignoring(top, state.root, state.tracked))
    return pack(top, found, file, lambda _count: None), file.getvalue()


def test_nested_ignore_files_and_negations_are_honoured(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            ".gitignore": "*.log\n!keep.log\n/build\nnode_modules/\n# comment\n\\#odd\ntmp\n",
            "a.log": "",
            "keep.log": "",
            "build/x": "",
            "sub/build": "",
            "sub/node_modules/y": "",
            "sub/.gitignore": "!a.log\nsecret.*\n",
            "sub/a.log": "",
            "sub/secret.key": "",
            "sub/deep/secret.txt": "",
            "#odd": "",
            "tmp/.gitignore": "!*",
            "tmp/x": "",
            ".git/config": "",
            "sub/.git": "gitdir: x",
            "src/main.py": "",
        },
    )
    assert chosen(tmp_path) == {
        ".gitignore",
        "keep.log",
        "sub/build",
        "sub/.gitignore",
        "sub/a.log",
        "src/main.py",
    }


names = st.sampled_from(["a", "b", "c.log", "d e", "build", "x.y"])
paths = st.lists(names, min_size=1, max_size=3).map("/".join)
patterns = st.lists(
    st.builds(
        "{}{}{}{}".format,
        st.sampled_from(["", "", "!", "/"]),
        st.sampled_from(["", "**/", "a/"]),
        st.sampled_from(["a", "b", "*.log", "*", "d e", "build", "x.?"]),
        st.sampled_from(["", "", "/", "/**"]),
    ),
    max_size=4,
).map("\n".join)


@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(files=st.sets(paths, min_size=1, max_size=6), top=patterns, below=patterns)
def test_what_is_packed_is_what_git_itself_would_add(
    tmp_path_factory: pytest.TempPathFactory, files: set[str], top: str, below: str
) -> None:
    place = tmp_path_factory.mktemp("ignored")
    try:
        for path in sorted(files):
            try:
                write(place, {path: ""})
            except (NotADirectoryError, IsADirectoryError, FileExistsError):
                continue
        write(place, {".gitignore": top})
        if (place / "a").is_dir():
            write(place, {"a/.gitignore": below})
        expected = _as_git(place)
        assert chosen(place) == expected
    finally:
        shutil.rmtree(place)


def _as_git(place: Path) -> set[str]:
    git(place, "init", "-q")
    found = git(place, "ls-files", "-z", "--others", "--exclude-standard").split("\0")
    shutil.rmtree(place / ".git")
    return {path for path in found if path}


def test_dockerignore_leaves_out_too_but_not_what_the_build_reads(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            ".dockerignore": "*\n!src\n!a/b.txt\n# no\nsrc/tests\n",
            "Dockerfile": "FROM scratch",
            "covey.app.toml": "",
            "README": "",
            "src/main.py": "",
            "src/tests/x": "",
            "a/b.txt": "",
            "a/c.txt": "",
        },
    )
    assert chosen(tmp_path) == {
        ".dockerignore",
        "Dockerfile",
        "covey.app.toml",
        "src/main.py",
        "a/b.txt",
    }


def test_a_directory_of_a_repository_has_its_ignore_files_and_its_tracked_files(
    tmp_path: Path,
) -> None:
    git(tmp_path, "init", "-q")
    write(
        tmp_path,
        {
            ".gitignore": "*.pyc\n/services/web/local\nforced/\n",
            "services/.gitignore": "*.tmp\n",
            "services/web/main.py": "",
            "services/web/main.pyc": "",
            "services/web/x.tmp": "",
            "services/web/local": "",
            "services/web/forced/in": "",
            "services/web/forced/out": "",
        },
    )
    git(tmp_path, "add", "-A")
    git(tmp_path, "add", "-f", "services/web/forced/in")
    git(tmp_path, "commit", "-qm", "First\n\nmore")
    top = tmp_path / "services" / "web"
    assert chosen(top) == {"main.py", "forced/in"}
    state = read_checkout(top)
    assert (state.commit, state.message) == (git(tmp_path, "rev-parse", "HEAD"), "First\n\nmore")
    (tmp_path / "elsewhere").write_text("1")
    assert not read_checkout(top).commit.endswith("-dirty")
    (top / "new").write_text("1")
    assert read_checkout(top).commit.endswith("-dirty")


def test_an_ignored_directory_can_be_deployed_itself(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    write(tmp_path, {".gitignore": "dist\n*.map\n", "dist/index.html": "", "dist/x.map": ""})
    git(tmp_path, "add", "-A")
    git(tmp_path, "commit", "-qm", "First")
    assert chosen(tmp_path / "dist") == {"index.html", "x.map"}


def test_the_same_files_give_the_same_archive(tmp_path: Path) -> None:
    for name in ("one", "two"):
        top = tmp_path / name
        write(top, {"b/x": "1", "a": "2"})
        (top / "run").write_text("#!/bin/sh")
        (top / "run").chmod(0o700 if name == "one" else 0o755)
        (top / "empty").mkdir()
        (top / "link").symlink_to("b/x")
        os.utime(top / "a", (1, len(name) * 10))
    first, data = packed(tmp_path / "one")
    assert packed(tmp_path / "two")[0] == first
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        members = {item.name: (item.mode, item.mtime, item.uid, item.uname) for item in tar}
    assert members["run"] == (0o755, 0, 0, "")
    assert members["a"] == (0o644, 0, 0, "")
    assert {"empty", "b", "link"} <= members.keys()


def test_links_that_lead_out_and_what_is_no_file_are_left_out(tmp_path: Path) -> None:
    top = tmp_path / "top"
    write(top, {"a": "1"})
    (tmp_path / "secret").write_text("no")
    for name, target in (
        ("in", "a"),
        ("absolute", str(top / "a")),
        ("out", "../secret"),
        ("loop", "loop"),
        ("directory", ".."),
    ):
        (top / name).symlink_to(target)
    os.mkfifo(top / "pipe")
    found = survey(top, read_ignoring(top))
    assert {entry.path for entry in found.entries} == {"a", "in"}
    assert len(found.left_out) == 5
    _, data = packed(top)
    assert b"no" not in data


def test_what_is_large_is_named(tmp_path: Path) -> None:
    write(tmp_path, {"data/a": "x" * 900, "data/b": "x" * 900, "c": "x" * 100})
    assert survey(tmp_path, read_ignoring(tmp_path)).largest(2) == [("data/", 1800), ("c", 100)]


def test_a_file_that_changes_meanwhile_is_an_error(tmp_path: Path) -> None:
    write(tmp_path, {"a": "12345"})
    for text in ("123", "1234567"):
        write(tmp_path, {"a": "12345"})
        found = survey(tmp_path, read_ignoring(tmp_path))
        write(tmp_path, {"a": text})
        with pytest.raises(InvalidRequestError, match="changed while"):
            pack(tmp_path, found, io.BytesIO(), lambda _count: None)
    found = survey(tmp_path, read_ignoring(tmp_path))
    (tmp_path / "a").unlink()
    (tmp_path / "a").symlink_to("/etc/passwd")
    with pytest.raises(InvalidRequestError, match="cannot be read"):
        pack(tmp_path, found, io.BytesIO(), lambda _count: None)
