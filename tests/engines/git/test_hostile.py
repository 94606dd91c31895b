"""Repositories that were made to harm whoever fetches them."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from covey.apps.sources import GitSource
from covey.engines.git import export
from covey.engines.git.fetcher import GitLimits
from covey.engines.git.settings_files import Setting, read_settings
from covey.engines.git.submodules import read_submodules
from covey.errors import InvalidRequestError, TooLargeError
from tests.engines.git.conftest import Fetching
from tests.engines.git.servers import HttpGit, Repository, make_repository


def test_a_large_object_is_refused_before_it_is_in_memory(
    fetching: Fetching, repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository.commit({"small": "1", "zeros": "0" * 5000})
    source = GitSource(f"file://{repository.path}")
    monkeypatch.setattr(export, "_LARGEST_FILE", 1000)
    with pytest.raises(TooLargeError, match="zeros"):
        fetching.fetch(source)
    monkeypatch.setattr(export, "_LARGEST_FILE", 10_000)
    fetching.fetch(source)
    for name in ("_LARGEST_TREE", "_LARGEST_COMMIT"):
        with monkeypatch.context() as patch:
            patch.setattr(export, name, 10)
            with pytest.raises(TooLargeError):
                fetching.fetch(source)


@pytest.mark.parametrize("scheme", ["https", "push"])
def test_a_submodule_reaches_no_repository_of_this_machine(
    fetching: Fetching, https: HttpGit, repository: Repository, tmp_path: Path, scheme: str
) -> None:
    private = make_repository(tmp_path / "private")
    private.commit({"secret": "1"})
    repository.git("submodule", "add", "-q", str(private.path), "mine")
    for url in (f"file://{private.path}", str(private.path)):
        repository.git("config", "-f", ".gitmodules", "submodule.mine.url", url)
        commit = repository.commit({})
        wanted = GitSource(f"{https.base}/shop") if scheme == "https" else commit
        with pytest.raises(InvalidRequestError, match="scheme"):
            fetch_or_export(fetching, repository, wanted)
    fetching.fetch(GitSource(f"file://{repository.path}"))
    assert fetching.files()["mine/secret"] == "1"


def test_submodules_are_bounded_together(
    https: HttpGit, repository: Repository, tmp_path: Path
) -> None:
    for name in ("one", "two", "three"):
        library = make_repository(https.root / name)
        library.commit({"data": os.urandom(80_000)})
        repository.git("submodule", "add", "-q", str(library.path), name)
        repository.git("config", "-f", ".gitmodules", f"submodule.{name}.url", f"../{name}")
    repository.commit({"a": "1"})
    source = GitSource(f"{https.base}/shop")
    node = Fetching(tmp_path / "small", limits=GitLimits(transfer_bytes=100_000))
    with pytest.raises(TooLargeError, match="submodules"):
        node.fetch(source)
    Fetching(tmp_path / "large", limits=GitLimits(transfer_bytes=200_000)).fetch(source)


def fetch_or_export(fetching: Fetching, repository: Repository, what: GitSource | str) -> None:
    """Fetch a source, or export a commit as if it had been pushed."""
    if isinstance(what, GitSource):
        fetching.fetch(what)
        return
    place = repository.path / ".git"
    asyncio.run(fetching.fetcher.export(place, what, "", fetching.into, fetching.lines.append))


def test_pointers_that_were_pushed_stay_and_are_told(
    fetching: Fetching, repository: Repository
) -> None:
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'a' * 64}\nsize 12\n"
    commit = repository.commit({".gitattributes": "*.bin filter=lfs\n", "x.bin": pointer})
    fetch_or_export(fetching, repository, commit)
    assert fetching.files()["x.bin"] == pointer
    assert any("do not come with a push" in line for line in fetching.lines)


@pytest.mark.parametrize(
    "content",
    [
        b'[submodule "x"]\nurl = a' + b" " * 900_000 + b"b\n",
        b'[submodule "' + b"\\" * 900_000,
        b"\n" * 1_000_000,
        b"[" + b" " * 900_000,
        b'[submodule "x"]\n' + b"path = " + b'"\\' * 400_000,
        b'[submodule "x"]\n' + b"a" * 900_000,
    ],
)
def test_a_file_of_settings_costs_time_linear_in_it(content: bytes) -> None:
    # By a regular expression that backtracks, each would take hours and stop the whole process.
    read_submodules(content)


def test_settings_are_read_as_git_reads_them() -> None:
    content = b"""
    ; a comment
    [core] bare = true
    [Submodule "a \\"b\\""]   # another
        Path = "with ; sign" ; not this
        url = ../x#y \t
        broken line
    [lfs]
        url = https://host/x
    [broken
        url = nothing
    """
    assert list(read_settings(content)) == [
        Setting("core", "", "bare", "true"),
        Setting("submodule", 'a "b"', "path", "with ; sign"),
        Setting("submodule", 'a "b"', "url", "../x"),
        Setting("lfs", "", "url", "https://host/x"),
    ]
    with pytest.raises(InvalidRequestError):
        list(read_settings(b"#" * (2 << 20)))
