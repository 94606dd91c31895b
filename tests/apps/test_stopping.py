"""Apps that rest and apps that go: nothing starts them again, and nothing of them is left."""

from __future__ import annotations

import asyncio

import pytest

from covey.apps.containers import ContainerSpec, ContainerStatus
from covey.apps.layout import pool_of
from covey.apps.model import DeploymentState
from covey.env.scope import Scope
from covey.errors import ConflictError, NotFoundError, UnreachableError
from tests.apps.laboratory import Laboratory, hold
from tests.waiting import until

VOLUMES = [{"name": "data", "path": "/data"}]


async def test_requests_under_way_end_before_an_app_stops(lab: Laboratory):
    lab.version("v1")
    await lab.deploy("shop", "v1")
    [address] = lab.proxy.pools[pool_of("shop")]
    lab.proxy.busy.add(address)
    stopping = asyncio.create_task(lab.apps.stop(lab.app("shop")))
    await until(lab.deployments.retiring)
    [route] = lab.routes.of("app/shop")
    assert getattr(route.target, "status", None) == 503
    [container] = await lab.containers("shop")
    assert container.status is ContainerStatus.RUNNING
    lab.proxy.busy.clear()
    await stopping
    assert await lab.containers("shop") == []
    assert lab.proxy.pools[pool_of("shop")] == ()


async def test_a_stop_during_a_deployment_is_not_undone_by_it(lab: Laboratory):
    for name in ("v1", "v2", "v3"):
        lab.version(name)
    await lab.deploy("shop", "v1")
    lab.versions.gate.clear()
    second = await lab.ask("shop", "v2")
    await until(lambda: "v2" in lab.versions.fetching)
    third = await lab.ask("shop", "v3")
    await lab.apps.stop(lab.app("shop"))
    lab.versions.gate.set()
    for item in (second, third):
        assert (await lab.ended(item)).state is DeploymentState.CANCELLED
    await lab.node.reconciler.run()
    assert lab.app("shop").stopped
    assert await lab.containers("shop") == []


async def test_what_is_scaled_while_it_is_stopped_stays_stopped(lab: Laboratory):
    lab.version("v1")
    await lab.deploy("shop", "v1")
    await lab.apps.stop(lab.app("shop"))
    assert await lab.apps.scale(lab.app("shop"), {"web": 2}, "a test") is None
    await lab.node.reconciler.run()
    assert await lab.containers("shop") == []
    await lab.ended(await lab.apps.start(lab.app("shop"), "a test"))
    await lab.settled()
    assert await lab.names("shop") == ["2-web-0", "2-web-1"]
    assert not lab.app("shop").stopped


async def test_a_stop_that_was_broken_off_is_carried_through(lab: Laboratory):
    lab.version("v1")
    await lab.deploy("shop", "v1")
    put = lab.routes.put

    async def away(*_: object) -> None:
        raise UnreachableError("The proxy does not answer.")

    lab.routes.put = away  # type: ignore[method-assign]
    with pytest.raises(UnreachableError):
        await lab.apps.stop(lab.app("shop"))
    lab.routes.put = put  # type: ignore[method-assign]
    await lab.restart()
    await until(lambda: _has(lab, 0))
    [route] = lab.routes.of("app/shop")
    assert getattr(route.target, "status", None) == 503


async def test_a_retirement_goes_on_after_a_restart(lab: Laboratory):
    lab.version("v1")
    lab.version("v2")
    await lab.deploy("shop", "v1")
    [address] = lab.proxy.pools[pool_of("shop")]
    lab.proxy.busy.add(address)
    await lab.deploy("shop", "v2")
    assert lab.deployments.retiring() == [("shop", 1)]
    await lab.restart()
    assert await lab.names("shop") == ["1-web-0", "2-web-0"]
    lab.proxy.busy.clear()
    await lab.settled()
    assert await lab.names("shop") == ["2-web-0"]
    assert await lab.get("shop") == "v2"


async def test_versions_that_drain_do_not_keep_deployments_waiting(lab: Laboratory):
    lab.version("v1", deploy={"drain": "1h"})
    lab.version("v2", deploy={"drain": "1h"})
    for number in range(9):
        await lab.deploy(f"app{number}", "v1")
        lab.proxy.busy.update(lab.proxy.pools[pool_of(f"app{number}")])
        await lab.deploy(f"app{number}", "v2")
    assert len(lab.deployments.retiring()) == 9
    assert (await lab.deploy("app0", "v1")).state is DeploymentState.SUCCEEDED


async def test_nothing_is_left_of_an_app_that_is_destroyed(lab: Laboratory):
    lab.version("v1", volumes=VOLUMES, cron={"report": {"schedule": "@daily", "command": "r"}})
    await lab.set(Scope.of_app("shop"), "TOKEN", "s3cret-value")
    await lab.deploy("shop", "v1")
    deployment = lab.deployments.get("shop", 1)
    labels = lab.hosting.here.naming.container_labels("shop", 1, "run.x12345678", 0)
    image = (deployment.release or pytest.fail("no release")).built.image
    await lab.engine.create(ContainerSpec("a-session", image, labels))
    await lab.apps.destroy(lab.app("shop"), volumes=True)
    await _assert_nothing_left(lab)
    assert lab.env.records.get(Scope.of_app("shop"), "TOKEN") is None
    left = [key for key, _ in lab.local.survivors()._local.items() if "shop" in key[1]]
    assert left == [("apps.counts", "shop")]


async def test_a_stopped_app_leaves_no_pool(lab: Laboratory):
    lab.version("v1")
    await lab.deploy("shop", "v1")
    await lab.apps.stop(lab.app("shop"))
    await lab.apps.destroy(lab.app("shop"), volumes=False)
    assert lab.proxy.pools == {}
    await _assert_nothing_left(lab)


async def test_volumes_stay_unless_they_are_asked_for(lab: Laboratory):
    lab.version("v1", volumes=VOLUMES)
    await lab.deploy("shop", "v1")
    assert await lab.apps.destroy(lab.app("shop"), volumes=False) == ["data"]
    assert await lab.engine.list_volumes({}) == ["covey-000000-shop.data"]


async def test_the_last_app_may_be_destroyed_by_a_daemon_that_is_killed(lab: Laboratory):
    lab.version("v1")
    await lab.deploy("shop", "v1")
    hold(lab.hosting.sweep, "run")
    destroying = asyncio.create_task(lab.apps.destroy(lab.app("shop"), volumes=False))
    await until(lambda: not lab.apps.records.all())
    destroying.cancel()
    await asyncio.gather(destroying, return_exceptions=True)
    await lab.restart()
    await until(lambda: not lab.deployments.unswept())
    await _assert_nothing_left(lab)


async def test_an_engine_that_is_away_does_not_leave_half_an_app(lab: Laboratory):
    lab.version("v1")
    await lab.deploy("shop", "v1")
    listed = lab.engine.list_containers

    async def away(_: object) -> None:
        raise UnreachableError("Podman does not answer.")

    lab.engine.list_containers = away  # type: ignore[method-assign, assignment]
    with pytest.raises(UnreachableError):
        await lab.apps.destroy(lab.app("shop"), volumes=False)
    lab.engine.list_containers = listed  # type: ignore[method-assign]
    await lab.apps.destroy(lab.app("shop"), volumes=False)
    await _assert_nothing_left(lab)


async def test_a_deployment_that_is_under_way_does_not_outlive_its_app(lab: Laboratory):
    lab.version("v1")
    lab.version("v2")
    await lab.deploy("shop", "v1")
    lab.versions.gate.clear()
    asked = await lab.ask("shop", "v2")
    await until(lambda: "v2" in lab.versions.fetching)
    await lab.apps.destroy(lab.app("shop"), volumes=False)
    lab.versions.gate.set()
    await lab.jobs.wait(asked.job)
    with pytest.raises(NotFoundError):
        lab.app("shop")
    await _assert_nothing_left(lab)


async def test_a_deployment_that_is_asked_for_meanwhile_does_not_bring_the_app_back(
    lab: Laboratory,
):
    lab.version("v1")
    lab.version("v2")
    await lab.deploy("shop", "v1")
    reached = asyncio.Event()
    gate = hold(lab.hosting.rollout, "remove_all", reached.set)
    destroying = asyncio.create_task(lab.apps.destroy(lab.app("shop"), volumes=False))
    await asyncio.wait_for(reached.wait(), 10)
    asked = await lab.ask("shop", "v2")
    await until(lambda: "v2" in lab.versions.fetching)
    gate.set()
    await destroying
    await lab.jobs.wait(asked.job)
    await _assert_nothing_left(lab)
    assert lab.deployments.of("shop") == []


async def test_an_app_that_is_not_deployed_cannot_stop(lab: Laboratory):
    await lab.apps.create("shop")
    with pytest.raises(ConflictError, match="not deployed yet"):
        await lab.apps.stop(lab.app("shop"))


async def _has(lab: Laboratory, count: int) -> bool:
    return len(await lab.containers("shop")) == count


async def _assert_nothing_left(lab: Laboratory) -> None:
    assert await lab.containers() == []
    assert await lab.engine.list_images({"covey.node": lab.hosting.here.naming.node}) == []
    assert await lab.engine.list_networks({}) == []
    assert lab.routes.all() == {}
    assert lab.proxy.pools == {}
    assert lab.jobs.schedules() == []
    assert lab.deployments.all_running() == {}
    directories = (lab.hosting.here.places.work, lab.hosting.here.places.static)
    assert [item for place in directories if place.is_dir() for item in place.iterdir()] == []
