"""Real `git push`, `git clone` and `git fetch` against a node, with a deployment that is told."""

from __future__ import annotations

import asyncio
import gzip
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import AsyncGenerator, Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from covey.apps import push_operations
from covey.apps.begun_pushes import note_push
from covey.apps.pkt_line import RefUpdate
from covey.apps.pushes import Pushes
from covey.engines.git import serving
from covey.engines.git.serving import GitPrograms
from covey.errors import CoveyError, NotFoundError
from covey.operations.context import Services
from covey.operations.registry import Registry
from covey.surfaces.http.app import HttpSettings
from tests.engines.git.servers import Repository, make_repository
from tests.surfaces.http.serving import Running, running

REGISTRY = Registry.from_modules([push_operations])


@dataclass
class Target:
    """Deploys by taking notes; `gate` holds a deployment until it is set."""

    pushes: list[tuple[str, str, str, str, str]] = field(default_factory=list)
    failure: CoveyError | None = None
    lines: tuple[str, ...] = ("building", "serving")
    gate: asyncio.Event | None = None
    before: asyncio.Event | None = None
    ended: int = 0
    changed: list[set[str] | None] = field(default_factory=list)
    wanted: bool = True

    def check(self, app: str) -> None:
        if app != "shop":
            raise NotFoundError(f"No app is called {app}.", hint="covey apps list")

    def deploys(self, app: str, branch: str) -> bool:
        return branch == "main"

    def wants(self, app: str, changed: Collection[str] | None) -> bool:
        self.changed.append(None if changed is None else set(changed))
        return self.wanted

    async def deploy(self, app: str, branch: str, commit: str, message: str, caller: str) -> int:
        if self.before is not None:
            await self.before.wait()
        self.pushes.append((app, branch, commit, message, caller))
        return len(self.pushes)

    async def follow(self, app: str, number: int) -> AsyncGenerator[str, None]:
        for line in self.lines:
            yield line
        if self.gate is not None:
            await self.gate.wait()
        self.ended += 1
        if self.failure is not None:
            raise self.failure

    def needed(self, app: str) -> set[str]:
        return {push[2] for push in self.pushes[-1:]}


@dataclass
class Site:
    """A node that serves repositories, and a working copy of somebody who pushes to it."""

    running: Running
    target: Target
    work: Repository
    repositories: Path

    def url(self, token: str = "developer", app: str = "shop") -> str:
        return f"http://any:{token}@127.0.0.1:{self.running.port}/git/{app}.git"

    def git(self, *arguments: str, status: int | None = 0) -> str:
        done = subprocess.run(
            ["git", "-c", "credential.helper=", *arguments],
            cwd=self.work.path,
            env={
                **os.environ,
                "GIT_CONFIG_GLOBAL": "/dev/null",
                "GIT_CONFIG_SYSTEM": "/dev/null",
                "GIT_TERMINAL_PROMPT": "0",
            },
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        said = done.stdout + done.stderr
        assert status is None or done.returncode == status, said
        return said

    def refs(self) -> dict[str, str]:
        lines = self.git("ls-remote", self.url()).splitlines()
        return {name: commit for commit, _, name in (line.partition("\t") for line in lines)}


@pytest.fixture(scope="module")
def module_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    top = tmp_path_factory.mktemp("pushes")
    target = Target()
    pushes = Pushes(top / "repositories", GitPrograms(8 << 20), target)

    def offer(services: Services) -> None:
        services.provide(Pushes, pushes)

    settings = HttpSettings(rate_limit_per_minute=0, max_push_bytes=8 << 20)
    with running(settings, registry=REGISTRY, offer=offer) as server:
        yield Site(server, target, Repository(top), top / "repositories")


@pytest.fixture
def site(module_site: Site, tmp_path: Path) -> Site:
    shutil.rmtree(module_site.repositories, ignore_errors=True)
    module_site.running.trail.entries.clear()
    target = module_site.target
    target.pushes.clear()
    target.changed.clear()
    target.wanted = True
    target.failure = target.gate = target.before = None
    target.lines, target.ended = ("building", "serving"), 0
    module_site.work = make_repository(tmp_path / "work")
    return module_site


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


def push_aside(site: Site, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        ["git", "push", *arguments, site.url(), "main"],
        cwd=site.work.path,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def set_event(site: Site, event: asyncio.Event | None) -> None:
    async def go_on() -> None:
        assert event is not None
        event.set()

    site.running.run(go_on())


def test_of_two_pushes_at_a_time_the_last_commit_is_deployed_last(site: Site) -> None:
    first = site.work.commit({"a": "1"})

    async def hold() -> None:
        site.target.before = asyncio.Event()

    site.running.run(hold())
    pushing = [push_aside(site)]
    branch = site.repositories / "shop.git" / "refs" / "heads" / "main"
    site.running.eventually(lambda: branch.exists() and branch.read_text().strip() == first)
    for text in ("2", "3"):
        commit = site.work.commit({"a": text})
        pushing.append(push_aside(site))
        site.running.eventually(lambda: branch.read_text().strip() == commit)  # noqa: B023
    set_event(site, site.target.before)
    said = [process.communicate(timeout=60)[1] for process in pushing]
    assert [process.returncode for process in pushing] == [0, 0, 0], said
    assert [push[2] for push in site.target.pushes] == [first, commit]
    assert "another push came meanwhile" in said[1]


def test_a_client_that_leaves_before_the_answer_has_pushed_nevertheless(site: Site) -> None:
    commit = site.work.commit({"a": "1"})

    async def hold() -> None:
        site.target.before = asyncio.Event()

    site.running.run(hold())
    pushing = push_aside(site)
    branch = site.repositories / "shop.git" / "refs" / "heads" / "main"
    site.running.eventually(branch.exists)
    os.killpg(pushing.pid, signal.SIGKILL)
    pushing.communicate(timeout=10)
    set_event(site, site.target.before)
    site.running.eventually(lambda: site.target.ended == 1)
    assert [push[2] for push in site.target.pushes] == [commit]


def test_a_node_that_stops_asks_for_what_was_pushed_before(site: Site) -> None:
    commit = site.work.commit({"a": "1"})
    pushes = Pushes(site.repositories, GitPrograms(8 << 20), site.target)

    async def push_and_stop() -> None:
        site.target.before = asyncio.Event()
        site.target.gate = asyncio.Event()
        update = RefUpdate("refs/heads/main", "0" * 40, commit)
        push = note_push(site.work.path / ".git", update, "ada")
        pushes._begin("shop", site.work.path / ".git", push)
        stopping = asyncio.create_task(pushes.stop())
        await asyncio.sleep(0)
        site.target.before.set()
        await stopping

    site.running.run(push_and_stop())
    assert [push[2] for push in site.target.pushes] == [commit]
    assert site.target.ended == 0


def test_a_node_that_was_killed_asks_for_what_was_pushed_before(site: Site) -> None:
    site.target.wanted = False
    site.work.commit({"a": "1"})
    site.git("push", site.url(), "main")
    commit = site.work.commit({"a": "2"})
    site.git("push", site.url(), "main")
    repository = site.repositories / "shop.git"
    notes = repository / "covey-pushes"
    assert list(notes.iterdir()) == []
    site.target.wanted = True

    async def owed(new: str) -> None:
        note_push(repository, RefUpdate("refs/heads/main", "0" * 40, new), "ada")
        (notes / "torn").write_bytes(b"{")
        pushes = Pushes(site.repositories, GitPrograms(8 << 20), site.target)
        pushes.start()
        await pushes.stop()
        assert list(notes.iterdir()) == []

    site.running.run(owed(site.work.git("rev-parse", "HEAD^")))
    assert site.target.pushes == []
    for _ in range(2):  # the second time, only the note was left
        site.running.run(owed(commit))
    assert [(push[2], push[4]) for push in site.target.pushes] == [(commit, "ada")]


def test_a_push_that_cannot_be_noted_is_refused_whole(site: Site) -> None:
    site.work.commit({"a": "1"})
    site.git("push", site.url(), "main:side")
    (site.repositories / "shop.git" / "covey-pushes").write_text("in the way")
    site.git("push", site.url(), "main", status=None)
    assert "refs/heads/main" not in site.refs()
    assert site.target.pushes == []


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


def test_a_client_that_leaves_does_not_end_the_deployment(site: Site) -> None:
    site.work.commit({"a": "1"})

    async def hold() -> None:
        site.target.gate = asyncio.Event()

    site.running.run(hold())
    pushing = subprocess.Popen(
        ["git", "push", site.url(), "main"],
        cwd=site.work.path,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert pushing.stderr is not None
    for line in pushing.stderr:
        if "serving" in line:
            break
    pushing.kill()
    pushing.wait(10)
    pushing.stderr.close()
    assert site.target.gate is not None

    async def release() -> None:
        assert site.target.gate is not None
        site.target.gate.set()

    site.running.run(release())
    site.running.eventually(lambda: site.target.ended == 1)
    assert "refs/heads/main" in site.refs()


def test_a_push_that_breaks_off_leaves_nothing(site: Site) -> None:
    site.work.commit({"a": "1"})
    site.git("push", site.url(), "main")
    before = site.refs()
    site.target.pushes.clear()
    with socket.create_connection(("127.0.0.1", site.running.port), 10) as client:
        command = f"{'0' * 40} {'1' * 40} refs/heads/main\0report-status side-band-64k"
        line = f"{len(command) + 4:04x}{command}0000PACK".encode()
        client.sendall(
            b"POST /git/shop.git/git-receive-pack HTTP/1.1\r\nHost: localhost\r\n"
            b"Authorization: Bearer developer\r\nContent-Length: 100000\r\n\r\n" + line
        )
    objects = site.repositories / "shop.git" / "objects"
    site.running.eventually(lambda: not list(objects.glob("tmp_objdir*")))
    assert site.refs() == before
    assert site.target.pushes == []
