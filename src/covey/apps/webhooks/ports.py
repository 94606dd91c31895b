"""What webhooks ask of others: apps that are deployed, and the interface of a forge."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol

import msgspec

from covey.apps.webhooks.model import ForgeName, RefKind
from covey.operations.secret import Secret


class Origin(msgspec.Struct, frozen=True):
    """Which delivery caused a deployment: kept with it, so that the forge hears how it ended.

    `unique` names the work: whoever is asked twice with the same value does it once.
    """

    integration: str
    repository: str
    unique: str = ""


@dataclass(frozen=True, slots=True)
class FedApp:
    """An app of this node that webhooks can deploy, as far as they must know it.

    `url` is its git repository's address, `ref` the branch that it follows or "" for the default.
    `previews` says that its own file asks for previews, `branch` and `paths` which pushes it wants.
    """

    name: str
    url: str = ""
    ref: str = ""
    previews: bool = False
    branch: str = ""
    paths: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class DeployRequest:
    """Deploy a branch or tag of an app.

    `commit` and `message` are what the forge said then. Deliveries may come late and in any order:
    the deployment resolves the branch's present head when it begins, and never deploys `commit`
    because it is named here.
    """

    app: str
    kind: RefKind
    ref: str
    commit: str
    message: str
    origin: Origin
    caller: str


@dataclass(frozen=True, slots=True)
class PreviewRequest:
    """Make a preview of an app or bring it up to date: an app `name`, derived from `parent`.

    Its environment is `preview`, its host follows from its name. `ref` is a branch or a full ref
    (`refs/pull/7/head`) of the parent's repository; as in `DeployRequest`, its present head counts.
    """

    parent: str
    name: str
    number: int
    title: str
    ref: str
    commit: str
    from_fork: bool
    origin: Origin
    caller: str


@dataclass(frozen=True, slots=True)
class PreviewApp:
    """A preview that is there; `updated` is when it was last deployed."""

    parent: str
    name: str
    number: int
    integration: str
    repository: str
    updated: datetime


class Deployer(Protocol):
    """The apps of this node. Requests are durable on return and do not wait for their work.

    Raises `NotFoundError` for an app that is not here, `ConflictError`, `StorageError`.
    """

    def apps(self) -> Sequence[FedApp]:
        """Return this node's apps that have a git source; previews are not among them."""
        ...

    async def deploy(self, request: DeployRequest) -> str:
        """Queue a deployment, and return its id (`shop/12`)."""
        ...

    async def open_preview(self, request: PreviewRequest) -> str:
        """Queue a preview's deployment, and return the preview's name."""
        ...

    async def close_preview(self, parent: str, number: int, caller: str) -> bool:
        """Queue a preview's removal with all that it has; False if there is none."""
        ...

    def previews(self) -> Sequence[PreviewApp]:
        """Return the previews on this node that are not being removed."""
        ...


class CommitState(StrEnum):
    """What a commit's page on the forge says of a deployment."""

    PENDING = "pending"
    SUCCESS = "success"
    FAILURE = "failure"


class CommitStatus(msgspec.Struct, frozen=True):
    """The status of one commit: `context` names the app, `url` is what its link opens."""

    commit: str
    state: CommitState
    context: str
    description: str
    url: str = ""


class PullState(StrEnum):
    """Whether a pull request still needs its preview."""

    OPEN = "open"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class ForgeAccess:
    """Where a forge's interface is, and what opens it. An empty `base` is the public one."""

    forge: ForgeName
    base: str
    token: Secret


class ForgeInterface(Protocol):
    """The interfaces of forges.

    Raises `RefusedError` (token), `NotFoundError`, `InvalidRequestError` when another attempt is
    in vain, and `UnreachableError` or `RateLimitedError` when it is not. None of them holds the
    token.
    """

    async def set_status(self, access: ForgeAccess, repository: str, status: CommitStatus) -> None:
        """Set a commit's status; the one of the same context is replaced."""
        ...

    async def pull_state(self, access: ForgeAccess, repository: str, number: int) -> PullState:
        """Return whether a pull request is open."""
        ...
