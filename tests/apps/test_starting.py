"""A container whose port was taken before it started gets another one."""

from __future__ import annotations

import pytest

from covey.apps.containers import PortTakenError
from covey.apps.model import DeploymentState
from tests.apps.laboratory import Laboratory


def taken(lab: Laboratory, times: int) -> list[str]:
    """Let the next starts find their port taken; returns the containers that it happened to."""
    whole, refused = lab.engine.start, list[str]()

    async def start(container: str) -> None:
        if len(refused) < times:
            refused.append(container)
            raise PortTakenError("bind: address already in use")
        await whole(container)

    lab.engine.start = start  # type: ignore[method-assign]
    return refused


async def test_a_port_that_was_taken_is_exchanged(lab: Laboratory):
    lab.version("v1")
    refused = taken(lab, 3)
    assert (await lab.deploy("shop", "v1")).state is DeploymentState.SUCCEEDED
    assert await lab.get("shop") == "v1"
    assert len(set(refused)) == 3
    assert len(await lab.containers("shop")) == 1


async def test_a_crashed_container_comes_back_on_another_port(lab: Laboratory):
    lab.version("v1")
    await lab.deploy("shop", "v1")
    [state] = await lab.containers("shop")
    refused = taken(lab, 1)
    await lab.engine.kill(state.id, "KILL")
    await lab.node.reconciler.run()
    assert refused == [state.id]
    assert await lab.get("shop") == "v1"


async def test_without_any_port_it_fails_and_leaves_nothing(lab: Laboratory):
    lab.version("v1")
    taken(lab, 100)
    failed = await lab.deploy("shop", "v1")
    assert failed.state is DeploymentState.FAILED
    assert "address already in use" in failed.reason
    assert await lab.containers("shop") == []


@pytest.mark.parametrize("strategy", ["rolling", "blue-green"])
async def test_replicas_find_ports_of_their_own(lab: Laboratory, strategy: str):
    lab.version("v1", deploy={"replicas": 2, "strategy": strategy})
    taken(lab, 2)
    assert (await lab.deploy("shop", "v1")).state is DeploymentState.SUCCEEDED
    assert len(await lab.containers("shop")) == 2
