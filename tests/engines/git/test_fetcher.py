"""Fetching from real repositories: which commit, which files, and how a second time is quick."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from covey.apps.sources import GitSource
from covey.errors import InvalidRequestError, NotFoundError, RefusedError, UnreachableError
from tests.engines.git.conftest import Fetching
from tests.engines.git.servers import HttpGit, Repository, make_repository


def source(repository: Repository, **fields: str | bool) -> GitSource:
    return GitSource(f"file://{repository.path}", **fields)  # type: ignore[arg-type]


def test_the_default_branch_is_fetched_with_its_message(
    fetching: Fetching, repository: Repository
) -> None:
    commit = repository.commit({"a.txt": "one", "d/b.sh": "two"}, "First light\n\nand more")
    fetched = fetching.fetch(source(repository))
    assert fetched.commit == commit
    assert fetched.message == "First light\n\nand more"
    assert fetched.root == fetching.into
    assert fetching.files() == {"a.txt": "one", "d/b.sh": "two"}


def test_branches_tags_commits_and_full_refs_resolve(
    fetching: Fetching, repository: Repository
) -> None:
    first = repository.commit({"a": "1"})
    repository.git("tag", "-a", "v1", "-m", "annotated")
    repository.git("update-ref", "refs/pull/7/head", first)
    second = repository.commit({"a": "2"})
    repository.git("branch", "side", first)
    wanted = {
        "": second,
        "main": second,
        "side": first,
        "v1": first,
        "refs/tags/v1": first,
        "refs/pull/7/head": first,
        first: first,
        first[:9]: first,
    }
    for ref, commit in wanted.items():
        assert fetching.resolve(source(repository, ref=ref)).commit == commit, ref
    fetching.fetch(source(repository, ref="refs/pull/7/head"))
    assert fetching.files() == {"a": "1"}


def test_a_pinned_commit_is_fetched_though_the_branch_has_moved(
    fetching: Fetching, repository: Repository
) -> None:
    repository.commit({"a": "1"})
    pinned = fetching.resolve(source(repository, ref="main"))
    repository.commit({"a": "2"})
    assert fetching.fetch(pinned).commit == pinned.commit
    assert fetching.files() == {"a": "1"}
    assert fetching.resolve(pinned) == pinned


def test_a_commit_that_was_fetched_needs_no_server(
    fetching: Fetching, repository: Repository
) -> None:
    repository.commit({"a": "1"})
    pinned = fetching.resolve(source(repository))
    fetching.fetch(pinned)
    shutil.rmtree(repository.path)
    fetching.fetch(pinned)
    assert fetching.files() == {"a": "1"}


def test_a_damaged_cache_is_made_anew(fetching: Fetching, repository: Repository) -> None:
    repository.commit({"a": "1", "b": "2"})
    pinned = fetching.resolve(source(repository))
    fetching.fetch(pinned)
    for path in (fetching.directory / "mirrors").rglob("*.pack"):
        path.chmod(0o600)
        content = bytearray(path.read_bytes())
        content[12:-20] = bytes(len(content) - 32)
        path.write_bytes(content)
    fetching.fetch(pinned)
    assert fetching.files() == {"a": "1", "b": "2"}
    for path in (fetching.directory / "mirrors").glob("*.git"):
        (path / "HEAD").unlink()
        (path / "config").write_bytes(b"\0")
    fetching.fetch(pinned)
    assert fetching.files() == {"a": "1", "b": "2"}


@pytest.mark.parametrize("ref", ["nowhere", "refs/heads/nowhere", "deadbeef", "d" * 40])
def test_what_is_not_there_is_not_found(
    fetching: Fetching, repository: Repository, ref: str
) -> None:
    repository.commit({"a": "1"})
    with pytest.raises(NotFoundError) as caught:
        fetching.fetch(source(repository, ref=ref))
    assert caught.value.hint


def test_an_empty_repository_says_so(fetching: Fetching, repository: Repository) -> None:
    with pytest.raises(NotFoundError, match="is empty"):
        fetching.fetch(source(repository))


def test_no_repository_is_not_found(fetching: Fetching, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        fetching.fetch(GitSource(f"file://{tmp_path}/nothing"))


def test_a_subdirectory_is_the_root(fetching: Fetching, repository: Repository) -> None:
    repository.commit({"a": "1", "services/web/b": "2"})
    fetching.fetch(source(repository, subdirectory="./services/web/"))
    assert fetching.files() == {"b": "2"}
    with pytest.raises(NotFoundError):
        fetching.fetch(source(repository, subdirectory="services/none"))
    with pytest.raises(NotFoundError):
        fetching.fetch(source(repository, subdirectory="a"))
    for bad in ("..", "../x", "/etc", "services/../../x"):
        with pytest.raises(InvalidRequestError):
            fetching.fetch(source(repository, subdirectory=bad))


def test_links_that_lead_out_are_left_out(fetching: Fetching, repository: Repository) -> None:
    repository.commit({"d/e/file": "1"})
    links = {
        "good": "d/e/file",
        "d/up": "../d/e",
        "absolute": "/etc/passwd",
        "parent": "../outside",
        "d/e/down": "../..",
        "tricky": "d/e/down/../outside",
        "chain": "tricky",
        "loop": "loop",
    }
    for name, target in links.items():
        (repository.path / name).symlink_to(target)
    repository.commit({})
    fetching.fetch(source(repository))
    there = {str(p.relative_to(fetching.into)) for p in fetching.into.rglob("*") if p.is_symlink()}
    assert there == {"good", "d/up", "d/e/down"}
    assert (fetching.into / "good").read_text() == "1"
    assert any("parent leads out" in line for line in fetching.lines)


def test_files_are_readable_by_all_and_keep_their_executable_bit(
    fetching: Fetching, repository: Repository
) -> None:
    (repository.path / "run").write_text("#!/bin/sh\n")
    (repository.path / "run").chmod(0o755)
    repository.commit({"d/plain": "x"})
    fetching.fetch(source(repository))
    modes = {n: (fetching.into / n).stat().st_mode & 0o7777 for n in ("run", "d", "d/plain")}
    assert modes == {"run": 0o755, "d": 0o755, "d/plain": 0o644}


def test_equal_files_have_equal_times_and_changed_ones_do_not(
    fetching: Fetching, repository: Repository
) -> None:
    repository.commit({"same": "x", "other": "1"})
    fetching.fetch(source(repository))
    before = {n: (fetching.into / n).stat().st_mtime_ns for n in ("same", "other")}
    repository.commit({"other": "2"})
    fetching.fetch(source(repository))
    after = {n: (fetching.into / n).stat().st_mtime_ns for n in ("same", "other")}
    assert after["same"] == before["same"]
    assert after["other"] != before["other"]


def test_what_was_in_the_directory_is_gone(fetching: Fetching, repository: Repository) -> None:
    repository.commit({"a": "1"})
    (fetching.into / "old").mkdir(parents=True)
    (fetching.into / "old" / "file").write_text("x")
    (fetching.into / "link").symlink_to("/etc")
    fetching.fetch(source(repository))
    assert fetching.files() == {"a": "1"}
    assert not (fetching.into / "link").is_symlink()


def test_over_https_a_branch_comes_without_its_history(
    fetching: Fetching, https: HttpGit, repository: Repository
) -> None:
    for number in range(5):
        commit = repository.commit({"a": str(number)})
    fetched = fetching.fetch(GitSource(f"{https.base}/shop"))
    assert fetched.commit == commit
    assert fetching.files() == {"a": "4"}
    mirror = next((fetching.directory / "mirrors").glob("*.git"))
    assert Repository(mirror).git("rev-list", "--count", commit) == "1"
    asked = len(https.requests)
    newer = repository.commit({"a": "5"})
    assert fetching.fetch(GitSource(f"{https.base}/shop", ref="main")).commit == newer
    assert len(https.requests) - asked == 4


def test_over_https_an_old_commit_is_fetched_too(
    fetching: Fetching, https: HttpGit, repository: Repository
) -> None:
    first = repository.commit({"a": "1"})
    repository.commit({"a": "2"})
    fetching.fetch(GitSource(f"{https.base}/shop"))
    fetching.fetch(GitSource(f"{https.base}/shop", commit=first))
    assert fetching.files() == {"a": "1"}
    repository.git("config", "uploadpack.allowAnySHA1InWant", "true")
    third = repository.commit({"a": "3"})
    repository.commit({"a": "4"})
    fetching.fetch(GitSource(f"{https.base}/shop", commit=third))
    assert fetching.files() == {"a": "3"}
    with pytest.raises(NotFoundError, match="any more"):
        fetching.fetch(GitSource(f"{https.base}/shop", commit="d" * 40))


def test_a_server_that_is_not_there_is_unreachable(fetching: Fetching) -> None:
    with pytest.raises(UnreachableError, match="refused"):
        fetching.fetch(GitSource("https://127.0.0.1:1/shop"))
    with pytest.raises(UnreachableError, match="refused"):
        fetching.resolve(GitSource("ssh://git@127.0.0.1:1/shop"))


def test_an_unknown_repository_over_https_is_not_found(fetching: Fetching, https: HttpGit) -> None:
    with pytest.raises(NotFoundError, match="/nothing"):
        fetching.fetch(GitSource(f"{https.base}/nothing"))


def test_an_untrusted_certificate_is_refused(
    fetching: Fetching, repository: Repository, tmp_path: Path, authority: object
) -> None:
    from tests.engines.git.servers import http_git, make_authority

    other = tmp_path / "other"
    other.mkdir()
    with (
        http_git(repository.path.parent, make_authority(other)) as server,
        pytest.raises(RefusedError, match="certificate"),
    ):
        fetching.fetch(GitSource(f"{server.base}/shop"))


def test_other_schemes_are_refused(fetching: Fetching, tmp_path: Path) -> None:
    node = Fetching(tmp_path / "strict", schemes=())
    for url in ("ext::sh -c x", "git://host/x", "file:///x", "/x", "http://host/x", "ftp://h/x"):
        with pytest.raises(InvalidRequestError):
            node.resolve(GitSource(url))


def test_submodules_come_along_with_relative_urls(
    fetching: Fetching, https: HttpGit, repository: Repository
) -> None:
    library = make_repository(https.root / "libs" / "paint")
    inner = make_repository(https.root / "libs" / "inner")
    inner.commit({"deep": "3"})
    library.commit({"paint.txt": "2"})
    library.git("submodule", "add", "-q", "../inner", "nested", env={})
    library.git("config", "-f", ".gitmodules", "submodule.nested.url", "../inner")
    library.commit({})
    repository.git("submodule", "add", "-q", str(library.path), "vendor/paint")
    repository.git("config", "-f", ".gitmodules", "submodule.vendor/paint.url", "../libs/paint")
    repository.commit({"a": "1"})
    fetching.fetch(GitSource(f"{https.base}/shop"))
    files = fetching.files()
    assert files["vendor/paint/paint.txt"] == "2"
    assert files["vendor/paint/nested/deep"] == "3"
    fetching.fetch(GitSource(f"{https.base}/shop", subdirectory="vendor"))
    assert fetching.files()["paint/nested/deep"] == "3"
    fetching.fetch(GitSource(f"{https.base}/shop", submodules=False))
    assert "vendor/paint/paint.txt" not in fetching.files()
