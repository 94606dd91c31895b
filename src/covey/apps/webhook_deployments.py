"""What webhooks cause: deployments of this node's apps, and previews that come and go.

Opening and closing a preview are jobs with one key, so that they follow each other in the order in
which they were asked for, whatever their work takes.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from datetime import datetime

import msgspec

from covey.apps.model import App, Deployment, DeploymentState, Preview, Trigger
from covey.apps.service import Apps, Wanted
from covey.apps.sources import GitSource
from covey.apps.webhooks.model import RefKind
from covey.apps.webhooks.ports import (
    CommitState,
    DeployRequest,
    FedApp,
    Origin,
    PreviewApp,
    PreviewRequest,
)
from covey.apps.webhooks.previews import preview_name
from covey.apps.webhooks.statuses import CommitStatuses
from covey.errors import ConflictError
from covey.jobs.api import JobKind, JobRun, Jobs, NewJob
from covey.jobs.model import JobState

ENVIRONMENT = "preview"
_OPEN = "apps.open-preview"
_CLOSE = "apps.close-preview"
_PENDING = frozenset({JobState.SCHEDULED, JobState.QUEUED, JobState.RUNNING})
_MOST_RECENT = 1000
_REFS = {RefKind.BRANCH: "refs/heads/", RefKind.TAG: "refs/tags/"}


class OpenJob(msgspec.Struct, frozen=True):
    """A preview to be deployed."""

    parent: str
    name: str
    preview: Preview
    source: GitSource
    title: str
    origin: Origin


class CloseJob(msgspec.Struct, frozen=True):
    """A preview to be removed."""

    name: str


class WebhookDeployments:
    """Implements `Deployer` on the apps of this node."""

    def __init__(self, apps: Apps, jobs: Jobs) -> None:
        self._apps = apps
        self._jobs = jobs
        self._recent: OrderedDict[str, str] = OrderedDict()

    def job_kinds(self) -> tuple[JobKind, ...]:
        """Return the kinds of its jobs."""
        return (JobKind(_OPEN, self._open), JobKind(_CLOSE, self._close))

    def apps(self) -> list[FedApp]:
        """Return this node's apps that have a git source."""
        return [
            self._fed(app, app.source)
            for app in self._apps.records.on(self._apps.node)
            if isinstance(app.source, GitSource) and app.preview is None
        ]

    async def deploy(self, request: DeployRequest) -> str:
        """Queue a deployment of a branch's or tag's head, as it is when that begins."""
        app = self._apps.here(request.app)
        unique = request.origin.unique
        if unique in self._recent:
            return self._recent[unique]
        ref = _REFS[request.kind] + request.ref
        source = msgspec.structs.replace(_git_source(app), ref=ref, commit="")
        made = await self._apps.deploy(
            app,
            Wanted(
                Trigger.WEBHOOK,
                request.caller,
                source,
                message=request.message,
                origin=request.origin,
            ),
        )
        # Lost with the process: once more the same head does no harm.
        name = f"{made.app}/{made.number}"
        if unique:
            self._recent[unique] = name
            if len(self._recent) > _MOST_RECENT:
                self._recent.popitem(last=False)
        return name

    async def open_preview(self, request: PreviewRequest) -> str:
        """Queue a preview's deployment."""
        parent = self._apps.here(request.parent)
        ref = request.ref if request.ref.startswith("refs/") else f"refs/heads/{request.ref}"
        source = msgspec.structs.replace(_git_source(parent), ref=ref, commit="")
        if request.from_fork and source.key:
            # Its submodules could name whatever else the key opens.
            source = msgspec.structs.replace(source, submodules=False)
        preview = Preview(
            parent.name, request.number, request.origin.integration, request.origin.repository
        )
        found = self._apps.records.find(request.name)
        if found is not None and not _is_of(found, preview):
            raise ConflictError(
                f"There is an app called {request.name} already, which is no such preview.",
                hint="Give that app another name.",
            )
        job = OpenJob(parent.name, request.name, preview, source, request.title, request.origin)
        await self._enqueue(_OPEN, job, request.name, request.caller, request.origin.unique)
        return request.name

    async def close_preview(self, parent: str, number: int, caller: str) -> bool:
        """Queue a preview's removal with all that it has; False if there is none."""
        name = preview_name(parent, number)
        found = self._apps.records.find(name)
        is_here = (
            found is not None
            and found.preview is not None
            and (found.preview.parent, found.preview.number) == (parent, number)
            and found.host == self._apps.node
        )
        if self._pending(name) == _CLOSE or not (is_here or self._pending(name) == _OPEN):
            return False
        await self._enqueue(_CLOSE, CloseJob(name), name, caller)
        return True

    def previews(self) -> list[PreviewApp]:
        """Return the previews on this node that are not being removed."""
        return [
            PreviewApp(
                parent=app.preview.parent,
                name=app.name,
                number=app.preview.number,
                integration=app.preview.integration,
                repository=app.preview.repository,
                updated=self._updated(app),
            )
            for app in self._apps.records.on(self._apps.node)
            if app.preview is not None and self._pending(app.name) != _CLOSE
        ]

    async def _enqueue(
        self, kind: str, payload: msgspec.Struct, name: str, caller: str, unique: str = ""
    ) -> None:
        verb = "Open" if kind == _OPEN else "Remove"
        await self._jobs.enqueue(
            NewJob(
                kind,
                payload,
                f"{verb} the preview {name}",
                subject=_subject(name),
                key=_subject(name),
                supersede=True,
                unique=f"{kind}/{unique}" if unique else None,
                caller=caller,
            )
        )

    async def _open(self, run: JobRun) -> None:
        asked = run.payload(OpenJob)
        parent = self._apps.here(asked.parent)
        app = self._apps.records.find(asked.name)
        if app is None:
            app = await self._apps.create(
                asked.name,
                project=parent.project,
                environment=ENVIRONMENT,
                source=asked.source,
                preview=asked.preview,
                overrides=parent.overrides,
            )
        elif not _is_of(app, asked.preview):
            raise ConflictError(f"The app {asked.name} is no such preview.")
        app = await self._apps.update(app, source=asked.source)
        if self._with_origin(app.name, asked.origin) is None:
            await self._apps.deploy(
                app,
                Wanted(Trigger.PREVIEW, run.caller, message=asked.title, origin=asked.origin),
            )

    async def _close(self, run: JobRun) -> None:
        app = self._apps.records.find(run.payload(CloseJob).name)
        if app is not None and app.preview is not None and app.host == self._apps.node:
            await self._apps.destroy(app, volumes=True)

    def _with_origin(self, app: str, origin: Origin) -> Deployment | None:
        """Return the deployment that was queued for the same work before."""
        if not origin.unique:
            return None
        found = (item for item in self._apps.deployments.of(app) if item.origin == origin)
        return next(found, None)

    def _pending(self, name: str) -> str | None:
        """Return what is to be done with a preview last, or None."""
        found = self._jobs.find(states=_PENDING, subject=_subject(name))
        return found[0].kind if found else None

    def _fed(self, app: App, source: GitSource) -> FedApp:
        running = self._apps.deployments.running(app.name)
        if running is None:
            return FedApp(app.name, source.url, source.ref)
        config = running.release.config
        wanted = config.deploy.git
        return FedApp(
            app.name,
            source.url,
            source.ref,
            config.preview.enabled,
            wanted.branch or "",
            wanted.paths,
        )

    def _updated(self, app: App) -> datetime:
        deployments = self._apps.deployments.of(app.name)
        return deployments[0].created if deployments else app.created


class StatusReports:
    """Tells forges how the deployments go that followed from their deliveries."""

    def __init__(self, statuses: CommitStatuses, url_of: Callable[[str], str]) -> None:
        self._statuses = statuses
        self._url_of = url_of
        self._reporting: set[asyncio.Task[None]] = set()

    def changed(self, deployment: Deployment) -> None:
        """Report a deployment's state, once its commit is known; must run in the event loop."""
        state = _STATES.get(deployment.state)
        if deployment.origin is None or state is None or not deployment.commit:
            return
        task = asyncio.get_running_loop().create_task(
            self._statuses.report(
                deployment.origin,
                app=deployment.app,
                commit=deployment.commit,
                state=state,
                description=_describe(deployment),
                url=self._url_of(deployment.app) if state is CommitState.SUCCESS else "",
            )
        )
        self._reporting.add(task)
        task.add_done_callback(self._reporting.discard)

    async def close(self) -> None:
        """Wait until the reports that began are queued."""
        await asyncio.gather(*self._reporting, return_exceptions=True)


_STATES = {
    DeploymentState.RUNNING: CommitState.PENDING,
    DeploymentState.SUCCEEDED: CommitState.SUCCESS,
    DeploymentState.FAILED: CommitState.FAILURE,
    DeploymentState.CANCELLED: CommitState.FAILURE,
    DeploymentState.ROLLED_BACK: CommitState.FAILURE,
}


def _describe(deployment: Deployment) -> str:
    what = f"{deployment.app} deployment {deployment.number}"
    match deployment.state:
        case DeploymentState.RUNNING:
            return f"{what} is under way"
        case DeploymentState.SUCCEEDED:
            return f"{what} serves"
        case _:
            # The reason may quote what the build printed, which is not for the forge's readers.
            return f"{what} {deployment.state.value.replace('-', ' ')}"


def _git_source(app: App) -> GitSource:
    if not isinstance(app.source, GitSource):
        raise ConflictError(
            f"{app.name} is not made of a git repository.",
            hint=f"Name one: covey apps source {app.name} --git URL",
        )
    return app.source


def _is_of(app: App, preview: Preview) -> bool:
    found = app.preview
    return found is not None and (found.parent, found.number) == (preview.parent, preview.number)


def _subject(name: str) -> str:
    return f"preview/{name}"
