"""Apps of ready images: fetched, or taken as they are here when no registry gives them."""

from __future__ import annotations

from covey.apps.containers import Log
from covey.apps.model import DeploymentState, Trigger
from covey.apps.service import Wanted
from covey.apps.sources import ImageSource
from covey.errors import UnreachableError
from covey.testing.memory_containers import Behaviour
from tests.apps.laboratory import Laboratory

IMAGE = "docker.io/library/web:1"


async def deploy(lab: Laboratory, image: str) -> DeploymentState:
    if lab.apps.records.find("web") is None:
        settings = {"port": 8080, "deploy": {"watch": 0.0, "healthcheck_timeout": 5.0}}
        await lab.apps.create("web", overrides=settings)
    wanted = Wanted(Trigger.DEPLOY, "a test", ImageSource(image))
    return (await lab.ended(await lab.apps.deploy(lab.app("web"), wanted))).state


async def test_an_image_that_is_here_runs_while_its_registry_is_away(lab: Laboratory):
    async def away(reference: str, log: Log, **_: str) -> str:
        raise UnreachableError(f"{reference} cannot be fetched: no such host.")

    lab.engine.pull = away  # type: ignore[method-assign, assignment]
    lab.engine.add_image(IMAGE, Behaviour(serves=8080, body=b"here"))
    assert await deploy(lab, IMAGE) is DeploymentState.SUCCEEDED
    assert await lab.get("web") == "here"
    job = lab.deployments.get("web", 1).job
    assert "no such host" in lab.log(job)
    assert "is run as it is here" in lab.log(job)
    assert await deploy(lab, "docker.io/library/other:1") is DeploymentState.FAILED
    assert await lab.get("web") == "here"
