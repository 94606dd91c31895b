"""The commands that an app runs by the clock, each in a container of its own."""

from __future__ import annotations

import msgspec

from covey.apps.deploy import Hosting
from covey.apps.layout import ONEOFF, owner_of
from covey.apps.masking import Masking
from covey.apps.model import App, Release
from covey.apps.oneoff import run_to_end
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

    def __init__(self, hosting: Hosting) -> None:
        self._hosting = hosting

    def kind(self) -> JobKind:
        """Return the kind of job under which scheduled commands run."""
        return JobKind(CRON, self.run)

    async def follow(self, app: App, release: Release) -> None:
        """Make the app's schedules those of a release."""
        jobs, prefix = self._hosting.jobs, owner_of(app.name) + "/"
        wanted = {} if release.built.static else release.config.cron
        for schedule in jobs.schedules(prefix):
            if schedule.name.removeprefix(prefix) not in wanted:
                await jobs.remove_schedule(schedule.name)
        for name, command in wanted.items():
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
        running = hosting.deployments.running(app.name)
        if running is None or app.stopped:
            job.log(f"{app.name} is stopped, so {asked.name} is left out.")
            return
        command = running.release.config.cron.get(asked.name)
        if command is None:
            raise NotFoundError(f"{app.name} has no scheduled command {asked.name} any more.")
        say = Masking(job.log)
        variables = await hosting.environment.resolve(app, running.release.config.env)
        say.learn(variables.secrets)
        deployment = hosting.deployments.get(app.name, running.number)
        given = Given(app, deployment, running.release, variables.values)
        spec = plan_command(hosting.here, given, f"{ONEOFF}{job.id}", command.command)
        status = await run_to_end(hosting.engine, spec, say, limit_s=command.timeout)
        if status != 0:
            raise ConflictError(
                f"{asked.name} ended with status {status}.", hint="Its output is in the log."
            )


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
