"""What should run is made to run: nothing else is touched, and nobody is fought with."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from covey.apps.containers import ContainerSpec, ContainerState, ContainerStatus
from covey.apps.layout import ONEOFF
from covey.apps.model import App, Deployment, DeploymentState
from covey.env.scope import Scope
from covey.env.service import Removal
from covey.errors import UnreachableError
from covey.testing.memory_containers import Behaviour
from tests.apps.laboratory import Laboratory, hold
from tests.waiting import until

RUNNING = ContainerStatus.RUNNING


async def test_a_container_that_dies_is_started_again(lab: Laboratory):
    lab.version("v1")
    await lab.deploy("shop", "v1")
    [container] = await lab.containers("shop")
    await lab.engine.kill(container.id, "SIGKILL")
    await until(lambda: _runs(lab, "shop"))
    assert await lab.get("shop") == "v1"


async def test_an_app_that_runs_asks_nobody_for_its_variables(
    lab: Laboratory, monkeypatch: pytest.MonkeyPatch
):
    for name in ("v1", "v2"):
        lab.version(name)
    await lab.deploy("shop", "v1")
    await lab.deploy("shop", "v2")
    await lab.settled()
    asked: list[str] = []
    resolve = lab.hosting.environment.resolve

    async def note(app: App, *given: Any) -> Any:
        asked.append(app.name)
        return await resolve(app, *given)

    monkeypatch.setattr(lab.hosting.environment, "resolve", note)
    await lab.node.reconciler.run()
    assert asked == []
    [container] = await lab.containers("shop")
    await lab.engine.remove(container.id)
    await lab.node.reconciler.run()
    assert asked == ["shop"]
    assert await lab.get("shop") == "v2"


async def test_a_command_that_ends_is_no_reason_to_look(lab: Laboratory):
    lab.version("v1")
    await lab.deploy("shop", "v1")
    await lab.settled()
    await until(lambda: lab.engine._listeners)
    [container] = await lab.containers("shop")
    [spec] = lab.specs("shop")
    labels = lab.hosting.here.naming.container_labels("shop", 1, f"{ONEOFF}job", 0)
    command = await lab.engine.create(ContainerSpec("a-command", spec.image, labels))
    await lab.engine.start(command)
    heard: list[str] = []
    wake = lab.node.reconciler._wake.set

    def note() -> None:
        heard.append("an ending")
        wake()

    lab.node.reconciler._wake.set = note  # type: ignore[method-assign]
    for one in (command, container.id):
        await lab.engine.kill(one, "SIGKILL")
    await until(lambda: _is_up(lab, container.id))
    assert heard == ["an ending"]


async def test_one_that_ends_at_once_is_started_ever_more_seldom(lab: Laboratory):
    lab.version("v1")
    await lab.deploy("shop", "v1")
    [container] = await lab.containers("shop")
    starts = []
    engine_start = lab.engine.start

    async def start_and_die(ident: str) -> None:
        starts.append(ident)
        await engine_start(ident)
        await lab.engine.kill(ident, "SIGKILL")

    lab.engine.start = start_and_die  # type: ignore[method-assign]
    await lab.engine.kill(container.id, "SIGKILL")
    for _ in range(10):
        await lab.node.reconciler.run()
    assert len(starts) == 1


async def test_it_is_looked_after_while_another_version_is_built(lab: Laboratory):
    lab.version("v1")
    lab.version("v2")
    await lab.deploy("shop", "v1")
    lab.versions.gate.clear()
    second = await lab.ask("shop", "v2")
    await until(lambda: "v2" in lab.versions.fetching)
    [container] = await lab.containers("shop")
    await lab.engine.kill(container.id, "SIGKILL")
    await until(lambda: _runs(lab, "shop"))
    lab.versions.gate.set()
    assert (await lab.ended(second)).state is DeploymentState.SUCCEEDED


async def test_what_a_deployment_exchanges_is_left_to_it(lab: Laboratory):
    """With `recreate` the old version is down, and must not come back beside the new one."""
    for name in ("v1", "v2"):
        lab.version(name, deploy={"strategy": "recreate"})
    await lab.deploy("shop", "v1")
    gate = hold(lab.engine, "create")
    second = await lab.ask("shop", "v2")
    await until(lambda: _is_down(lab, "shop"))
    await lab.node.reconciler.run()
    assert await _is_down(lab, "shop")
    gate.set()
    assert (await lab.ended(second)).state is DeploymentState.SUCCEEDED
    await lab.settled()
    assert await lab.names("shop") == ["2-web-0"]


async def test_an_app_whose_variables_have_no_value_runs_on(lab: Laboratory):
    lab.version("v1", env={"TOKEN": "${TOKEN}"})
    await lab.set(Scope.parse("fleet"), "TOKEN", "s3cret-value")
    await lab.deploy("shop", "v1")
    await lab.env.unset(Removal(Scope.parse("fleet"), "TOKEN"))
    [container] = await lab.containers("shop")
    await lab.engine.kill(container.id, "SIGKILL")
    await until(lambda: _runs(lab, "shop"))
    # Gone, it could only be made without the variable.
    await lab.engine.remove(container.id)
    await lab.node.reconciler.run()
    assert await lab.containers("shop") == []


async def test_trouble_with_one_app_does_not_concern_the_others(lab: Laboratory):
    lab.version("v1")
    for name in ("bad", "good"):
        await lab.deploy(name, "v1")
    put = lab.routes.put

    async def refuse(owner: str, routes: Any) -> None:
        if owner == "app/bad":
            raise ValueError("a mistake")
        await put(owner, routes)

    lab.routes.put = refuse  # type: ignore[method-assign]
    for name in ("bad", "good"):
        [container] = await lab.containers(name)
        await lab.engine.kill(container.id, "SIGKILL")
    await until(lambda: _runs(lab, "good"))


async def test_it_goes_on_when_the_engine_was_away(lab: Laboratory):
    lab.version("v1")
    await lab.deploy("shop", "v1")
    [container] = await lab.containers("shop")
    listed = lab.engine.list_containers

    async def away(_: object) -> list[ContainerState]:
        raise UnreachableError("Podman does not answer.")

    lab.engine.list_containers = away  # type: ignore[method-assign]
    await lab.engine.kill(container.id, "SIGKILL")
    lab.node.reconciler.wake()
    await asyncio.sleep(0)
    lab.engine.list_containers = listed  # type: ignore[method-assign]
    lab.node.reconciler.wake()
    await until(lambda: _runs(lab, "shop"))


async def test_a_mistake_does_not_end_the_looking_after(lab: Laboratory):
    lab.version("v1")
    await lab.deploy("shop", "v1")
    unfinished, failed = lab.deployments.unfinished, []

    def mistaken() -> list[Deployment]:
        if not failed:
            failed.append(True)
            raise RuntimeError("a mistake")
        return unfinished()

    lab.deployments.unfinished = mistaken  # type: ignore[method-assign]
    lab.node.reconciler.wake()
    await until(lambda: failed)
    [container] = await lab.containers("shop")
    await lab.engine.kill(container.id, "SIGKILL")
    await until(lambda: _runs(lab, "shop"))


async def test_what_people_run_of_an_apps_image_is_theirs(lab: Laboratory):
    for name in ("v1", "v2"):
        lab.version(name)
    await lab.deploy("shop", "v1")
    release = lab.deployments.get("shop", 1).release
    assert release is not None
    # Containers have the labels of their image.
    theirs = await lab.engine.create(ContainerSpec("debugging", release.built.image, {}))
    await lab.engine.start(theirs)
    await lab.deploy("shop", "v2")
    await lab.settled()
    await lab.node.reconciler.run()
    state = await lab.engine.inspect(theirs)
    assert state is not None
    assert state.status is RUNNING
    await lab.apps.destroy(lab.app("shop"), volumes=True)
    assert await lab.engine.inspect(theirs) is not None


async def test_a_process_may_be_called_as_one_off_commands_once_were(lab: Laboratory):
    lab.version("v1", Behaviour(serves=8080), processes={"run-jobs": "work"})
    await lab.deploy("shop", "v1")
    await lab.node.reconciler.run()
    assert await lab.names("shop") == ["1-run-jobs-0", "1-web-0"]


async def test_an_image_that_is_built_while_leftovers_go_stays(lab: Laboratory):
    for name in ("v1", "v2"):
        lab.version(name)
    await lab.deploy("shop", "v1")
    await lab.node.reconciler.run()
    reached = asyncio.Event()
    # The sweep has listed the containers, and comes to the images later.
    list_images = lab.engine.list_images
    gate = hold(lab.engine, "list_images", reached.set)
    sweeping = asyncio.create_task(lab.hosting.sweep.run())
    await asyncio.wait_for(reached.wait(), 10)
    starting = hold(lab.engine, "create")
    second = await lab.ask("other", "v2")
    await until(lambda: list_images({"covey.app": "other"}))
    gate.set()
    await sweeping
    starting.set()
    assert (await lab.ended(second)).state is DeploymentState.SUCCEEDED
    assert await lab.get("other") == "v2"


async def _runs(lab: Laboratory, app: str) -> bool:
    return RUNNING in [state.status for state in await lab.containers(app)]


async def _is_up(lab: Laboratory, ident: str) -> bool:
    state = await lab.engine.inspect(ident)
    return state is not None and state.status is RUNNING


async def _is_down(lab: Laboratory, app: str) -> bool:
    return not await _runs(lab, app)
