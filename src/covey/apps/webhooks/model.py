"""What forges tell, in one form for all of them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class ForgeName(StrEnum):
    """The forges whose webhooks are understood; Forgejo speaks Gitea's."""

    GITHUB = "github"
    GITLAB = "gitlab"
    GITEA = "gitea"
    BITBUCKET = "bitbucket"


class RefKind(StrEnum):
    """What a push moved."""

    BRANCH = "branch"
    TAG = "tag"


class PullAction(StrEnum):
    """What happened to a pull request."""

    OPENED = "opened"
    UPDATED = "updated"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class Repository:
    """A repository: `name` is its path on the forge, such as `acme/shop`.

    `urls` are the addresses that it can be cloned from, as far as the forge tells them.
    """

    name: str
    default_branch: str = ""
    urls: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Push:
    """A branch or tag was moved, made or deleted.

    `commit` is where it was moved to when the forge said so, "" if it was deleted. `paths` are
    the changed files, None if the forge does not tell all of them.
    """

    repository: Repository
    kind: RefKind
    ref: str
    commit: str
    message: str = ""
    paths: frozenset[str] | None = None
    created: bool = False
    deleted: bool = False
    forced: bool = False


@dataclass(frozen=True, slots=True)
class PullRequest:
    """A pull or merge request was opened, got commits, or was closed (merged or not).

    `fetch_ref` is what its head is fetched by from the repository that it is made to, "" if the
    forge has no such ref. `at` is when the forge last changed it, None if it does not tell.
    """

    repository: Repository
    action: PullAction
    number: int
    title: str
    head_commit: str
    head_ref: str
    head_repository: str
    base_ref: str
    from_fork: bool
    fetch_ref: str
    at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Release:
    """A release was published."""

    repository: Repository
    tag: str


@dataclass(frozen=True, slots=True)
class Ping:
    """The forge tries whether the webhook is answered."""


@dataclass(frozen=True, slots=True)
class Unused:
    """Something else happened that causes nothing here; `what` names it."""

    what: str


Event = Push | PullRequest | Release | Ping | Unused
