"""Where apps' files come from on this node: git servers, uploads, pushes; libgit2 comes late."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from covey.apps.containers import Log
from covey.apps.deployments import Deployments
from covey.apps.fetching import Sources
from covey.apps.host_keys import KnownHosts
from covey.apps.keys import DeployKeys
from covey.apps.push_deployments import PushDeployments
from covey.apps.pushes import Pushes
from covey.apps.service import Apps
from covey.apps.source_upkeep import SourceUpkeep
from covey.apps.sources import Fetched, GitSource
from covey.apps.uploads import Uploads
from covey.engines.git.serving import GitPrograms
from covey.engines.trees import TreeLimits
from covey.paths import Paths
from covey.settings import Settings
from covey.store.api import NodeId, RecordStore
from covey.store.ports import LocalState

if TYPE_CHECKING:
    from covey.engines.git.fetcher import GitFetcher

_UNPACKED = 8
"""How many times its packed size limit an upload may have, unpacked."""


@dataclass(frozen=True, slots=True)
class AppSources:
    """What the apps use; `repositories` holds the bare repository of each app, as APP.git."""

    fetcher: Sources
    uploads: Uploads
    keys: DeployKeys
    hosts: KnownHosts
    repositories: Path


class ArchivesOnDemand:
    """Implements `Unpacker`; what reads archives is loaded with the first one."""

    def __init__(self, limits: TreeLimits) -> None:
        self._limits = limits

    async def unpack(self, archive: Path, into: Path, log: Log) -> None:
        """Write an archive's files into a directory."""
        from covey.engines.archives import Archives

        await Archives(self._limits).unpack(archive, into, log)


class GitOnDemand:
    """Implements `GitPort`; libgit2 is loaded with the first fetch."""

    def __init__(
        self, directory: Path, hosts: KnownHosts, keys: DeployKeys, schemes: tuple[str, ...]
    ) -> None:
        self._directory = directory
        self._hosts = hosts
        self._keys = keys
        self._schemes = schemes
        self._made: GitFetcher | None = None

    @property
    def _engine(self) -> GitFetcher:
        if self._made is None:
            from covey.engines.git.fetcher import GitFetcher

            self._made = GitFetcher(self._directory, self._hosts, self._keys, self._schemes)
        return self._made

    async def resolve(self, source: GitSource) -> GitSource:
        """Return the source with its commit."""
        return await self._engine.resolve(source)

    async def fetch(self, source: GitSource, into: Path, log: Log) -> Fetched:
        """Write a source's files into an empty directory."""
        return await self._engine.fetch(source, into, log)

    async def export(
        self, repository: Path, commit: str, subdirectory: str, into: Path, log: Log
    ) -> Fetched:
        """Write the files of a commit of a bare repository."""
        return await self._engine.export(repository, commit, subdirectory, into, log)


def make_sources(
    paths: Paths, settings: Settings, local: LocalState, records: RecordStore
) -> AppSources:
    """Put the sources of apps together, and remove what was left half done."""
    directory = Path(paths.data_dir) / "apps"
    hosts = KnownHosts(local)
    keys = DeployKeys(records)
    limits = TreeLimits(bytes=_UNPACKED * settings.apps.max_upload)
    uploads = Uploads(directory / "uploads", settings.apps.max_upload, ArchivesOnDemand(limits))
    uploads.clean()
    repositories = directory / "repositories"
    git = GitOnDemand(directory / "mirrors", hosts, keys, settings.apps.git_schemes)
    return AppSources(Sources(git, uploads, repositories), uploads, keys, hosts, repositories)


def make_pushes(sources: AppSources, apps: Apps, settings: Settings) -> Pushes:
    """Serve the apps' repositories: what is pushed to an app's branch is deployed."""
    host = GitPrograms(settings.apps.max_upload)
    return Pushes(sources.repositories, host, PushDeployments(apps))


def make_upkeep(
    sources: AppSources,
    pushes: Pushes,
    node: NodeId,
    records: RecordStore,
    deployments: Deployments,
) -> SourceUpkeep:
    """Have uploads and repositories removed once nothing needs them."""
    return SourceUpkeep(node, records, deployments, sources.uploads, pushes)
