"""The commands that an app runs by the clock, each in a container of its own."""

from __future__ import annotations

import msgspec

from covey.apps.hosting import Hosting
from covey.apps.layout import ONEOFF, owner_of
from covey.apps.masking import Masking
from covey.apps.model import App, Release
from covey.apps.oneoff import run_to_end
from covey.apps.own_containers import remove_own
from covey.apps.plan import Given, plan_command
from covey.errors import ConflictError, NotFoundError
from covey.jobs.api import JobKind, JobRun, NewJob, Schedule
from covey.jobs.model import Priority

CRON = "apps.cron"
_JITTER_S = 5.0


class CronJob(msgspec.Struct, frozen=True):
    """Which scheduled command of which app."""

    app: str
    name: str


class ScheduledCommands:
    """Keeps the schedules of an app level with its release, and runs what is due."""

    def __init__(self, hosting: Hosting, at_once: int) -> None:
        self._hosting = hosting
        self._at_once = at_once

    def kind(self) -> JobKind:
        """Return the kind of job under which scheduled commands run.

        Not all jobs may be such: they may take days, and deployments would wait for them.
        """
        return JobKind(CRON, self.run, at_once=self._at_once)

    async def follow(self, app: App, release: Release) -> None:
        """Make the app's schedules those of a release."""
        jobs, prefix = self._hosting.jobs, owner_of(app.name) + "/"
        wanted = {} if release.built.static else release.config.cron
        present = {schedule.name: schedule for schedule in jobs.schedules(prefix)}
        for schedule in present.values():
            if schedule.name.removeprefix(prefix) not in wanted:
                await jobs.remove_schedule(schedule.name)
        for name, command in wanted.items():
            known = present.get(prefix + name)
            if known is not None and (known.cron, known.zone) == (command.schedule, command.zone):
                # Put anew it would pass over a time that has just come.
                continue
            await jobs.put_schedule(
                Schedule(
                    prefix + name,
                    command.schedule,
                    scheduled_job(app.name, name, "schedule"),
                    command.zone,
                    _JITTER_S,
                )
            )

    async def run(self, job: JobRun) -> None:
        """Run a scheduled command of the release in service."""
        hosting, asked = self._hosting, job.payload(CronJob)
        app = hosting.records.get(asked.app)
        # A run that was broken off goes on in the version in which it began.
        number = await job.step("choose", lambda: self._serving(app), int)
        if number == 0:
            job.log(f"{app.name} is stopped, so {asked.name} is left out.")
            return
        deployment = hosting.deployments.get(app.name, number)
        release = deployment.release
        command = None if release is None else release.config.cron.get(asked.name)
        if release is None or command is None:
            raise NotFoundError(f"{app.name} has no scheduled command {asked.name} any more.")
        say = Masking(job.log)
        variables = await hosting.environment.resolve(app, release.config)
        say.learn(variables.secrets)
        given = Given(app, deployment, release, variables.values)
        spec = plan_command(hosting.here, given, f"{ONEOFF}{job.id}", command.command)
        limit_s = command.timeout

        async def work() -> int:
            return await run_to_end(hosting.engine, spec, say, limit_s=limit_s)

        try:
            status = await job.step("run", work, int)
        except BaseException:
            if not job.stopping:
                await remove_own(hosting.engine, spec)
            raise
        await remove_own(hosting.engine, spec)
        if status != 0:
            raise ConflictError(
                f"{asked.name} ended with status {status}.", hint="Its output is in the log."
            )

    async def _serving(self, app: App) -> int:
        """Return the number of the deployment in service, or 0."""
        running = self._hosting.deployments.running(app.name)
        return 0 if running is None or app.stopped else running.number


def scheduled_job(app: str, name: str, caller: str) -> NewJob:
    """Return the job that runs a scheduled command once."""
    return NewJob(
        CRON,
        CronJob(app, name),
        f"Run {name} of {app}",
        subject=owner_of(app),
        priority=Priority.LOW,
        key=f"cron/{app}/{name}",
        caller=caller,
    )
