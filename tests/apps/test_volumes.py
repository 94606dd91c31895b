"""Volumes that apps left are listed and removed; those in use, and those of others, stay."""

from __future__ import annotations

import pytest

from covey.apps.layout import Naming
from covey.apps.volumes import list_volumes, remove_volume
from covey.errors import ConflictError, NotFoundError
from tests.apps.laboratory import Laboratory
from tests.fleet.token_store import HERE

VOLUMES = [{"name": "data", "path": "/data"}]


async def test_a_volume_that_an_app_left_is_found_and_removed(lab: Laboratory):
    lab.version("v1", volumes=VOLUMES)
    await lab.deploy("shop", "v1")
    await lab.engine.create_volume("covey-000000-shop.data2", {"of": "somebody else"})
    [volume] = await list_volumes(lab.hosting)
    assert (volume.app, volume.name, volume.used) == ("shop", "data", True)
    with pytest.raises(ConflictError, match="shop uses its volume data"):
        await remove_volume(lab.hosting, "shop", "data")
    await lab.apps.destroy(lab.app("shop"), volumes=False)
    [volume] = await list_volumes(lab.hosting)
    assert not volume.used
    for name in ("data2", "nothing"):
        with pytest.raises(NotFoundError):
            await remove_volume(lab.hosting, "shop", name)
    await remove_volume(lab.hosting, "shop", "data")
    assert await list_volumes(lab.hosting) == []
    assert await lab.engine.list_volumes({}) == ["covey-000000-shop.data2"]


async def test_a_volume_that_the_newest_version_does_not_name_may_go(lab: Laboratory):
    lab.version("v1", volumes=VOLUMES)
    await lab.deploy("shop", "v1")
    await lab.apps.stop(lab.app("shop"))
    with pytest.raises(ConflictError):
        await remove_volume(lab.hosting, "shop", "data")
    lab.version("v2")
    await lab.deploy("shop", "v2")
    await lab.settled()
    await remove_volume(lab.hosting, "shop", "data")
    assert await list_volumes(lab.hosting) == []


def test_a_volume_tells_its_app() -> None:
    naming = Naming(HERE)
    assert naming.read_volume(naming.volume("shop", "data")) == ("shop", "data")
    for name in ("data", "covey-000000-shop", "covey-111111-shop.data"):
        assert naming.read_volume(name) is None
