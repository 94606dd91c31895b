"""`git push covey://APP` deploys through the own node; git-remote-covey needs no token."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.podman import Podman
from tests.system.git_client import run_git
from tests.system.harness import Node, new_fleet
from tests.system.hosting import Host, new_host


@pytest.fixture(scope="module")
def host(session_podman: Podman) -> Iterator[Host]:
    with new_fleet() as fleet, new_host(fleet, session_podman) as made:
        yield made


@dataclass
class Checkout:
    """A repository of an app, and git as its owner types it."""

    directory: Path
    node: Node

    def git(self, *words: str, expect: int = 0) -> str:
        """Run git beside the node's `covey`; return all that it says."""
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        author = ("-c", "user.name=Ada", "-c", "user.email=ada@example.org")
        environ = {**self.node.environment, "PATH": path}
        return run_git(self.directory, environ, *author, *words, expect=expect)

    def commit(self, text: str) -> str:
        """Commit a version of the app; return its id."""
        (self.directory / "www/index.html").write_text(text)
        self.git("add", "-A")
        self.git("commit", "-q", "-m", text)
        return self.git("rev-parse", "HEAD").strip()


def checkout(host: Host, name: str) -> Checkout:
    made = Checkout(host.app(name, "v0"), host.node)
    made.git("init", "-q", "-b", "main")
    return made


def test_a_push_is_deployed_and_told_and_refused_if_it_fails(host: Host):
    work = checkout(host, "pushed")
    host.node.run("apps", "create", "pushed")
    work.git("remote", "add", "covey", "covey://pushed")
    work.commit("v1")
    said = work.git("push", "covey", "main")
    assert f" at https://pushed.localhost:{host.https}" in said
    assert host.get("pushed") == "v1"
    second = work.commit("v2")
    work.git("push", "covey", "main")
    assert host.get("pushed") == "v2"
    assert "up-to-date" in work.git("push", "covey", "main")

    (work.directory / "Containerfile").write_text("FROM localhost/covey-test/web\nRUN exit 9\n")
    work.commit("v3")
    said = work.git("push", "covey", "main", expect=1)
    assert "the deployment failed" in said
    assert "exit status 9" in said
    assert host.get("pushed") == "v2"

    copy = host.directories / "copy"
    work.git("clone", "-q", "covey://freya/pushed", str(copy))
    assert Checkout(copy, host.node).git("rev-parse", "HEAD").strip() == second
    assert work.git("ls-remote", "covey", "refs/heads/main").split()[0] == second
    host.settled("pushed")
    host.remove("pushed")


def test_an_address_of_nothing_says_what_to_do(host: Host):
    work = checkout(host, "nowhere")
    work.commit("v1")
    said = work.git("push", "covey://nowhere", "main", expect=128)
    assert "No app is called nowhere" in said
    assert "hint:" in said
    assert "Traceback" not in said
    said = work.git("push", "covey://a/b/c", "main", expect=128)
    assert "This is no address of an app" in said


def test_a_push_finds_the_machine_that_runs_the_app(session_podman: Podman):
    with new_fleet() as fleet, new_host(fleet, session_podman) as host:
        frigg = fleet.member(host.node, "frigg")
        host.node.run("apps", "create", "far")
        work = checkout(host, "far")
        work.node = frigg
        work.commit("v1")
        work.git("push", "covey://far", "main")
        assert host.get("far") == "v1"
        work.commit("v2")
        work.git("push", "covey://freya/far.git", "main")
        assert host.get("far") == "v2"
        host.settled("far")
        host.remove("far")
