"""What nothing needs is removed: images of broken builds, tags of fetched images; no one else's."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from covey.apps.config.load import AppFile
from covey.apps.config.model import AppConfig
from covey.apps.deployments import Deployments
from covey.apps.layout import Naming, Places
from covey.apps.model import App, Built, Deployment, DeploymentState, Release, Trigger
from covey.apps.records import AppRecords
from covey.apps.sweep import Sweep
from covey.testing.memory_container import Behaviour
from covey.testing.memory_containers import MemoryContainers
from covey.testing.memory_log import MemoryLog
from tests.apps.laboratory import Laboratory, hold
from tests.fleet.token_store import HERE, MemoryRecords
from tests.waiting import until

NOW = datetime(2026, 1, 1, tzinfo=UTC)
NAMING = Naming(HERE)
OTHER = Naming("f" * 32)  # type: ignore[arg-type]


class Node:
    """One app's records, an engine, and the sweep of both."""

    def __init__(self, directory: Path, keep: int = 2) -> None:
        self.engine = MemoryContainers()
        self.records = AppRecords(MemoryRecords())
        self.deployments = Deployments(MemoryLog())
        places = Places(directory / "builds", directory / "sites")
        self.sweep = Sweep(
            self.engine, self.deployments, self.records, NAMING, places, keep, lambda _: False
        )

    async def app(self) -> None:
        await self.records.create(App("shop", HERE, "shop", "production", NOW))

    def image(self, number: int, tag: str = "", naming: Naming = NAMING) -> str:
        """An image that was built for a deployment."""
        name = tag or naming.image("shop", number)
        return self.engine.add_image(name, Behaviour(), naming.labels("shop", number))

    async def deployed(
        self, number: int, image: str, state: DeploymentState = DeploymentState.SUCCEEDED
    ) -> None:
        release = Release(Built(image=image), number, AppFile(), AppConfig(), 8080)
        made = Deployment("shop", number, Trigger.DEPLOY, state, NOW, "ada", release=release)
        await self.deployments.put(made)

    async def there(self) -> set[str]:
        return {image.id for image in await self.engine.list_images({})}


def test_an_image_of_a_build_that_was_done_again_goes(tmp_path: Path) -> None:
    async def run() -> None:
        node = Node(tmp_path)
        await node.app()
        broken_off = node.image(1, "localhost/dangling:1")
        used = node.image(1)
        await node.deployed(1, used)
        await node.sweep.run()
        assert await node.there() == {used}
        assert broken_off != used

    asyncio.run(run())


def test_what_a_running_deployment_has_built_stays(tmp_path: Path) -> None:
    async def run() -> None:
        node = Node(tmp_path)
        await node.app()
        image = node.image(1)
        made = Deployment("shop", 1, Trigger.DEPLOY, DeploymentState.RUNNING, NOW, "ada")
        await node.deployments.put(made)
        await node.sweep.run()
        assert await node.there() == {image}
        await node.deployments.put(msgspec.structs.replace(made, state=DeploymentState.FAILED))
        await node.sweep.run()
        assert await node.there() == set()

    asyncio.run(run())


def test_the_earlier_stages_of_the_newest_build_stay_for_the_next_one(tmp_path: Path) -> None:
    async def run() -> None:
        node = Node(tmp_path)
        await node.app()
        stages, images = [], []
        for number in (1, 2, 3):
            labels = NAMING.build_labels("shop", number)
            for made in (stages, images):  # the image itself takes the tag over
                name = NAMING.image("shop", number)
                made.append(node.engine.add_image(name, Behaviour(), labels))
        await node.deployed(1, images[0])
        await node.deployed(2, images[1])
        await node.deployed(3, "", DeploymentState.FAILED)
        await node.sweep.run()
        assert await node.there() == {images[0], images[1], stages[1]}
        await node.records.remove("shop")
        await node.sweep.run()
        assert await node.there() == set()

    asyncio.run(run())


def test_of_old_versions_so_many_are_kept(tmp_path: Path) -> None:
    async def run() -> None:
        node = Node(tmp_path, keep=2)
        await node.app()
        images = [node.image(number) for number in (1, 2, 3)]
        for number, image in enumerate(images, 1):
            await node.deployed(number, image)
        await node.sweep.run()
        assert await node.there() == set(images[1:])

    asyncio.run(run())


def test_a_fetched_image_loses_our_tag_alone(tmp_path: Path) -> None:
    async def run() -> None:
        node = Node(tmp_path)
        node.engine.add_image("docker.io/library/redis:7", Behaviour())
        await node.engine.tag_image("docker.io/library/redis:7", NAMING.image("cache", 4))
        node.engine.add_image("docker.io/library/mysql:9", Behaviour())
        await node.engine.tag_image("docker.io/library/mysql:9", OTHER.image("cache", 4))
        await node.sweep.run()
        tags = {tag for image in await node.engine.list_images({}) for tag in image.tags}
        assert tags == {
            "docker.io/library/redis:7",
            "docker.io/library/mysql:9",
            OTHER.image("cache", 4),
        }

    asyncio.run(run())


def test_images_of_another_node_stay(tmp_path: Path) -> None:
    async def run() -> None:
        node = Node(tmp_path)
        foreign = node.image(1, naming=OTHER)
        await node.sweep.run()
        assert await node.there() == {foreign}

    asyncio.run(run())


def test_a_tag_tells_its_app_and_number() -> None:
    assert NAMING.read_image(NAMING.image("shop", 12)) == ("shop", 12)
    for tag in ("", "localhost/shop:1", NAMING.image("shop", 1) + "x", NAMING.image("a:1", 2)):
        assert NAMING.read_image(tag) is None
    assert NAMING.read_image(OTHER.image("shop", 1)) is None


async def test_a_version_that_was_just_replaced_is_not_swept(lab: Laboratory):
    lab.version("v1")
    lab.version("v2")
    await lab.deploy("shop", "v1")
    gate = hold(lab.apps._retirements, "begin")
    asked = await lab.ask("shop", "v2")
    await until(lambda: lab.deployments.get("shop", 2).state is DeploymentState.SUCCEEDED)
    await lab.hosting.sweep.run()
    assert {name.split("-")[0] for name in await lab.names("shop")} == {"1", "2"}
    gate.set()
    await lab.ended(asked)
    await lab.settled()
    assert {name.split("-")[0] for name in await lab.names("shop")} == {"2"}
