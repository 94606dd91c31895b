"""A container of a command is left alone as long as nobody can tell that the command has ended."""

from __future__ import annotations

import pytest

from covey.apps.containers import ContainerStatus
from covey.errors import StorageError
from tests.apps.laboratory import Laboratory
from tests.waiting import until

CRON = {"report": {"schedule": "0 4 * * *", "command": "report"}}


async def test_it_outlives_a_sweep_that_cannot_read_the_jobs(
    lab: Laboratory, monkeypatch: pytest.MonkeyPatch
):
    async def commands() -> list[str]:
        found = await lab.containers("shop")
        return [
            one.id for one in found if "-run." in one.name and one.status is ContainerStatus.RUNNING
        ]

    lab.version("v1", cron=CRON)
    await lab.deploy("shop", "v1")
    job = await lab.apps.run_scheduled(lab.app("shop"), "report", "a test")
    await until(commands)
    [container] = await commands()
    with monkeypatch.context() as broken:

        def fail(_: str) -> None:
            raise StorageError("The disk does not answer.")

        broken.setattr(lab.jobs, "get", fail)
        with pytest.raises(StorageError):
            await lab.node.hosting.sweep.run()
    assert await commands() == [container]
    await lab.engine.kill(container, "SIGTERM")
    await lab.jobs.wait(job.id)
