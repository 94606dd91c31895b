"""Commands by the clock: each runs once, through deployments, and ends when it is told to."""

from __future__ import annotations

import asyncio

from covey.apps.containers import ContainerStatus
from covey.jobs.model import Job, JobState
from tests.apps.laboratory import Laboratory, hold
from tests.waiting import until

CRON = {"report": {"schedule": "0 4 * * *", "command": "report"}}


async def _begun(lab: Laboratory) -> Job:
    """Run the command by hand until its container runs."""
    job = await lab.apps.run_scheduled(lab.app("shop"), "report", "a test")
    await until(lambda: _oneoffs(lab))
    return job


async def _oneoffs(lab: Laboratory) -> list[str]:
    running = ContainerStatus.RUNNING
    found = [one for one in await lab.containers("shop") if one.status is running]
    return [one.id for one in found if "-run." in one.name]


async def test_a_command_outlasts_the_version_in_which_it_began(lab: Laboratory):
    for name in ("v1", "v2"):
        lab.version(name, cron=CRON)
    await lab.deploy("shop", "v1")
    job = await _begun(lab)
    await lab.deploy("shop", "v2")
    await lab.settled()
    await lab.node.reconciler.run()
    [container] = await _oneoffs(lab)
    assert lab.jobs.get(job.id).state is JobState.RUNNING
    await lab.engine.kill(container, "SIGTERM")
    assert (await lab.jobs.wait(job.id)).state is JobState.FAILED
    assert await lab.names("shop") == ["2-web-0"]


async def test_one_that_is_cancelled_ends_with_its_container(lab: Laboratory):
    lab.version("v1", cron=CRON)
    await lab.deploy("shop", "v1")
    job = await _begun(lab)
    await lab.jobs.cancel(job.id)
    assert (await lab.jobs.wait(job.id)).state is JobState.CANCELLED
    assert await lab.names("shop") == ["1-web-0"]


async def test_one_that_is_broken_off_is_waited_for_and_not_run_twice(lab: Laboratory):
    for name in ("v1", "v2"):
        lab.version(name, cron=CRON)
    await lab.deploy("shop", "v1")
    job = await _begun(lab)
    [container] = await _oneoffs(lab)
    await lab.stop()
    await lab.start()
    await lab.deploy("shop", "v2")
    assert await _oneoffs(lab) == [container]
    await lab.engine.kill(container, "SIGTERM")
    await lab.jobs.wait(job.id)
    await lab.settled()
    assert await lab.names("shop") == ["2-web-0"]


async def test_a_release_command_whose_end_was_not_recorded_is_not_run_again(lab: Laboratory):
    lab.version("v1", release="migrate")
    create, made = lab.engine.create, []

    async def counted(spec: object) -> str:
        name = spec.name  # type: ignore[attr-defined]
        made.append(name)
        return await create(spec)  # type: ignore[arg-type]

    lab.engine.create = counted  # type: ignore[method-assign]
    reached = asyncio.Event()
    hold(lab.engine, "wait", reached.set)
    asked = await lab.ask("shop", "v1")
    await until(lambda: _oneoffs(lab))
    [container] = await _oneoffs(lab)
    await lab.engine.kill(container, "SIGTERM")
    await asyncio.wait_for(reached.wait(), 10)
    await lab.stop()
    del lab.engine.wait
    await lab.start()
    ended = await lab.ended(asked)
    assert ended.reason.startswith("The release command ended with status 143")
    assert [name for name in made if "run.release-1" in name] == made
    assert len(made) == 1
    assert await lab.containers() == []


async def test_a_time_that_has_come_is_not_passed_over_by_a_deployment(lab: Laboratory):
    lab.version("v1", cron=CRON)
    lab.version("v2", cron=CRON)
    lab.version("v3", cron={"report": {"schedule": "0 5 * * *", "command": "report"}})
    lab.version("v4")
    puts = []
    put = lab.jobs.put_schedule

    async def noted(schedule: object) -> None:
        puts.append(schedule.cron)  # type: ignore[attr-defined]
        await put(schedule)  # type: ignore[arg-type]

    lab.jobs.put_schedule = noted  # type: ignore[method-assign]
    for name in ("v1", "v2", "v3"):
        await lab.deploy("shop", name)
    assert puts == ["0 4 * * *", "0 5 * * *"]
    await lab.deploy("shop", "v4")
    assert lab.jobs.schedules() == []


async def test_long_commands_leave_room_for_deployments(lab: Laboratory):
    names = [f"job{number}" for number in range(10)]
    lab.version("v1", cron={name: {"schedule": "0 4 * * *", "command": "report"} for name in names})
    lab.version("v2")
    await lab.deploy("shop", "v1")
    for name in names:
        await lab.apps.run_scheduled(lab.app("shop"), name, "a test")
    await until(lambda: _oneoffs(lab))
    await lab.deploy("other", "v2")
    assert await lab.get("other") == "v2"


async def test_a_stopped_apps_commands_are_left_out(lab: Laboratory):
    lab.version("v1", cron=CRON)
    await lab.deploy("shop", "v1")
    await lab.apps.stop(lab.app("shop"))
    job = await lab.apps.run_scheduled(lab.app("shop"), "report", "a test")
    assert (await lab.jobs.wait(job.id)).state is JobState.SUCCEEDED
    assert "shop is stopped, so report is left out" in lab.log(job.id)
    assert await lab.containers("shop") == []
