"""Apps and deployments as their users see them."""

from __future__ import annotations

from datetime import datetime

import msgspec

from covey.apps.config.merge import EffectiveValue, explain
from covey.apps.config.model import WEB
from covey.apps.model import App, Deployment, DeploymentState, Running
from covey.apps.service import Apps
from covey.apps.sources import GitSource, ImageSource, PushedSource, Source, UploadSource


class Destroyed(msgspec.Struct, frozen=True):
    """What was removed, and the volumes of it that stay, with their data."""

    app: str
    volumes: list[str]


class AppSummary(msgspec.Struct, frozen=True):
    """One app. `state` is running, stopped, maintenance, deploying, failed or new.

    Of an app that is not `here` (on the machine that was asked), only `host` knows more.
    """

    name: str
    state: str
    url: str | None
    host: str
    project: str
    environment: str
    deployment: int | None
    commit: str
    updated: datetime
    here: bool = True


class ProcessView(msgspec.Struct, frozen=True):
    """A process of an app and how many containers it has."""

    name: str
    replicas: int
    command: str | None = None


class AppView(msgspec.Struct, frozen=True):
    """One app in full; `settings` lists each value that is no default, and where it is from."""

    name: str
    state: str
    urls: list[str]
    host: str
    project: str
    environment: str
    source: str
    deployment: int | None
    commit: str
    created: datetime
    processes: list[ProcessView]
    settings: list[EffectiveValue]
    preview_of: str | None = None


class DeploymentView(msgspec.Struct, frozen=True):
    """One deployment; `job` is the id under which its log is kept."""

    app: str
    number: int
    state: DeploymentState
    trigger: str
    source: str
    commit: str
    message: str
    caller: str
    created: datetime
    started: datetime | None
    ended: datetime | None
    job: str
    serving: bool = False
    reason: str = ""
    hint: str | None = None
    urls: list[str] = []


def describe_source(source: Source | None) -> str:
    """Name a source in a few words."""
    match source:
        case None:
            return ""
        case GitSource(url=url, ref=ref):
            return f"{url}#{ref}" if ref else url
        case PushedSource(ref=ref):
            return f"git push ({ref})"
        case UploadSource():
            return "uploaded directory"
        case ImageSource(reference=reference):
            return f"image {reference}"


def _state_of(apps: Apps, app: App, running: Running | None) -> str:
    """Return the word for what an app does; of another machine's app only what the fleet knows."""
    if app.host != apps.node:
        return "stopped" if app.stopped else "elsewhere"
    latest = apps.deployments.latest(app.name)
    if latest is not None and not latest.state.ended:
        return "deploying"
    if running is None:
        return "new" if latest is None else "failed"
    if app.stopped:
        return "stopped"
    return "maintenance" if app.maintenance else "running"


def summarize(apps: Apps, app: App) -> AppSummary:
    """Describe an app in one line."""
    here = app.host == apps.node
    running = apps.deployments.running(app.name) if here else None
    deployment = None if running is None else apps.deployments.find(app.name, running.number)
    urls = apps.urls(app) if here else []
    return AppSummary(
        name=app.name,
        state=_state_of(apps, app, running),
        url=urls[0] if urls else None,
        host=apps.host_name(app.host),
        project=app.project,
        environment=app.environment,
        deployment=None if running is None else running.number,
        commit="" if deployment is None else deployment.commit[:12],
        updated=app.created if running is None else running.since,
        here=here,
    )


def view_app(apps: Apps, app: App) -> AppView:
    """Describe an app of this node in full."""
    running = apps.deployments.running(app.name)
    deployment = None if running is None else apps.deployments.find(app.name, running.number)
    processes = []
    settings: list[EffectiveValue] = []
    if running is not None:
        config = running.release.config
        names = [] if running.release.built.static else [WEB]
        names += [name for name in config.processes if name != WEB]
        processes = [
            ProcessView(
                name,
                config.replicas(name),
                config.processes[name].command if name in config.processes else None,
            )
            for name in names
        ]
        settings = [
            item
            for item in explain(running.release.file, app.overrides)
            if item.origin != "default"
        ]
    return AppView(
        name=app.name,
        state=_state_of(apps, app, running),
        urls=apps.urls(app),
        host=apps.host_name(app.host),
        project=app.project,
        environment=app.environment,
        source=describe_source(app.source),
        deployment=None if running is None else running.number,
        commit="" if deployment is None else deployment.commit,
        created=app.created,
        processes=processes,
        settings=settings,
        preview_of=None if app.preview is None else app.preview.parent,
    )


def without_output(view: DeploymentView) -> DeploymentView:
    """Leave out of a deployment's end what may quote its output: logs are not for viewers."""
    first = view.reason.partition("\n")[0]
    return msgspec.structs.replace(view, reason=first, hint=None)


def view_deployment(apps: Apps, item: Deployment) -> DeploymentView:
    """Describe a deployment."""
    serving = apps.deployments.serves(item.app, item.number)
    app = apps.records.find(item.app) if serving else None
    return DeploymentView(
        app=item.app,
        number=item.number,
        state=item.state,
        trigger=item.trigger,
        source=describe_source(item.source),
        commit=item.commit,
        message=item.message.partition("\n")[0],
        caller=item.caller,
        created=item.created,
        started=item.started,
        ended=item.ended,
        job=item.job,
        serving=serving,
        reason=item.reason,
        hint=item.hint,
        urls=[] if app is None else apps.urls(app),
    )
