"""Real `git push` to a real node: over TLS, with a token, from a working copy to HTTPS."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.images import WEB
from tests.podman import Podman
from tests.system.git_client import run_git
from tests.system.harness import new_fleet
from tests.system.hosting import Host, new_host


@pytest.fixture(scope="module")
def host(session_podman: Podman) -> Iterator[Host]:
    with new_fleet() as fleet, new_host(fleet, session_podman) as made:
        yield made


class WorkingCopy:
    """A working copy of an app whose remote is a node."""

    def __init__(self, directory: Path, host: Host, app: str) -> None:
        self.directory = directory
        own = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
        self.environ = {**own, "GIT_CONFIG_GLOBAL": str(directory.parent / "gitconfig")}
        authority = directory.parent / "fleet.pem"
        authority.write_text(host.node.out("fleet", "authority"))
        allowed = ("--role", "developer", "--allow", "apps.push", "--allow", "apps.git-refs")
        made = host.node.json("token", "create", f"push-{app}", *allowed)
        self.secret: str = made["token"]
        site = f"https://localhost:{host.node.port}"
        self.git("config", "--global", f"http.{site}.sslCAInfo", str(authority))
        self.git("config", "--global", "user.name", "Ada")
        self.git("config", "--global", "user.email", "ada@example.org")
        self.git("init", "-q", "-b", "main")
        self.git("remote", "add", "node", f"{site}/git/{app}.git")

    def git(self, *words: str, status: int = 0, token: str | None = None) -> str:
        environ = {**self.environ, "TOKEN": token or getattr(self, "secret", "")}
        helper = '!f() { echo username=any; echo "password=$TOKEN"; }; f'
        words = ("-c", f"credential.helper={helper}", *words)
        return run_git(self.directory, environ, *words, expect=status)

    def commit(self, message: str) -> str:
        self.git("add", "-A")
        self.git("commit", "-q", "-m", message)
        return self.git("rev-parse", "HEAD").strip()


def test_a_push_deploys_a_broken_one_is_refused_and_a_token_limits_who_may(
    host: Host, tmp_path: Path
) -> None:
    host.node.run("apps", "create", "pushed")
    copy = WorkingCopy(host.app("pushed", "v1"), host, "pushed")
    first = copy.commit("Version 1")
    said = copy.git("push", "node", "main")
    assert f"remote: pushed serves {first[:12]} at https://pushed.localhost:{host.https}" in said
    assert host.get("pushed") == "v1"

    (copy.directory / "www/index.html").write_text("v2")
    copy.commit("Version 2")
    viewer = host.node.json("token", "create", "viewer", "--role", "viewer")["token"]
    for token in (viewer, "nonsense"):
        copy.git("push", "node", "main", status=128, token=token)
    assert host.get("pushed") == "v1"
    copy.git("push", "node", "main")
    assert host.get("pushed") == "v2"

    (copy.directory / "Containerfile").write_text(f"FROM {WEB}\nRUN false\n")
    copy.commit("Version 3")
    said = copy.git("push", "node", "main", status=1)
    assert "[remote rejected] main -> main (the deployment failed)" in said
    assert host.get("pushed") == "v2"

    states = [item["state"] for item in host.deployments("pushed")]
    assert states == ["failed", "succeeded", "succeeded"]
    entries = host.node.json("audit", "list", "--operation", "apps.*")
    found = {(item["operation"], item["outcome"]) for item in entries}
    assert {("apps.push", "ok"), ("apps.git-refs", "refused")} <= found
    assert copy.secret not in json.dumps(entries) + host.log("pushed", 1) + host.node.output
    host.settled("pushed")
    host.remove("pushed")
    copy.git("ls-remote", "node", status=128)
