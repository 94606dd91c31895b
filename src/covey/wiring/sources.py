"""Where apps' files come from on this node: git servers, uploads, pushes; libgit2 comes late."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from covey.apps.deployments import Deployments
from covey.apps.fetching import Sources
from covey.apps.host_keys import KnownHosts
from covey.apps.keys import DeployKeys
from covey.apps.push_deployments import PushDeployments
from covey.apps.pushes import Pushes
from covey.apps.service import Apps
from covey.apps.source_upkeep import SourceUpkeep
from covey.apps.uploads import Uploads
from covey.engines.git.serving import GitPrograms
from covey.engines.trees import TreeLimits
from covey.paths import Paths
from covey.settings import Settings
from covey.store.api import NodeId, RecordStore
from covey.store.ports import LocalState
from covey.wiring.on_demand import OnDemand

if TYPE_CHECKING:
    from covey.engines.archives import Archives
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


def make_sources(
    paths: Paths, settings: Settings, local: LocalState, records: RecordStore
) -> AppSources:
    """Put the sources of apps together, and remove what was left half done."""
    directory = Path(paths.data_dir) / "apps"
    hosts = KnownHosts(local)
    keys = DeployKeys(records)
    limits = TreeLimits(bytes=_UNPACKED * settings.apps.max_upload)
    archives = OnDemand(lambda: _make_archives(limits)).stand_in()
    uploads = Uploads(directory / "uploads", settings.apps.max_upload, archives)
    uploads.clean()
    repositories = directory / "repositories"
    schemes = settings.apps.git_schemes
    git = OnDemand(lambda: _make_git(directory / "mirrors", hosts, keys, schemes)).stand_in()
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


def _make_archives(limits: TreeLimits) -> Archives:
    from covey.engines.archives import Archives

    return Archives(limits)


def _make_git(
    mirrors: Path, hosts: KnownHosts, keys: DeployKeys, schemes: tuple[str, ...]
) -> GitFetcher:
    from covey.engines.git.fetcher import GitFetcher

    return GitFetcher(mirrors, hosts, keys, schemes)
