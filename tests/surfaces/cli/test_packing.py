"""Packing a directory: what git would not keep stays here, links are not followed."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from covey.errors import InvalidRequestError
from covey.surfaces.cli.checkout_state import read_commit, read_rules
from covey.surfaces.cli.ignoring import Ignoring, read_ignoring
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
    ).stdout.removesuffix("\n")


def chosen(top: Path) -> set[str]:
    found = survey(top, read_ignoring(top, read_rules(top)))
    return {entry.path for entry in found.entries if not (top / entry.path).is_dir()}


def packed(top: Path) -> tuple[Packed, bytes]:
    file = io.BytesIO()
    found = survey(top, read_ignoring(top, read_rules(top)))
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


names = st.text("ab-]c. é!#^A1\\", min_size=1, max_size=3).filter(lambda it: it not in {".", ".."})
paths = st.lists(names, min_size=1, max_size=3).map("/".join)
pieces = st.sampled_from(
    [
        *"abcA1é!#^.-][/*?",
        *("**", "***", "**/", "/**", "/**/"),
        *("[!a]", "[a-c]", "[^b]", "[]]", "[b-]", "[-b]", "[--b]", "[é]", "[/]", "[:a]"),
        *("[[:alpha:]]", "[[:punct:]]", "[[:x:]]", "[[:", "[a-", "[a\\]]", "[\\a-c]"),
        *("\\", "\\a", " ", "\\ ", "\t", "\r"),
    ]
)
lines = st.builds(
    "{}{}{}".format,
    st.sampled_from(["", "", "!", "/", "!/"]),
    st.lists(pieces, min_size=1, max_size=4).map("".join),
    st.sampled_from(["", "", "/", " ", "\r", "/ "]),
)
patterns = st.lists(lines, max_size=4).map("\n".join)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    files=st.sets(paths, min_size=1, max_size=6), top=patterns, below=patterns, excluded=patterns
)
@example(files={"c.log", "a/b/build"}, top="/a/**\n!*\na/*", below="", excluded="")
@example(files={"build", "c.log/b"}, top="*/**\n!b", below="", excluded="")
@example(files={"a/a/x.y"}, top="/a/*\n**/b\n!**/a", below="a/**\n!**/x.?", excluded="")
def test_what_is_packed_is_what_git_itself_would_add(
    tmp_path_factory: pytest.TempPathFactory, files: set[str], top: str, below: str, excluded: str
) -> None:
    place = tmp_path_factory.mktemp("ignored")
    try:
        git(place, "init", "-q")
        git(place, "config", "core.excludesFile", "")
        for path in sorted(files):
            with contextlib.suppress(NotADirectoryError, IsADirectoryError, FileExistsError):
                write(place, {path: ""})
        write(place, {".git/info/exclude": excluded, ".gitignore": top})
        if (place / "a").is_dir():
            write(place, {"a/.gitignore": below})
        found = git(place, "ls-files", "-z", "--others", "--exclude-standard").split("\0")
        assert chosen(place) == {path for path in found if path}
    finally:
        shutil.rmtree(place)


def test_the_patterns_of_the_user_and_of_the_repository_hold_too(tmp_path: Path) -> None:
    top = tmp_path / "top"
    write(top, {"a.swp": "", "b.swp": "", "local": "", "main.py": ""})
    write(tmp_path, {"mine": "*.swp\nmain.py\n"})
    git(top, "init", "-q")
    git(top, "config", "core.excludesFile", str(tmp_path / "mine"))
    write(top, {".git/info/exclude": "local\n", ".gitignore": "!b.swp\n!main.py\n"})
    assert chosen(top) == {".gitignore", "b.swp", "main.py"}
    git(top, "add", "-A")
    git(top, "commit", "-qm", "First")
    git(top, "worktree", "add", "-q", str(tmp_path / "second"), "-b", "second")
    write(tmp_path / "second", {"local": "", "c.swp": ""})
    assert chosen(tmp_path / "second") == {".gitignore", "b.swp", "main.py"}


def test_a_repository_that_cannot_be_opened_leaves_its_rules(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    git(tmp_path, "config", "core.repositoryFormatVersion", "1")
    git(tmp_path, "config", "extensions.unheardOf", "true")
    write(tmp_path, {".gitignore": ".env\n", "web/.env": "SECRET=1", "web/main.py": ""})
    assert chosen(tmp_path / "web") == {"main.py"}


def test_a_link_is_no_file_of_patterns(tmp_path: Path) -> None:
    write(tmp_path, {"patterns": "a\n", "a": ""})
    (tmp_path / ".gitignore").symlink_to("patterns")
    assert chosen(tmp_path) == {".gitignore", "patterns", "a"}


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


def test_what_holds_for_another_context_or_dockerfile_is_left_to_the_node(tmp_path: Path) -> None:
    files = {".dockerignore": "*\n!src\n", "docker/Prod": "FROM scratch", "src/x": "", "y": ""}
    write(tmp_path, {**files, "covey.app.toml": '[build]\ndockerfile = "./docker/Prod"\n'})
    assert chosen(tmp_path) == {".dockerignore", "covey.app.toml", "docker/Prod", "src/x"}
    write(tmp_path, {"docker/Prod.dockerignore": "src\n"})
    assert {"src/x", "y"} <= chosen(tmp_path)
    (tmp_path / "docker/Prod.dockerignore").unlink()
    write(tmp_path, {"covey.app.toml": '[build]\ncontext = "src"\n'})
    assert {"src/x", "y"} <= chosen(tmp_path)
    write(tmp_path, {"covey.app.toml": "[build\n"})
    assert "y" not in chosen(tmp_path)


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
    commit = read_commit(top)
    assert (commit.id, commit.message) == (git(tmp_path, "rev-parse", "HEAD"), "First\n\nmore")
    git(tmp_path, "commit", "--amend", "-qm", "x" * 5000)
    assert read_commit(top).message == "x" * 2000
    (tmp_path / "elsewhere").write_text("1")
    assert not read_commit(top).id.endswith("-dirty")
    (top / "new").write_text("1")
    assert read_commit(top).id.endswith("-dirty")


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


def test_what_vanishes_during_a_look_is_not_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, {"a": "1", "file": "1"})
    (tmp_path / "link").symlink_to("a")
    for name in ("sub", "was_directory"):
        (tmp_path / name).mkdir()

    class Vanishing(Ignoring):
        def leaves_out(self, path: str, *, is_directory: bool) -> bool:
            if path == "file":
                (tmp_path / path).unlink()
            return False

    scan, read_link = os.scandir, Path.readlink

    def scan_late(path: Path) -> Iterator[os.DirEntry[str]]:
        if path.name in {"sub", "was_directory"}:
            path.rmdir()
        if path.name == "was_directory":
            path.write_text("1")
        return scan(path)

    def read_link_late(path: Path) -> Path:
        path.unlink()
        return read_link(path)

    monkeypatch.setattr(os, "scandir", scan_late)
    monkeypatch.setattr(Path, "readlink", read_link_late)
    found = survey(tmp_path, Vanishing())
    assert {entry.path for entry in found.entries} == {"a", "sub", "was_directory"}
    assert found.left_out == []


def test_a_directory_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequestError, match="cannot be read"):
        survey(tmp_path / "gone", Ignoring())
