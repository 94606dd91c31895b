"""Deployments that fail or are broken off: what serves then, and that nothing is left of them."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
from typing import Any

import msgspec
import pytest

from covey.apps.containers import ContainerSpec, ContainerState, ContainerStatus
from covey.apps.layout import pool_of
from covey.apps.model import Deployment, DeploymentState, Trigger
from covey.errors import CoveyError, StorageError, UnreachableError
from covey.testing.memory_container import MemoryCommand, Outcome
from covey.testing.memory_containers import Behaviour
from tests.apps.laboratory import Laboratory, hold
from tests.waiting import until

SUCCEEDED, FAILED = DeploymentState.SUCCEEDED, DeploymentState.FAILED
WATCHED = {"watch": "20s", "strategy": "blue-green"}


async def test_what_is_started_beside_a_replica_that_fails_is_ended_too(lab: Laboratory):
    lab.version("v1")
    assert (await lab.deploy("shop", "v1")).state is SUCCEEDED
    lab.broken("v2", deploy={"replicas": 4, "strategy": "blue-green"})
    create, slow = lab.engine.create, asyncio.Event()

    async def create_one_late(spec: ContainerSpec) -> str:
        if spec.labels["covey.slot"] == "3":
            await slow.wait()
        return await create(spec)

    lab.engine.create = create_one_late  # type: ignore[method-assign]
    failed = await lab.deploy("shop", "v2")
    slow.set()
    assert failed.state is FAILED
    await asyncio.sleep(0)
    assert await lab.names("shop") == ["1-web-0"]
    assert await lab.get("shop") == "v1"


async def test_with_recreate_never_two_versions_run_at_one_time(lab: Laboratory):
    both: list[list[str]] = []
    lab.version("v1", deploy={"strategy": "recreate"})
    lab.broken("v2", deploy={"strategy": "recreate"})
    await lab.deploy("shop", "v1")
    start = lab.engine.start

    async def noted(container: str) -> None:
        await start(container)
        running = ContainerStatus.RUNNING
        both.append([one.name for one in await lab.containers("shop") if one.status is running])

    lab.engine.start = noted  # type: ignore[method-assign]
    assert (await lab.deploy("shop", "v2")).state is FAILED
    assert await lab.get("shop") == "v1"
    assert [len(names) for names in both] == [1, 1]


async def test_requests_of_a_version_that_is_rolled_back_may_end(lab: Laboratory):
    lab.version("v1")
    lab.version("v2", Behaviour(serves=8080, body=b"v2"), deploy=WATCHED)
    await lab.deploy("shop", "v1")
    asked = await lab.ask("shop", "v2")
    await until(lambda: lab.deployments.running("shop").number == 2)  # type: ignore[union-attr]
    await until(lambda: "watch" in [step.name for step in lab.jobs.get(asked.job).steps])
    [address] = lab.proxy.pools[pool_of("shop")]
    lab.proxy.busy.add(address)
    await lab.jobs.cancel(asked.job)
    assert (await lab.ended(asked)).state is DeploymentState.CANCELLED
    assert await lab.get("shop") == "v1"
    assert await lab.names("shop") == ["1-web-0", "2-web-0"]
    lab.proxy.busy.clear()
    await lab.settled()
    assert await lab.names("shop") == ["1-web-0"]


async def test_a_version_that_dies_after_the_switch_is_rolled_back(lab: Laboratory):
    lab.version("v1")
    lab.version("v2", Behaviour(serves=8080, body=b"v2"), deploy=WATCHED)
    await lab.deploy("shop", "v1")
    asked = await lab.ask("shop", "v2")
    await until(lambda: "watch" in [step.name for step in lab.jobs.get(asked.job).steps])
    [new] = [one for one in await lab.containers("shop") if "-2-web" in one.name]
    await lab.engine.kill(new.id, "SIGKILL")
    ended = await lab.ended(asked)
    assert ended.state is DeploymentState.ROLLED_BACK
    assert "web.0 ended within 20 s of the switch" in ended.reason
    assert await lab.get("shop") == "v1"
    await lab.settled()
    assert await lab.names("shop") == ["1-web-0"]


async def test_an_engine_that_is_away_says_nothing_about_the_app(lab: Laboratory):
    lab.version("v1")
    lab.version("v2", deploy={"watch": "700ms"})
    await lab.deploy("shop", "v1")
    asked = await lab.ask("shop", "v2")
    await until(lambda: "watch" in [step.name for step in lab.jobs.get(asked.job).steps])
    inspect, away = lab.engine.inspect, [2]

    async def away_for_a_while(container: str) -> ContainerState | None:
        if away[0]:
            away[0] -= 1
            raise UnreachableError("Podman does not answer.")
        return await inspect(container)

    lab.engine.inspect = away_for_a_while  # type: ignore[method-assign]
    assert (await lab.ended(asked)).state is SUCCEEDED
    assert away == [0]


async def test_an_engine_that_is_away_fails_no_health_command(lab: Laboratory):
    ready = {("/bin/sh", "-c", "ready"): Outcome()}
    lab.version("v1")
    lab.version(
        "v2",
        Behaviour(serves=8080, body=b"v2", commands=ready),
        deploy={"watch": "20s", "healthcheck": {"command": "ready", "interval": "50ms"}},
    )
    await lab.deploy("shop", "v1")
    asked = await lab.ask("shop", "v2")
    await until(lambda: "watch" in [step.name for step in lab.jobs.get(asked.job).steps])
    execute, refused, answered = lab.engine.exec, [3], asyncio.Event()

    async def away_for_a_while(container: str, argv: tuple[str, ...]) -> MemoryCommand:
        if refused[0]:
            refused[0] -= 1
            raise UnreachableError("Podman does not answer.")
        answered.set()
        return await execute(container, argv)

    lab.engine.exec = away_for_a_while  # type: ignore[method-assign, assignment]
    await asyncio.wait_for(answered.wait(), 10)
    third = await lab.ask("shop", "v1")
    assert (await lab.ended(asked)).state is SUCCEEDED
    assert (await lab.ended(third)).state is SUCCEEDED


@pytest.mark.parametrize("moment", ["restore", "set_running", "remove"])
async def test_undoing_that_is_broken_off_goes_on_and_never_succeeds(lab: Laboratory, moment: str):
    lab.version("v1")
    lab.version("v2", deploy={"watch": "400ms", "strategy": "blue-green"})
    await lab.deploy("shop", "v1")
    asked = await lab.ask("shop", "v2")
    await until(lambda: "watch" in [step.name for step in lab.jobs.get(asked.job).steps])
    reached = asyncio.Event()
    target: Any = lab.deployments if moment == "set_running" else lab.hosting.rollout
    name = "retire" if moment == "remove" else moment
    hold(target, name, reached.set)
    [new] = [one for one in await lab.containers("shop") if "-2-web" in one.name]
    await lab.engine.kill(new.id, "SIGKILL")
    if moment == "remove":
        hold(lab.hosting.rollout, "remove", reached.set)
    await asyncio.wait_for(reached.wait(), 10)
    await lab.restart()
    ended = await lab.ended(lab.deployments.get("shop", 2))
    assert ended.state is DeploymentState.ROLLED_BACK
    assert await lab.get("shop") == "v1"
    await lab.settled()
    assert await lab.names("shop") == ["1-web-0"]


async def test_a_restored_version_is_not_retired_by_what_replaced_it(lab: Laboratory):
    """The daemon ends when the old version serves again and the new one still runs."""
    lab.version("v1")
    lab.version("v2", deploy=WATCHED)
    await lab.deploy("shop", "v1")
    asked = await lab.ask("shop", "v2")
    await until(lambda: "watch" in [step.name for step in lab.jobs.get(asked.job).steps])
    reached = asyncio.Event()
    hold(lab.hosting.rollout, "takes_requests", reached.set)
    cancelling = asyncio.create_task(lab.jobs.cancel(asked.job))
    await asyncio.wait_for(reached.wait(), 10)
    await lab.stop()
    await asyncio.gather(cancelling, return_exceptions=True)
    await lab.start()
    await until(lambda: lab.deployments.get("shop", 2).state.ended)
    assert lab.deployments.get("shop", 2).state is DeploymentState.CANCELLED
    assert await lab.get("shop") == "v1"
    await lab.settled()
    assert await lab.names("shop") == ["1-web-0"]


async def test_what_could_not_be_undone_is_undone_before_the_next_deployment(lab: Laboratory):
    lab.version("v1")
    lab.version("v2", deploy=WATCHED)
    lab.version("v3")
    await lab.deploy("shop", "v1")
    asked = await lab.ask("shop", "v2")
    await until(lambda: "watch" in [step.name for step in lab.jobs.get(asked.job).steps])
    restore = lab.hosting.rollout.restore

    async def away(*_: object) -> None:
        raise UnreachableError("Podman does not answer.")

    lab.hosting.rollout.restore = away  # type: ignore[method-assign]
    await lab.jobs.cancel(asked.job)
    assert lab.deployments.get("shop", 2).state is DeploymentState.RUNNING
    lab.hosting.rollout.restore = restore  # type: ignore[method-assign]
    third = await lab.deploy("shop", "v3")
    assert (third.state, third.replaces) == (SUCCEEDED, 1)
    assert lab.deployments.get("shop", 2).state is DeploymentState.CANCELLED
    await lab.node.reconciler.run()
    assert await lab.get("shop") == "v3"
    await lab.settled()
    assert await lab.names("shop") == ["3-web-0"]


async def test_an_old_attempt_that_is_settled_late_leaves_the_newer_version(lab: Laboratory):
    for name in ("v1", "v2", "v3"):
        lab.version(name)
    for name in ("v1", "v2"):
        await lab.deploy("shop", name)
    broken = lab.deployments.get("shop", 2)
    await lab.deploy("shop", "v3")
    await lab.deployments.put(
        msgspec.structs.replace(broken, state=DeploymentState.RUNNING, job="", ended=None)
    )
    await lab.node.reconciler.run()
    assert lab.deployments.get("shop", 2).state is FAILED
    assert await lab.get("shop") == "v3"


async def test_a_version_before_that_does_not_run_either_ends_the_attempt(lab: Laboratory):
    lab.version("v1", Behaviour(serves=8080, body=b"v1"))
    lab.version("v2", deploy=WATCHED)
    await lab.deploy("shop", "v1")
    asked = await lab.ask("shop", "v2")
    await until(lambda: "watch" in [step.name for step in lab.jobs.get(asked.job).steps])
    start = lab.engine.start
    [old] = [one for one in await lab.containers("shop") if "-1-web" in one.name]
    await lab.engine.stop(old.id, 0)

    async def not_the_old(container: str) -> None:
        if container == old.id:
            raise CoveyError("It does not start.")
        await start(container)

    lab.engine.start = not_the_old  # type: ignore[method-assign]
    await lab.jobs.cancel(asked.job)
    assert (await lab.ended(asked)).state is DeploymentState.CANCELLED
    lab.engine.start = start  # type: ignore[method-assign]
    await lab.node.reconciler.run()
    assert await lab.get("shop") == "v1"


async def test_a_disk_that_is_full_at_the_end_does_not_pass_for_a_success(lab: Laboratory):
    lab.version("v1")
    lab.version("v2")
    await lab.deploy("shop", "v1")
    put = lab.deployments.put

    async def full(deployment: Deployment) -> None:
        if deployment.state is SUCCEEDED:
            raise StorageError("The disk is full.")
        await put(deployment)

    lab.deployments.put = full  # type: ignore[method-assign]
    ended = await lab.deploy("shop", "v2")
    assert (ended.state, ended.reason) == (DeploymentState.ROLLED_BACK, "The disk is full.")
    assert await lab.get("shop") == "v1"


async def test_a_disk_that_is_full_during_the_build_is_told_as_such(
    lab: Laboratory, monkeypatch: pytest.MonkeyPatch
):
    lab.version("v1")
    lab.version("v2")
    await lab.deploy("shop", "v1")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("covey.apps.building._dockerfile", full)
    ended = await lab.deploy("shop", "v2")
    assert ended.state is FAILED
    assert ended.reason.endswith("could not be read or written: No space left on device.")
    assert await lab.get("shop") == "v1"
    assert list(lab.hosting.here.places.work.iterdir()) == []
    monkeypatch.undo()
    assert (await lab.deploy("shop", "v2")).state is SUCCEEDED


async def test_a_site_whose_files_cannot_be_kept_leaves_the_one_before(
    lab: Laboratory, monkeypatch: pytest.MonkeyPatch
):
    for name in ("v1", "v2"):
        lab.version(name)
        lab.versions.config[name] = {"build": {"static": "."}, "deploy": {"watch": "0s"}}
    await lab.deploy("docs", "v1")
    site = lab.hosting.here.places.current_site("docs")
    before = site.resolve()

    def full(source: str, target: str, **_: object) -> None:
        raise shutil.Error([(source, target, "[Errno 28] No space left on device")])

    monkeypatch.setattr("covey.apps.building.shutil.copytree", full)
    ended = await lab.deploy("docs", "v2")
    assert ended.reason == (
        "The site's files could not be kept: [Errno 28] No space left on device."
    )
    assert site.resolve() == before
    assert before.is_dir()
    assert [item.name for item in site.parent.iterdir() if item.name.isdigit()] == ["1"]


async def test_anothers_container_of_that_name_is_left_alone(lab: Laboratory):
    lab.version("v1")
    await lab.apps.create("shop")
    foreign = await lab.engine.create(
        ContainerSpec(lab.hosting.here.naming.container("shop", 1, "web", 0), "v1", {})
    )
    ended = await lab.deploy("shop", "v1")
    assert ended.state is FAILED
    assert "is not this deployment's" in ended.reason
    assert [one.id for one in await lab.containers()] == [foreign]


async def test_a_start_that_fails_leaves_the_app_stopped_with_its_settings(lab: Laboratory):
    lab.version("v1")
    await lab.deploy("shop", "v1")
    await lab.apps.stop(lab.app("shop"))
    assert await lab.containers() == []
    prepare = lab.hosting.rollout.prepare
    gate = asyncio.Event()

    async def fails(*_: object) -> None:
        await gate.wait()
        raise CoveyError("There is no network left.")

    lab.hosting.rollout.prepare = fails  # type: ignore[method-assign]
    starting = await lab.apps.start(lab.app("shop"), "a test")
    await until(lambda: lab.deployments.get("shop", 2).state is DeploymentState.RUNNING)
    await lab.apps.configure(lab.app("shop"), lambda _: {"env": {"A": "b"}}, "a test")
    gate.set()
    assert (await lab.ended(starting)).state is FAILED
    lab.hosting.rollout.prepare = prepare  # type: ignore[method-assign]
    app = lab.app("shop")
    assert (app.stopped, app.overrides) == (True, {"env": {"A": "b"}})
    [route] = lab.routes.of("app/shop")
    assert getattr(route.target, "status", None) == 503


async def test_a_start_that_is_broken_off_and_cancelled_rests_again(lab: Laboratory):
    lab.version("v1", deploy={"watch": "300ms"})
    await lab.deploy("shop", "v1")
    await lab.apps.stop(lab.app("shop"))
    hold(lab.hosting.rollout, "watch")
    starting = await lab.apps.start(lab.app("shop"), "a test")
    await until(lambda: "watch" in [step.name for step in lab.jobs.get(starting.job).steps])
    assert not lab.app("shop").stopped
    await lab.stop()
    await lab.start()
    await lab.jobs.cancel(starting.job)
    assert (await lab.ended(starting)).state is DeploymentState.CANCELLED
    assert lab.app("shop").stopped
    await lab.settled()
    assert await lab.containers() == []


async def test_volumes_of_a_version_that_never_served_go_and_no_others(lab: Laboratory):
    data, more = {"name": "data", "path": "/data"}, {"name": "more", "path": "/more"}
    kept = "covey-000000-shop.kept"
    await lab.engine.create_volume(kept, lab.hosting.here.naming.of_app("shop"))
    lab.broken("v1", volumes=[data, {"name": "kept", "path": "/kept"}])
    assert (await lab.deploy("shop", "v1")).state is FAILED
    assert await lab.engine.list_volumes({}) == [kept]
    lab.version("v2", volumes=[data])
    assert (await lab.deploy("shop", "v2")).state is SUCCEEDED
    lab.broken("v3", volumes=[data, more])
    assert (await lab.deploy("shop", "v3")).state is FAILED
    assert await lab.engine.list_volumes({}) == ["covey-000000-shop.data", kept]


async def test_volumes_of_a_version_that_served_stay_when_it_is_rolled_back(lab: Laboratory):
    lab.version("v1")
    lab.version("v2", deploy=WATCHED, volumes=[{"name": "data", "path": "/data"}])
    await lab.deploy("shop", "v1")
    asked = await lab.ask("shop", "v2")
    await until(lambda: "watch" in [step.name for step in lab.jobs.get(asked.job).steps])
    await lab.jobs.cancel(asked.job)
    assert (await lab.ended(asked)).state is DeploymentState.CANCELLED
    assert await lab.engine.list_volumes({}) == ["covey-000000-shop.data"]


async def test_a_restart_of_what_never_ran_says_so(lab: Laboratory):
    await lab.apps.create("shop")
    with pytest.raises(CoveyError, match="not deployed yet"):
        await lab.apps.again(lab.app("shop"), Trigger.RESTART, "a test")
