"""The command that a new version runs once before it serves, such as a migration."""

from __future__ import annotations

from covey.apps.hosting import Hosting
from covey.apps.layout import release_process
from covey.apps.masking import Masking
from covey.apps.oneoff import run_to_end
from covey.apps.own_containers import remove_own
from covey.apps.plan import Given, ReleasePlan, plan_command
from covey.errors import ConflictError
from covey.jobs.api import JobRun

_LIMIT_S = 3600.0


async def run_release_command(
    hosting: Hosting, job: JobRun, given: Given, plan: ReleasePlan, command: str, say: Masking
) -> None:
    """Run it as a step of the deployment's job; raises `ConflictError` unless it ends with 0."""
    spec = plan_command(hosting.here, given, release_process(given.deployment.number), command)

    async def work() -> int:
        say(f"$ {command}")
        await hosting.rollout.prepare(plan)
        return await run_to_end(hosting.engine, spec, say, limit_s=_LIMIT_S)

    status = await job.step("release", work, int)
    await remove_own(hosting.engine, spec)
    if status != 0:
        raise ConflictError(
            f"The release command ended with status {status}, so nothing was switched.",
            hint="Its output is above: " + command,
        )
