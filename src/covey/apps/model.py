"""An app, its deployments and what runs of it: the records that Covey keeps."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

import msgspec

from covey.apps.config.load import AppFile
from covey.apps.config.model import AppConfig
from covey.apps.sources import Source
from covey.apps.webhooks.ports import Origin
from covey.store.api import NodeId


class Trigger(StrEnum):
    """What a deployment was made for."""

    DEPLOY = "deploy"
    PUSH = "push"
    WEBHOOK = "webhook"
    ROLLBACK = "rollback"
    RESTART = "restart"
    SCALE = "scale"
    CONFIG = "config"
    START = "start"
    PREVIEW = "preview"

    @property
    def builds(self) -> bool:
        """Whether it makes a new version of the app, with its release command."""
        return self in {Trigger.DEPLOY, Trigger.PUSH, Trigger.WEBHOOK, Trigger.PREVIEW}


class DeploymentState(StrEnum):
    """Where a deployment is."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    SUPERSEDED = "superseded"
    ROLLED_BACK = "rolled-back"
    """It served, failed within its watch, and the version before took its place again."""

    @property
    def ended(self) -> bool:
        """Whether it will not change any more."""
        return self not in {DeploymentState.QUEUED, DeploymentState.RUNNING}


class Preview(msgspec.Struct, frozen=True):
    """What an app is a preview of: a pull request of `repository`, as `integration` told."""

    parent: str
    number: int
    integration: str = ""
    repository: str = ""


class App(msgspec.Struct, frozen=True):
    """An app as the fleet knows it. `host` is the machine that runs it.

    `overrides` win over the app file in its source.
    """

    name: str
    host: NodeId
    project: str
    environment: str
    created: datetime
    source: Source | None = None
    overrides: dict[str, object] = {}
    preview: Preview | None = None
    stopped: bool = False
    maintenance: bool = False


class Built(msgspec.Struct, frozen=True):
    """What a deployment runs: an image, or a directory of files."""

    image: str = ""
    static: str = ""


class Release(msgspec.Struct, frozen=True):
    """A version of an app that can be run, also again: what was built, and how it is run.

    `built_by` is the number of the deployment that built it, `file` the app file of its source,
    `config` that file under the overrides of the moment.
    """

    built: Built
    built_by: int
    file: AppFile
    config: AppConfig
    port: int


class Deployment(msgspec.Struct, frozen=True):
    """One attempt to bring a version of an app into service; `number` counts per app.

    `release` is known once it was built and is begun to run; `of` is the deployment whose release
    is run again, `replaces` the one that served when this one began. `resting` says that the app
    was stopped then. `volumes` are those that it is the first to have, until it serves. `undoing`
    is how it will have ended once what it did is undone.
    """

    app: str
    number: int
    trigger: Trigger
    state: DeploymentState
    created: datetime
    caller: str
    source: Source | None = None
    of: int | None = None
    replaces: int | None = None
    resting: bool = False
    volumes: tuple[str, ...] = ()
    undoing: DeploymentState | None = None
    job: str = ""
    origin: Origin | None = None
    commit: str = ""
    message: str = ""
    release: Release | None = None
    started: datetime | None = None
    ended: datetime | None = None
    reason: str = ""
    hint: str | None = None


class Running(msgspec.Struct, frozen=True):
    """Which deployment of an app is in service here."""

    app: str
    number: int
    release: Release
    since: datetime
