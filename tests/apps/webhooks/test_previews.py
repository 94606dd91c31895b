"""Previews: their names, their number, and the daily look after them."""

from __future__ import annotations

import asyncio
import re
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from covey.apps.names import check_app_name
from covey.apps.webhooks.ports import PreviewApp, PullState
from covey.apps.webhooks.previews import PreviewUpkeep, has_room, is_over, preview_name
from covey.errors import NotFoundError, UnreachableError
from covey.jobs.engine import JobEngine
from covey.jobs.log_files import LogFiles
from covey.testing.memory_jobs import MemoryJobStorage
from tests.apps.webhooks.recording import START, RecordingForges, Scene

APP_NAMES = st.from_regex(r"[a-z](?:[a-z0-9-]{0,38}[a-z0-9])?", fullmatch=True)
NUMBERS = st.integers(1, (1 << 31) - 1)


def preview(number: int = 7, parent: str = "shop", integration: str = "hook") -> PreviewApp:
    name = preview_name(parent, number)
    return PreviewApp(parent, name, number, integration, "acme/shop", START)


def test_a_preview_is_named_after_its_app_and_pull_request():
    assert preview_name("shop", 7) == "shop-pr-7"


@given(APP_NAMES, NUMBERS)
def test_every_name_is_one_of_an_app_and_one_label(parent: str, number: int):
    name = preview_name(parent, number)
    assert check_app_name(name) == name
    assert re.fullmatch(r"[a-z0-9-]{1,63}", name)
    assert name.endswith(f"-pr-{number}")


@given(APP_NAMES, APP_NAMES, NUMBERS)
def test_previews_of_two_apps_have_two_names(one: str, other: str, number: int):
    assert (preview_name(one, number) == preview_name(other, number)) == (one == other)


def test_how_many_there_may_be():
    there = [preview(1), preview(2), preview(3, "blog")]
    assert has_room(there, "shop", 3, 3)
    assert not has_room(there, "shop", 3, 2)
    assert has_room(there, "shop", 2, 2)
    assert has_room(there, "blog", 4, 2)


@pytest.mark.parametrize(
    "state,days,over",
    [
        (PullState.OPEN, 400, False),
        (PullState.CLOSED, 0, True),
        (None, 29, False),
        (None, 31, True),
    ],
)
def test_when_a_preview_is_over(state: PullState | None, days: int, over: bool):
    assert is_over(preview(), state, START + timedelta(days=days)) is over


def scene_with(*previews: PreviewApp, token: str = "secret") -> tuple[Scene, RecordingForges]:
    scene = Scene()
    scene.app()
    asyncio.run(scene.integration(api_token=token, previews=True))
    for item in previews:
        scene.deployer.held[item.parent, item.number] = item
    return scene, RecordingForges()


def reconcile(scene: Scene, forges: RecordingForges) -> list[int]:
    upkeep = PreviewUpkeep(
        scene.deployer, scene.integrations, scene.deliveries, forges, scene.clock
    )
    return [item.number for item in asyncio.run(upkeep.reconcile())]


def test_the_forge_is_asked_which_are_open():
    scene, forges = scene_with(preview(1), preview(2))
    forges.states = {1: PullState.OPEN, 2: PullState.CLOSED}
    assert reconcile(scene, forges) == [2]
    assert [item.number for item in scene.deployer.previews()] == [1]
    assert [(repository, number) for _, repository, number in forges.asked] == [
        ("acme/shop", 1),
        ("acme/shop", 2),
    ]


@pytest.mark.parametrize("failure", [UnreachableError("Away."), NotFoundError("Nothing there.")])
def test_a_forge_that_does_not_say_leaves_it_to_their_age(failure: Exception):
    scene, forges = scene_with(preview(1))
    for days, removed in ((0, []), (40, [1])):
        scene.clock.move(days=days)
        forges.failures = [failure]  # type: ignore[list-item]
        assert reconcile(scene, forges) == removed


def test_without_a_token_or_webhook_it_is_left_to_their_age():
    scene, forges = scene_with(preview(1), preview(2, integration="gone"), token="")
    assert reconcile(scene, forges) == []
    scene.clock.move(days=40)
    assert reconcile(scene, forges) == [1, 2]
    assert forges.asked == []


def test_a_preview_without_its_app_is_removed():
    scene, forges = scene_with(preview(1, "gone"))
    assert reconcile(scene, forges) == [1]


def test_it_is_looked_after_daily_while_there_is_something_to_look_after(tmp_path: Path):
    scene, forges = Scene(), RecordingForges()
    upkeep = PreviewUpkeep(
        scene.deployer, scene.integrations, scene.deliveries, forges, scene.clock
    )

    async def work() -> None:
        jobs = JobEngine(MemoryJobStorage(), LogFiles(tmp_path, 1 << 20))
        jobs.register(upkeep.job_kind())
        await upkeep.schedule(jobs)
        assert jobs.schedules() == []
        await scene.integration()
        await upkeep.schedule(jobs)
        (schedule,) = jobs.schedules()
        scene.deployer.held["shop", 7] = preview(7)
        scene.clock.move(days=40)
        await jobs.start()
        job = await jobs.enqueue(schedule.job)
        assert (await jobs.wait(job.id)).state == "succeeded"
        assert scene.deployer.previews() == []
        lines = [line.text async for line in jobs.logs(job.id)]
        assert any("shop-pr-7" in line for line in lines)
        await scene.integrations.remove("hook")
        await upkeep.schedule(jobs)
        assert jobs.schedules() == []
        await jobs.stop()

    asyncio.run(work())
