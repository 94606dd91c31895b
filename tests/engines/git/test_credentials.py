"""Keys and trust: SSH by sshd itself, tokens over HTTPS, host keys, redirects."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from covey.apps.key_model import Token
from covey.apps.keys import DeployKey, DeployKeys
from covey.apps.sources import GitSource
from covey.errors import RefusedError
from tests.engines.git.conftest import Fetching
from tests.engines.git.servers import HttpGit, Repository, http_git, make_repository
from tests.store.store_nodes import StoreNode
from tests.system.sshd import SshServer, ssh_server


@pytest.fixture
def ssh(tmp_path: Path) -> Iterator[SshServer]:
    with ssh_server(tmp_path / "sshd") as server:
        yield server


def let_in(fetching: Fetching, ssh: SshServer, name: str = "deploy") -> None:
    """Have Covey make a key, and paste it where the forge would keep it."""

    async def make() -> DeployKey:
        node = await StoreNode("frigg").start()
        keys = DeployKeys(node.records)
        made = await keys.create(name, "ada")
        fetching.keys.held[name] = keys.credential(name)
        return made

    made = asyncio.run(make())
    assert made.public.startswith("ssh-ed25519 ")
    (ssh.directory / "authorized").write_text(made.public + "\n")


def ssh_source(ssh: SshServer, repository: Repository, key: str = "deploy") -> GitSource:
    return GitSource(f"ssh://{ssh.address}{repository.path}", key=key)


def test_a_deploy_key_made_by_covey_opens_a_repository_over_ssh(
    fetching: Fetching, ssh: SshServer, repository: Repository
) -> None:
    let_in(fetching, ssh)
    commit = repository.commit({"a": "1"})
    fetched = fetching.fetch(ssh_source(ssh, repository))
    assert (fetched.commit, fetching.files()) == (commit, {"a": "1"})
    assert any("is new" in line and "SHA256:" in line for line in fetching.lines)
    listed = subprocess.run(
        ["ssh-keygen", "-lf", ssh.directory / "host.pub"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert [key.fingerprint for key in fetching.hosts.all()] == [listed.split()[1]]


def test_another_key_is_refused(fetching: Fetching, ssh: SshServer, repository: Repository) -> None:
    repository.commit({"a": "1"})
    let_in(fetching, ssh)
    let_in(fetching, ssh, "other")
    with pytest.raises(RefusedError, match="does not take the key"):
        fetching.fetch(ssh_source(ssh, repository))
    with pytest.raises(RefusedError, match="asks for a key"):
        fetching.fetch(ssh_source(ssh, repository, key=""))


def test_a_changed_host_key_is_refused_until_it_is_forgotten(
    fetching: Fetching, tmp_path: Path, repository: Repository
) -> None:
    repository.commit({"a": "1"})
    with ssh_server(tmp_path / "first") as first:
        let_in(fetching, first)
        source = ssh_source(first, repository)
        fetching.fetch(source)
    again = Fetching(tmp_path / "again", keys=fetching.keys)
    with ssh_server(tmp_path / "second") as second:
        shutil.copy(tmp_path / "first" / "authorized", tmp_path / "second" / "authorized")
        again.hosts._known = {
            f"127.0.0.1:{second.port}": fetching.hosts.all()[0],
        }
        source = ssh_source(second, repository)
        with pytest.raises(RefusedError, match="another SSH host key") as caught:
            again.fetch(source)
        assert f"forget-host 127.0.0.1:{second.port}" in str(caught.value.hint)
        assert asyncio.run(again.hosts.forget(f"127.0.0.1:{second.port}"))
        again.fetch(source)


def test_a_private_repository_needs_its_token(
    fetching: Fetching, https: HttpGit, repository: Repository
) -> None:
    repository.commit({"a": "1"})
    https.token = "hunter2-token"
    place = f"127.0.0.1:{https.port}"
    with pytest.raises(RefusedError, match="asks for a key"):
        fetching.fetch(GitSource(f"{https.base}/shop"))
    fetching.keys.held["right"] = Token(place, "x", "hunter2-token")
    fetching.keys.held["wrong"] = Token(place, "x", "no")
    fetching.keys.held["other"] = Token("example.org", "x", "hunter2-token")
    fetching.fetch(GitSource(f"{https.base}/shop", key="right"))
    assert fetching.files() == {"a": "1"}
    for name, what in (("wrong", "does not take the key"), ("other", "not sent to")):
        with pytest.raises(RefusedError, match=what):
            fetching.fetch(GitSource(f"{https.base}/shop", key=name))
    kept = b"".join(p.read_bytes() for p in fetching.directory.rglob("*") if p.is_file())
    assert b"hunter2" not in kept
    assert "hunter2" not in "".join(fetching.lines)


def test_what_a_key_has_fetched_is_not_given_to_those_without(
    fetching: Fetching, https: HttpGit, repository: Repository
) -> None:
    commit = repository.commit({"a": "1"})
    https.token = "t"
    fetching.keys.held["right"] = Token(f"127.0.0.1:{https.port}", "x", "t")
    fetching.fetch(GitSource(f"{https.base}/shop", key="right"))
    with pytest.raises(RefusedError):
        fetching.fetch(GitSource(f"{https.base}/shop", commit=commit))


def test_a_token_does_not_follow_a_redirect(
    fetching: Fetching, https: HttpGit, repository: Repository, authority: object
) -> None:
    repository.commit({"a": "1"})
    with http_git(https.root, authority) as thief:  # type: ignore[arg-type]
        https.redirect = thief.base
        fetching.fetch(GitSource(f"{https.base}/shop"))
        assert fetching.files() == {"a": "1"}
        thief.token = "asked"
        fetching.keys.held["right"] = Token(f"127.0.0.1:{https.port}", "x", "t")
        repository.commit({"a": "2"})
        with pytest.raises(RefusedError, match="not sent to"):
            fetching.fetch(GitSource(f"{https.base}/shop", key="right"))


def test_a_submodule_elsewhere_does_not_get_the_token(
    fetching: Fetching, https: HttpGit, repository: Repository, authority: object
) -> None:
    library = make_repository(https.root / "lib")
    library.commit({"b": "2"})
    with http_git(https.root, authority) as thief:  # type: ignore[arg-type]
        thief.token = "asked"
        repository.git("submodule", "add", "-q", str(library.path), "lib")
        url = f"{thief.base}/lib"
        repository.git("config", "-f", ".gitmodules", "submodule.lib.url", url)
        repository.commit({"a": "1"})
        fetching.keys.held["right"] = Token(f"127.0.0.1:{https.port}", "x", "t")
        with pytest.raises(RefusedError, match="not sent to"):
            fetching.fetch(GitSource(f"{https.base}/shop", key="right"))
