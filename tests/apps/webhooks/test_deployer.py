"""What webhooks ask of the apps, of the recording fake and of the apps themselves alike."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from covey.apps.model import DeploymentState, Trigger
from covey.apps.sources import GitSource, UploadSource
from covey.apps.webhooks.model import RefKind
from covey.apps.webhooks.ports import Deployer, DeployRequest, FedApp, Origin, PreviewRequest
from covey.apps.webhooks.previews import preview_name
from covey.errors import ConflictError, NotFoundError
from tests.apps.webhooks.core import Core, core
from tests.apps.webhooks.recording import URLS, RecordingDeployer

Settle = Callable[[], Awaitable[None]]


async def _at_once() -> None:
    """Nothing is left to be done by the fake."""


@asynccontextmanager
async def made(kind: str, directory: Path) -> AsyncIterator[tuple[Deployer, Settle]]:
    """Give a deployer that has the app `shop`, and how to wait for what it was asked."""
    if kind == "fake":
        yield RecordingDeployer(FedApp("shop", URLS["github"], "main")), _at_once
        return
    async with core(directory) as apps:
        await apps.add("shop")
        yield apps.webhooks, apps.idle


def push(unique: str = "", app: str = "shop", ref: str = "main") -> DeployRequest:
    origin = Origin("hook", "acme/shop", unique)
    return DeployRequest(app, RefKind.BRANCH, ref, "a" * 40, "Sell", origin, "webhook hook")


def pull(number: int = 7, unique: str = "", parent: str = "shop") -> PreviewRequest:
    return PreviewRequest(
        parent=parent,
        name=preview_name(parent, number),
        number=number,
        title="Sell umbrellas",
        ref="umbrellas",
        commit="b" * 40,
        from_fork=False,
        origin=Origin("hook", "acme/shop", unique),
        caller="webhook hook",
    )


conforming = pytest.mark.parametrize("kind", ["fake", "apps"])


@conforming
def test_conforms(kind: str, tmp_path: Path):
    async def work() -> None:
        async with made(kind, tmp_path) as (deployer, settle):
            assert [(app.name, app.url) for app in deployer.apps()] == [("shop", URLS["github"])]
            assert deployer.previews() == []

            first = await deployer.deploy(push("one"))
            assert first == "shop/1"
            assert await deployer.deploy(push("one")) == first
            assert await deployer.deploy(push("two")) == "shop/2"
            assert await deployer.deploy(push()) == "shop/3"
            assert await deployer.deploy(push()) == "shop/4"
            with pytest.raises(NotFoundError):
                await deployer.deploy(push(app="nobody"))
            with pytest.raises(NotFoundError):
                await deployer.open_preview(pull(parent="nobody"))

            assert not await deployer.close_preview("shop", 7, "a test")
            assert await deployer.open_preview(pull(unique="three")) == "shop-pr-7"
            await settle()
            assert await deployer.open_preview(pull(unique="three")) == "shop-pr-7"
            await deployer.open_preview(pull(8))
            await settle()
            found = {item.number: item for item in deployer.previews()}
            assert found.keys() == {7, 8}
            assert (found[7].parent, found[7].name) == ("shop", "shop-pr-7")
            assert (found[7].integration, found[7].repository) == ("hook", "acme/shop")
            assert [app.name for app in deployer.apps()] == ["shop"]

            assert await deployer.close_preview("shop", 7, "a test")
            assert [item.number for item in deployer.previews()] == [8]
            assert not await deployer.close_preview("shop", 7, "a test")
            await settle()
            assert not await deployer.close_preview("shop", 7, "a test")
            await deployer.open_preview(pull(7))
            await settle()
            assert {item.number for item in deployer.previews()} == {7, 8}

    asyncio.run(work())


def with_core(work: Callable[[Core], Awaitable[None]], directory: Path) -> None:
    async def run() -> None:
        async with core(directory) as apps:
            await apps.add("shop")
            await work(apps)

    asyncio.run(run())


def test_a_deployment_resolves_the_branchs_head_by_itself(tmp_path: Path):
    async def work(apps: Core) -> None:
        await apps.webhooks.deploy(push("one"))
        tag = DeployRequest(
            "shop", RefKind.TAG, "v1", "c" * 40, "", Origin("hook", "acme/shop"), "webhook hook"
        )
        await apps.webhooks.deploy(tag)
        branch, tagged = apps.deployments.get("shop", 1), apps.deployments.get("shop", 2)
        assert branch.source == GitSource(URLS["github"], "refs/heads/main", key="forge")
        assert tagged.source == GitSource(URLS["github"], "refs/tags/v1", key="forge")
        assert (branch.commit, branch.message, branch.trigger) == ("", "Sell", Trigger.WEBHOOK)
        assert branch.origin == Origin("hook", "acme/shop", "one")
        assert apps.apps.here("shop").source == GitSource(URLS["github"], "main", key="forge")

    with_core(work, tmp_path)


def test_a_newer_push_takes_the_place_of_one_that_waits(tmp_path: Path):
    async def work(apps: Core) -> None:
        for number in range(4):
            await apps.webhooks.deploy(push(str(number)))
        states = [item.state for item in reversed(apps.deployments.of("shop"))]
        assert states[1:3] == [DeploymentState.SUPERSEDED] * 2
        assert not states[3].ended

    with_core(work, tmp_path)


def test_a_preview_is_an_app_of_its_own(tmp_path: Path):
    async def work(apps: Core) -> None:
        parent = apps.apps.here("shop")
        await apps.apps.configure(parent, lambda _: {"env": {"GREETING": "hello"}}, "a test")
        await apps.webhooks.open_preview(pull(unique="one"))
        await apps.idle()
        preview = apps.apps.here("shop-pr-7")
        assert (preview.project, preview.environment) == ("shop", "preview")
        assert preview.source == GitSource(URLS["github"], "refs/heads/umbrellas", key="forge")
        assert preview.overrides == {"env": {"GREETING": "hello"}}
        deployment = apps.deployments.get("shop-pr-7", 1)
        assert (deployment.trigger, deployment.caller) == (Trigger.PREVIEW, "webhook hook")

    with_core(work, tmp_path)


def test_a_fork_is_fetched_by_the_parents_ref_but_no_submodules_with_its_key(tmp_path: Path):
    async def work(apps: Core) -> None:
        fork = replace(pull(), from_fork=True, ref="refs/pull/7/head")
        await apps.webhooks.open_preview(fork)
        await apps.idle()
        wanted = GitSource(URLS["github"], "refs/pull/7/head", key="forge", submodules=False)
        assert apps.apps.here("shop-pr-7").source == wanted

    with_core(work, tmp_path)


def test_a_close_overtakes_an_open_that_waits(tmp_path: Path):
    async def work(apps: Core) -> None:
        await apps.webhooks.open_preview(pull())
        assert await apps.webhooks.close_preview("shop", 7, "a test")
        await apps.idle()
        assert apps.webhooks.previews() == []
        assert apps.apps.records.find("shop-pr-7") is None

    with_core(work, tmp_path)


def test_an_app_that_only_has_such_a_name_is_left_alone(tmp_path: Path):
    async def work(apps: Core) -> None:
        await apps.add("shop-pr-7")
        with pytest.raises(ConflictError):
            await apps.webhooks.open_preview(pull())
        assert not await apps.webhooks.close_preview("shop", 7, "a test")
        assert apps.apps.here("shop-pr-7").preview is None

    with_core(work, tmp_path)


def test_only_apps_of_a_repository_are_fed(tmp_path: Path):
    async def work(apps: Core) -> None:
        await apps.apps.create("uploaded", source=UploadSource("id"))
        await apps.apps.create("empty")
        assert [app.name for app in apps.webhooks.apps()] == ["shop"]
        with pytest.raises(ConflictError):
            await apps.webhooks.deploy(push(app="uploaded"))

    with_core(work, tmp_path)
