"""Images and builds are the same in the engine in memory and in Podman."""

from __future__ import annotations

from pathlib import Path

import pytest

from covey.apps.containers import BuildRequest, ContainerSpec
from covey.errors import ConflictError, CoveyError, NotFoundError
from covey.testing.memory_container import Behaviour
from covey.testing.memory_containers import MemoryContainers
from tests.engines.containers.conftest import OpenLaboratory
from tests.engines.containers.laboratories import NODE, Laboratory

BASE = "localhost/conform/base:1"
BUILT = "localhost/conform/built:1"


async def build(lab: Laboratory, text: str, tag: str = BUILT, **options: object) -> list[str]:
    said: list[str] = []
    if isinstance(lab.engine, MemoryContainers) and "exit 9" in text:
        lab.engine.script_build(tag, Behaviour(build_error="exit status 9"))
    request = BuildRequest(lab.directory, tag, NODE, dockerfile_text=text, **options)  # type: ignore[arg-type]
    await lab.engine.build(request, said.append)
    return said


async def test_a_build_makes_an_image_with_labels_and_tells_its_lines(laboratory: OpenLaboratory):
    async with laboratory() as lab:
        base = await lab.image(BASE, Behaviour(serves=8080))
        said = await build(lab, f"FROM {base}\nLABEL a=b\n")
        assert any(f"FROM {base}" in line for line in said)
        image = await lab.engine.image(BUILT)
        assert image is not None
        assert image.tags == (BUILT,)
        assert image.labels.items() >= NODE.items()
        assert image.size_bytes > 0
        assert 8080 in image.exposed_ports
        assert await lab.engine.image(image.id) == image
        [listed] = await lab.engine.list_images(NODE)
        assert (listed.id, listed.tags, listed.labels) == (image.id, image.tags, image.labels)
        assert listed.created.replace(microsecond=0) == image.created.replace(microsecond=0)
        assert listed.size_bytes > 0


async def test_a_failed_build_says_why_and_makes_no_image(laboratory: OpenLaboratory):
    async with laboratory() as lab:
        base = await lab.image(BASE, Behaviour())
        with pytest.raises(CoveyError, match=r"(status|code:?) 9"):
            await build(lab, f"FROM {base}\nRUN exit 9\n")
        assert await lab.engine.image(BUILT) is None
        assert await lab.engine.list_images(NODE) == []


async def test_a_build_without_its_dockerfile_is_not_found(
    laboratory: OpenLaboratory, tmp_path: Path
):
    async with laboratory() as lab:
        with pytest.raises(NotFoundError, match="Dockerfile"):
            await lab.engine.build(BuildRequest(tmp_path, BUILT, NODE), lambda _: None)


async def test_a_new_build_takes_the_tag_and_the_old_image_stays(laboratory: OpenLaboratory):
    async with laboratory() as lab:
        base = await lab.image(BASE, Behaviour())
        await build(lab, f"FROM {base}\nLABEL version=1\n")
        old = await lab.engine.image(BUILT)
        await build(lab, f"FROM {base}\nLABEL version=2\n")
        new = await lab.engine.image(BUILT)
        assert old is not None
        assert new is not None
        assert old.id != new.id
        still = await lab.engine.image(old.id)
        assert still is not None
        assert still.tags == ()


async def test_tags_come_and_go(laboratory: OpenLaboratory):
    async with laboratory() as lab:
        tag = await lab.image(BASE, Behaviour())
        await lab.engine.tag_image(tag, "localhost/conform/other:2")
        image = await lab.engine.image(tag)
        assert image is not None
        assert set(image.tags) == {tag, "localhost/conform/other:2"}
        with pytest.raises(ConflictError):
            await lab.engine.remove_image(image.id)
        await lab.engine.remove_image(tag)
        assert await lab.engine.image(tag) is None
        left = await lab.engine.image("localhost/conform/other:2")
        assert left is not None
        assert left.id == image.id
        await lab.engine.remove_image(image.id)
        await lab.engine.remove_image(image.id)
        await lab.engine.remove_image(tag)
        assert await lab.engine.image(image.id) is None
        with pytest.raises(NotFoundError):
            await lab.engine.tag_image(tag, BUILT)


async def test_an_image_in_use_stays(laboratory: OpenLaboratory):
    async with laboratory() as lab:
        tag = await lab.image(BASE, Behaviour())
        image = await lab.engine.image(tag)
        assert image is not None
        container = await lab.engine.create(ContainerSpec("user", tag, NODE))
        for reference in (image.id, tag):
            with pytest.raises(ConflictError):
                await lab.engine.remove_image(reference)
        assert await lab.engine.image(tag) == image
        await lab.engine.remove(container)
        await lab.engine.remove_image(image.id)
        assert await lab.engine.image(tag) is None


async def test_pulling_what_is_local_needs_no_registry(laboratory: OpenLaboratory):
    async with laboratory() as lab:
        tag = await lab.image(BASE, Behaviour())
        image = await lab.engine.image(tag)
        assert image is not None
        assert await lab.engine.pull(tag, lambda _: None) == image.id
        with pytest.raises(CoveyError, match="nothing"):
            await lab.engine.pull("localhost/conform/nothing:1", lambda _: None)


async def test_the_base_must_be_there(laboratory: OpenLaboratory):
    async with laboratory() as lab:
        with pytest.raises(CoveyError, match="absent"):
            await build(lab, "FROM localhost/conform/absent:1\n")
