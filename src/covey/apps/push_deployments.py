"""What a push does to an app: its commit is deployed, and the deployment's log is heard."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection
from contextlib import aclosing

from covey.apps.changed_files import names_any
from covey.apps.config.model import GitTrigger
from covey.apps.model import App, DeploymentState, Trigger
from covey.apps.service import Apps, Wanted
from covey.apps.sources import PushedSource
from covey.errors import ConflictError, CoveyError

_REMEMBERED = 8000
_KEPT = 20
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
        wanted = self._trigger(app).branch
        if wanted is not None:
            return branch == wanted
        if isinstance(source, PushedSource):
            return branch == source.ref
        return branch in _BRANCHES

    def wants(self, app: str, changed: Collection[str] | None) -> bool:
        """Whether a push of these files is deployed; None if it is not known which they are."""
        patterns = self._trigger(app).paths
        return changed is None or not patterns or names_any(patterns, changed)

    async def deploy(self, app: str, branch: str, commit: str, message: str, caller: str) -> int:
        """Ask for a commit's deployment, and return its number."""
        found = self._apps.here(app)
        before = found.source
        where = before.subdirectory if isinstance(before, PushedSource) else ""
        source = PushedSource(commit, branch, where)
        wanted = Wanted(Trigger.PUSH, caller, source, commit=commit, message=message)
        return (await self._apps.deploy(found, wanted)).number

    async def follow(self, app: str, number: int) -> AsyncGenerator[str, None]:
        """Yield the lines of a deployment's log, and at the end where the app serves."""
        started = self._apps.deployments.get(app, number)
        jobs = self._apps.hosting.jobs
        said = ""
        logs = jobs.logs(started.job, follow=True)
        async with aclosing(logs) as lines:  # type: ignore[type-var]
            async for line in lines:
                said = f"{said}\n{line.text}"[-_REMEMBERED:]
                yield line.text
        job = await jobs.wait(started.job)
        ended = await self._apps.settle(app, number)
        if ended.state is DeploymentState.SUPERSEDED:
            raise ConflictError(
                f"Deployment {number} of {app} was superseded by a newer one.",
                hint=f"covey apps deployments {app}",
            )
        if ended.state is not DeploymentState.SUCCEEDED:
            why = ended.reason or job.state.value
            raise DeploymentFailedError(
                f"Deployment {number} of {app} did not succeed"
                + ("." if why in said else f": {why}"),
                hint=f"covey apps deployment-logs {app} {number}",
            )
        found = self._apps.here(app)
        if isinstance(started.source, PushedSource):
            await self._follow_branch(found, started.source, number)
            for url in self._apps.urls(found):
                yield f"{app} serves {started.source.commit[:12]} at {url}"

    def needed(self, app: str) -> set[str]:
        """Return the commits that were deployed of late, and the app's own."""
        source = self._apps.here(app).source
        recent = [item.source for item in self._apps.deployments.of(app)[:_KEPT]]
        return {item.commit for item in (source, *recent) if isinstance(item, PushedSource)}

    async def _follow_branch(self, app: App, source: PushedSource, number: int) -> None:
        """Let the app be made of what was pushed, unless something newer serves by now."""
        follows = app.source is None or isinstance(app.source, PushedSource)
        if follows and self._apps.deployments.serves(app.name, number):
            await self._apps.update(app, source=source)

    def _trigger(self, app: str) -> GitTrigger:
        running = self._apps.deployments.running(app)
        return GitTrigger() if running is None else running.release.config.deploy.git
