"""Real `git push`, `git clone` and `git fetch` against a node."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import pytest

from covey.engines.git import serving
from covey.errors import CoveyError
from tests.engines.git.servers import Repository
from tests.surfaces.http.git_site import Site


def test_a_push_to_the_branch_is_deployed_and_told(site: Site) -> None:
    commit = site.work.commit({"a": "1"}, "First light")
    said = site.git("push", site.url(), "main")
    assert "remote: building" in said
    assert "remote: serving" in said
    assert site.target.pushes == [("shop", "main", commit, "First light", "developer")]
    assert site.refs() == {"HEAD": commit, "refs/heads/main": commit}
    assert (site.repositories / "shop.git").stat().st_mode & 0o777 == 0o700
    kept = [(e.operation, e.target, e.outcome) for e in site.running.trail.entries]
    assert kept[0] == ("apps.push", "shop", "ok")


def test_what_was_pushed_can_be_cloned_and_fetched(site: Site, tmp_path: Path) -> None:
    for number in range(3):
        commit = site.work.commit({"a": str(number)})
    site.git("push", site.url(), "main")
    for version in ("0", "1", "2"):
        copy = tmp_path / f"copy{version}"
        site.git("-c", f"protocol.version={version}", "clone", "-q", site.url(), str(copy))
        assert (copy / "a").read_text() == "2"
    site.git("clone", "-q", "--depth=1", site.url(), str(tmp_path / "shallow"))
    newer = site.work.commit({"a": "3"})
    site.git("push", site.url(), "main")
    Repository(tmp_path / "copy2").git("fetch", "-q")
    assert Repository(tmp_path / "copy2").git("rev-parse", "origin/main") == newer != commit


def test_another_branch_and_a_tag_are_kept_and_not_deployed(site: Site) -> None:
    commit = site.work.commit({"a": "1"})
    assert "not deployed: shop follows another" in site.git("push", site.url(), "main:side")
    assert "not deployed" not in site.git("push", site.url(), "main:refs/tags/v1")
    assert site.target.pushes == []
    assert site.refs() == {"refs/heads/side": commit, "refs/tags/v1": commit}
    site.git("push", site.url(), ":side")
    assert site.refs() == {"refs/tags/v1": commit}


def test_a_failed_deployment_rejects_the_push_and_can_be_pushed_again(site: Site) -> None:
    first = site.work.commit({"a": "1"})
    site.git("push", site.url(), "main")
    second = site.work.commit({"a": "2"})
    site.target.failure = CoveyError("The build failed: no such file.", hint="See line 3")
    said = site.git("push", site.url(), "main", status=1)
    assert "remote: The build failed: no such file." in said
    assert "remote: See line 3" in said
    assert "[remote rejected] main -> main (the deployment failed)" in said
    assert site.refs()["refs/heads/main"] == first
    site.target.failure = None
    site.git("push", site.url(), "main")
    assert site.refs()["refs/heads/main"] == second
    assert [push[2] for push in site.target.pushes] == [first, second, second]


def test_the_first_push_fails_and_leaves_no_branch(site: Site) -> None:
    commit = site.work.commit({"a": "1"})
    site.target.failure = CoveyError("no")
    site.git("push", site.url(), "main", status=1)
    assert site.refs() == {}
    kept = Repository(site.repositories / "shop.git")
    assert kept.git("rev-parse", f"refs/covey/commits/{commit}") == commit


def test_a_forced_push_and_two_refs_at_once(site: Site) -> None:
    site.work.commit({"a": "1"})
    site.git("push", site.url(), "main")
    site.work.git("commit", "-q", "--amend", "-m", "other")
    commit = site.work.git("rev-parse", "HEAD")
    site.git("push", site.url(), "main", status=1)
    site.git("push", "--force", site.url(), "main", "main:more")
    assert site.refs()["refs/heads/main"] == site.refs()["refs/heads/more"] == commit
    assert len(site.target.pushes) == 2
    assert "up-to-date" in site.git("push", site.url(), "main")
    assert len(site.target.pushes) == 2


def test_what_a_push_changed_is_told_and_may_not_matter(site: Site) -> None:
    site.work.commit({"a": "1", "d/ö": "2"})
    site.git("push", site.url(), "main")
    (site.work.path / "a").unlink()
    site.work.commit({"d/ö": "3", "new": "4"})
    site.target.wanted = False
    said = site.git("push", site.url(), "main")
    assert "nothing is deployed" in said
    assert site.target.changed == [None, {"a", "d/ö", "new"}]
    assert len(site.target.pushes) == 1


def test_a_defect_is_no_success(site: Site) -> None:
    site.work.commit({"a": "1"})
    site.target.failure = RuntimeError("private")  # type: ignore[assignment]
    said = site.git("push", site.url(), "main", status=1)
    assert "Something went wrong inside Covey" in said
    assert "private" not in said


def test_commits_that_no_deployment_needs_are_let_go(site: Site) -> None:
    kept = site.repositories / "shop.git" / "refs" / "covey" / "commits"
    for text in ("1", "2"):
        commit = site.work.commit({"a": text})
        site.git("push", "--force", site.url(), "main")
        site.work.git("reset", "-q", "--hard")
    site.running.eventually(lambda: [path.name for path in kept.iterdir()] == [commit])


def test_a_larger_push_comes_in_chunks_and_compressed(site: Site) -> None:
    site.work.commit({f"f{number}": os.urandom(20_000) for number in range(100)})
    site.git("-c", "http.postBuffer=65536", "push", site.url(), "main")
    assert len(site.target.pushes) == 1


def test_a_push_over_the_limit_is_refused(site: Site) -> None:
    site.work.commit({"a": os.urandom(10 << 20)})
    said = site.git("push", site.url(), "main", status=None)
    assert site.target.pushes == []
    assert "9 MiB" in said or "maximum allowed size" in said or "413" in said
    assert not list((site.repositories / "shop.git" / "objects").glob("tmp_objdir*"))


@pytest.mark.parametrize(
    "token, app, what",
    [
        ("viewer", "shop", "403"),
        ("nonsense", "shop", "Authentication failed"),
        ("developer", "other", "No app is called other"),
        ("developer", "..%2fshop", "40"),
        ("developer", "-x", "40"),
    ],
)
def test_who_may_not_push_is_told(site: Site, token: str, app: str, what: str) -> None:
    site.work.commit({"a": "1"})
    said = site.git("push", site.url(token, app), "main", status=128)
    assert what in said
    assert site.target.pushes == []


def test_without_a_token_git_is_asked_for_one(site: Site) -> None:
    reply = site.running.request(
        "GET", "/git/shop.git/info/refs?service=git-receive-pack", token=None
    )
    assert reply.status == 401
    assert reply.headers["www-authenticate"].startswith("Basic ")
    assert b"covey token create" in reply.body


def test_a_refused_push_is_in_the_audit_log(site: Site) -> None:
    for path in ("git-receive-pack", "git-upload-pack"):
        reply = site.running.request("POST", f"/git/shop.git/{path}", b"0000", token="viewer")
        assert reply.status == 403
    assert [(e.operation, e.outcome) for e in site.running.trail.entries] == [
        ("apps.push", "refused"),
        ("apps.pull", "refused"),
    ]


@pytest.mark.parametrize(
    "path, status",
    [
        ("/git/shop.git/info/refs", 400),
        ("/git/shop.git/info/refs?service=git-evil", 400),
        ("/git/shop/info/refs?service=git-upload-pack", 404),
        ("/git/shop.git/HEAD", 404),
        ("/git/shop.git/objects/info/packs", 404),
    ],
)
def test_the_dumb_protocol_and_other_paths_are_not_served(
    site: Site, path: str, status: int
) -> None:
    assert site.running.request("GET", path, token="developer").status == status


@pytest.mark.parametrize(
    "body, encoding, status",
    [
        (b"not git at all", "", 400),
        (b"-001" + b"x" * 10, "", 400),
        (b"0_04" + b"x" * 10, "", 400),
        (b"0003", "", 400),
        (b"fff0" + b"x" * 10, "", 200),
        (b"not gzip", "gzip", 400),
        (b"0000", "br", 400),
        (gzip.compress(bytes(64 << 20)), "gzip", 400),
    ],
)
def test_hostile_bodies_are_refused(site: Site, body: bytes, encoding: str, status: int) -> None:
    headers = {"Content-Encoding": encoding} if encoding else {}
    reply = site.running.request(
        "POST", "/git/shop.git/git-receive-pack", body, token="developer", headers=headers
    )
    assert reply.status in {status, 400, 413}
    assert site.target.pushes == []


def test_too_many_at_one_time_are_told_so(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.work.commit({"a": "1"})
    with monkeypatch.context() as patch:
        patch.setattr(serving, "_MOST_TALKING", 0)
        assert "429" in site.git("push", site.url(), "main", status=1)
    site.git("push", site.url(), "main")


def test_objects_that_git_would_not_take_are_refused(site: Site) -> None:
    site.work.commit({"a": "1"})
    blob = site.work.git("rev-parse", "HEAD:a")
    (site.work.path / ".tree").write_bytes(b"100644 .git\0" + bytes.fromhex(blob))
    tree = site.work.git("hash-object", "-t", "tree", "-w", "--literally", ".tree")
    commit = site.work.git("commit-tree", tree, "-m", "evil")
    site.work.git("update-ref", "refs/heads/evil", commit)
    said = site.git("push", site.url(), "evil:main", status=1)
    assert "hasDotgit" in said or "unpack" in said
    assert site.target.pushes == []


def test_hooks_in_the_repository_never_run(site: Site, tmp_path: Path) -> None:
    site.work.commit({"a": "1"})
    site.git("push", site.url(), "main")
    hooks = site.repositories / "shop.git" / "hooks"
    hooks.mkdir(exist_ok=True)
    for name in ("pre-receive", "update", "post-receive", "post-update", "reference-transaction"):
        (hooks / name).write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
        (hooks / name).chmod(0o755)
    site.work.commit({"a": "2"})
    site.git("push", site.url(), "main")
    assert not (tmp_path / "ran").exists()
