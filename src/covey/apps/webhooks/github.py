"""GitHub's webhooks: X-Hub-Signature-256, push, pull_request, release and ping.

https://docs.github.com/en/webhooks/webhook-events-and-payloads
"""

from __future__ import annotations

import msgspec

from covey.apps.webhooks.model import (
    Event,
    ForgeName,
    Ping,
    PullAction,
    PullRequest,
    Release,
    Repository,
    Unused,
)
from covey.apps.webhooks.parts import (
    CommitPart,
    is_no_commit,
    read_nothing,
    read_push,
    read_repository,
    unused,
)
from covey.apps.webhooks.payload import (
    PullNumber,
    read_commit,
    read_document,
    read_name,
    read_ref,
    read_text,
    read_time,
)
from covey.apps.webhooks.signatures import Headers, fits_hex

_MOST_COMMITS = 2048
_ACTIONS = {
    "opened": PullAction.OPENED,
    "reopened": PullAction.OPENED,
    "ready_for_review": PullAction.OPENED,
    "synchronize": PullAction.UPDATED,
    "closed": PullAction.CLOSED,
}


class RepositoryPart(msgspec.Struct, frozen=True):
    """A repository."""

    full_name: str
    default_branch: str | None = None
    clone_url: str | None = None
    ssh_url: str | None = None
    html_url: str | None = None

    def read(self) -> Repository:
        """Return the repository."""
        urls = (self.clone_url, self.ssh_url, self.html_url)
        return read_repository(self.full_name, self.default_branch, *urls)


class PushPart(msgspec.Struct, frozen=True):
    """A push."""

    ref: str
    after: str
    repository: RepositoryPart
    created: bool = False
    deleted: bool = False
    forced: bool = False
    head_commit: CommitPart | None = None
    commits: list[CommitPart] = []


class HeadRepositoryPart(msgspec.Struct, frozen=True):
    """The repository of one side of a pull request."""

    full_name: str


class SidePart(msgspec.Struct, frozen=True):
    """One side of a pull request; `repo` is null once a fork was deleted."""

    ref: str
    sha: str
    repo: HeadRepositoryPart | None = None


class PullRequestPart(msgspec.Struct, frozen=True):
    """A pull request."""

    head: SidePart
    base: SidePart
    title: str = ""
    updated_at: str | None = None


class ReleasePart(msgspec.Struct, frozen=True):
    """A release."""

    tag_name: str
    draft: bool = False


class PullDocument(msgspec.Struct, frozen=True):
    """The payload of `pull_request`."""

    action: str
    number: PullNumber
    pull_request: PullRequestPart
    repository: RepositoryPart


class ReleaseDocument(msgspec.Struct, frozen=True):
    """The payload of `release`."""

    action: str
    release: ReleasePart
    repository: RepositoryPart


class GitHub:
    """Implements `Forge`. Each of its payloads holds a time or the repository's state."""

    name = ForgeName.GITHUB
    bodies_differ = True

    def verify(self, secret: str, headers: Headers, body: bytes, now: float) -> bool:
        """Whether X-Hub-Signature-256 fits; the older SHA-1 header is not looked at."""
        return fits_hex(secret, body, headers.get("x-hub-signature-256", ""))

    def delivery(self, headers: Headers) -> str:
        """Return X-GitHub-Delivery."""
        return headers.get("x-github-delivery", "")

    def event(self, headers: Headers) -> str:
        """Return X-GitHub-Event."""
        return headers.get("x-github-event", "")

    def parse(self, headers: Headers, body: bytes) -> tuple[Event, ...]:
        """Return what happened."""
        media, event = headers.get("content-type", ""), self.event(headers)
        match event:
            case "ping":
                read_nothing(body, media)
                return (Ping(),)
            case "push":
                return (_read_push(read_document(body, media, PushPart)),)
            case "pull_request":
                return (_read_pull(read_document(body, media, PullDocument)),)
            case "release":
                return (read_release(read_document(body, media, ReleaseDocument)),)
            case _:
                read_nothing(body, media)
                return (unused(event),)


def _read_push(found: PushPart) -> Event:
    return read_push(
        found.repository.read(),
        found.ref,
        found.after,
        head=found.head_commit,
        commits=found.commits,
        complete=len(found.commits) < _MOST_COMMITS,
        created=found.created,
        deleted=found.deleted or is_no_commit(found.after),
        forced=found.forced,
    )


def _read_pull(found: PullDocument) -> Event:
    action = _ACTIONS.get(found.action)
    if action is None:
        return Unused(f"pull_request {read_text(found.action)[:40]}")
    return pull_request(action, found, f"refs/pull/{found.number}/head")


def pull_request(action: PullAction, found: PullDocument, fetch_ref: str) -> PullRequest:
    """Return a pull request as GitHub and Gitea describe it."""
    head, base = found.pull_request.head, found.pull_request.base
    source = head.repo.full_name if head.repo is not None else ""
    target = base.repo.full_name if base.repo is not None else found.repository.full_name
    from_fork = source.lower() != target.lower()
    # Gitea names a deleted head branch by a ref of its own.
    head_ref = head.ref.removeprefix("refs/heads/") or fetch_ref
    return PullRequest(
        repository=found.repository.read(),
        action=action,
        number=found.number,
        title=read_text(found.pull_request.title),
        head_commit=read_commit(head.sha),
        head_ref=read_ref(head_ref),
        head_repository=read_name(source) if source else "",
        base_ref=read_ref(base.ref.removeprefix("refs/heads/")),
        from_fork=from_fork,
        fetch_ref=fetch_ref,
        at=read_time(found.pull_request.updated_at),
    )


def read_release(found: ReleaseDocument) -> Event:
    """Return a release that was published now."""
    if found.action != "published" or found.release.draft:
        return Unused(f"release {read_text(found.action)[:40]}")
    return Release(found.repository.read(), read_ref(found.release.tag_name))
