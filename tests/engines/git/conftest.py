"""A fetcher with fresh caches, and servers to fetch from."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pygit2
import pytest

from covey.apps.host_keys import KnownHosts
from covey.apps.key_model import Credential
from covey.apps.sources import Fetched, GitSource
from covey.engines.git.fetcher import GitFetcher, GitLimits
from covey.errors import NotFoundError
from covey.testing.memory_log import MemoryLog
from tests.engines.git.servers import (
    Authority,
    HttpGit,
    Repository,
    http_git,
    make_authority,
    make_repository,
)


@dataclass
class Keys:
    """Implements `Credentials`."""

    held: dict[str, Credential] = field(default_factory=dict)

    def credential(self, name: str) -> Credential:
        if name not in self.held:
            raise NotFoundError(f"There is no key {name}.")
        return self.held[name]


@dataclass
class Fetching:
    """One node's fetching, and what it logged."""

    directory: Path
    keys: Keys = field(default_factory=Keys)
    lines: list[str] = field(default_factory=list)
    schemes: tuple[str, ...] = ("file",)
    limits: GitLimits = field(default_factory=GitLimits)

    def __post_init__(self) -> None:
        self.hosts = KnownHosts(MemoryLog())
        self.fetcher = GitFetcher(
            self.directory / "mirrors", self.hosts, self.keys, self.schemes, self.limits
        )
        self.into = self.directory / "into"

    def resolve(self, source: GitSource) -> GitSource:
        return asyncio.run(self.fetcher.resolve(source))

    def fetch(self, source: GitSource) -> Fetched:
        return asyncio.run(self.fetcher.fetch(source, self.into, self.lines.append))

    def files(self) -> dict[str, str]:
        return {
            str(path.relative_to(self.into)): path.read_text()
            for path in sorted(self.into.rglob("*"))
            if path.is_file() and not path.is_symlink()
        }


@pytest.fixture
def fetching(tmp_path: Path) -> Fetching:
    return Fetching(tmp_path / "node")


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return make_repository(tmp_path / "served" / "shop")


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    found = make_authority(tmp_path_factory.mktemp("authority"))
    pygit2.settings.set_ssl_cert_locations(str(found.certificate), None)
    return found


@pytest.fixture
def https(repository: Repository, authority: Authority) -> Iterator[HttpGit]:
    with http_git(repository.path.parent, authority) as server:
        yield server
