"""What apps leave behind is removed, and nothing that is needed."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path

from covey.apps.deployments import Deployments
from covey.apps.model import App, Deployment, DeploymentState, Trigger
from covey.apps.pushes import Pushes
from covey.apps.records import AppRecords
from covey.apps.source_upkeep import SourceUpkeep
from covey.apps.sources import UploadSource
from covey.apps.uploads import Uploads
from covey.store.api import NodeId
from covey.testing.memory_log import MemoryLog
from tests.store.store_nodes import StoreNode

NOW = datetime(2026, 1, 1, tzinfo=UTC)


class Site:
    """A node's records and directories."""

    def __init__(self, top: Path, store: StoreNode) -> None:
        self.node = NodeId("0" * 32)
        self.records = AppRecords(store.records)
        self.deployments = Deployments(MemoryLog())
        self.uploads_dir, self.repositories = top / "uploads", top / "repositories"
        self.uploads = Uploads(self.uploads_dir, 1 << 20, unpacker=None)  # type: ignore[arg-type]
        pushes = Pushes(self.repositories, None, None)  # type: ignore[arg-type]
        self.upkeep = SourceUpkeep(self.node, store.records, self.deployments, self.uploads, pushes)

    async def app(self, name: str, upload: str = "") -> App:
        source = UploadSource(upload) if upload else None
        return await self.records.create(App(name, self.node, name, "production", NOW, source))

    async def deployed(self, app: str, number: int, upload: str) -> Deployment:
        state = DeploymentState.SUCCEEDED
        made = Deployment(app, number, Trigger.DEPLOY, state, NOW, "ada", UploadSource(upload))
        await self.deployments.put(made)
        return made

    def keep(self, app: str, upload: str) -> Path:
        path = self.uploads_dir / app / f"{upload}.tar.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
        os.utime(path, (time.time() - 7200,) * 2)
        return path

    def repository(self, app: str) -> Path:
        path = self.repositories / f"{app}.git"
        (path / "refs").mkdir(parents=True)
        return path


def on_site(top: Path, work: Callable[[Site], Awaitable[None]]) -> None:
    async def whole() -> None:
        await work(Site(top, await StoreNode("frigg").start()))

    asyncio.run(whole())


def test_what_was_kept_for_an_app_goes_with_it(tmp_path: Path) -> None:
    async def work(site: Site) -> None:
        await site.app("shop")
        await site.app("blog")
        kept = [site.keep("blog", "b" * 32), site.repository("blog")]
        gone = [site.keep("shop", "a" * 32), site.repository("shop")]
        orphan = site.repository("crashed")
        site.upkeep.start()
        assert not orphan.exists()
        await site.records.remove("shop")
        assert [path.exists() for path in gone] == [False, False]
        assert kept[1].exists()
        assert list(site.repositories.iterdir()) == [kept[1]]
        site.upkeep.stop()

    on_site(tmp_path, work)


def test_old_uploads_are_pruned_when_a_deployment_ends(tmp_path: Path) -> None:
    async def work(site: Site) -> None:
        ids = [f"{number:032x}" for number in range(8)]
        await site.app("shop", upload=ids[0])
        paths = [site.keep("shop", upload) for upload in ids]
        site.upkeep.start()
        assert [path.exists() for path in paths] == [True] + [False] * 7
        paths = [site.keep("shop", upload) for upload in ids]
        for number, upload in enumerate(ids[1:7], start=1):
            ended = await site.deployed("shop", number, upload)
        site.upkeep.ended(ended)
        await asyncio.sleep(0)
        assert [path.exists() for path in paths] == [True, False] + [True] * 5 + [False]
        site.upkeep.stop()

    on_site(tmp_path, work)
