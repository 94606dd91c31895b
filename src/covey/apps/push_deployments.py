"""What a push does to an app: its commit is deployed, and the deployment's log is heard."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from covey.apps.model import DeploymentState, Trigger
from covey.apps.service import Apps, Wanted
from covey.apps.sources import PushedSource
from covey.errors import ConflictError, CoveyError

_REMEMBERED = 8000
_BRANCHES = frozenset({"main", "master"})


class DeploymentFailedError(CoveyError):
    """A pushed commit does not serve; its log says why."""

    code = "deployment_failed"


class PushDeployments:
    """Implements `PushTarget`."""

    def __init__(self, apps: Apps) -> None:
        self._apps = apps

    def check(self, app: str) -> None:
        """Raise `NotFoundError` or `ElsewhereError` unless the app is one of this node."""
        self._apps.here(app)

    def deploys(self, app: str, branch: str) -> bool:
        """Whether a branch is the one that the app is deployed from; first, main or master."""
        source = self._apps.here(app).source
        if isinstance(source, PushedSource):
            return branch == source.ref
        return branch in _BRANCHES

    async def pushed(
        self, app: str, branch: str, commit: str, message: str, caller: str
    ) -> AsyncGenerator[str, None]:
        """Deploy a commit: yields the lines of its log, and at the end where it serves."""
        found = self._apps.here(app)
        before = found.source
        where = before.subdirectory if isinstance(before, PushedSource) else ""
        source = PushedSource(commit, branch, where)
        wanted = Wanted(Trigger.PUSH, caller, source, commit=commit, message=message)
        started = await self._apps.deploy(found, wanted)
        jobs = self._apps.hosting.jobs
        said = ""
        logs = jobs.logs(started.job, follow=True)
        async with aclosing(logs) as lines:  # type: ignore[type-var]
            async for line in lines:
                said = f"{said}\n{line.text}"[-_REMEMBERED:]
                yield line.text
        job = await jobs.wait(started.job)
        ended = self._apps.deployments.get(app, started.number)
        if ended.state is DeploymentState.SUPERSEDED:
            raise ConflictError(
                f"Deployment {started.number} of {app} was superseded by a newer one.",
                hint=f"covey apps deployments {app}",
            )
        if ended.state is not DeploymentState.SUCCEEDED:
            why = ended.reason or job.state.value
            raise DeploymentFailedError(
                f"Deployment {started.number} of {app} did not succeed"
                + ("." if why in said else f": {why}"),
                hint=f"covey apps deployment-logs {app} {started.number}",
            )
        found = self._apps.here(app)
        if before is None or isinstance(before, PushedSource):
            await self._apps.update(found, source=source)
        for url in self._apps.urls(found):
            yield f"{app} serves {commit[:12]} at {url}"
