"""GitLab's webhooks: X-Gitlab-Token or a signing token, push, tag_push, merge_request, release.

https://docs.gitlab.com/user/project/integrations/webhook_events/
"""

from __future__ import annotations

import msgspec

from covey.apps.webhooks.model import (
    Event,
    ForgeName,
    PullAction,
    PullRequest,
    Release,
    Repository,
    Unused,
)
from covey.apps.webhooks.parts import (
    CommitPart,
    is_no_commit,
    read_push,
    read_repository,
    unused,
)
from covey.apps.webhooks.payload import (
    PullNumber,
    read_as,
    read_commit,
    read_fields,
    read_name,
    read_ref,
    read_text,
    read_time,
)
from covey.apps.webhooks.signatures import Headers, fits_standard, fits_token

_CLOSING = {"close", "merge"}
_OPENING = {"open", "reopen"}


class ProjectPart(msgspec.Struct, frozen=True):
    """A project."""

    path_with_namespace: str
    default_branch: str | None = None
    git_http_url: str | None = None
    git_ssh_url: str | None = None
    web_url: str | None = None

    def read(self) -> Repository:
        """Return the repository."""
        urls = (self.git_http_url, self.git_ssh_url, self.web_url)
        return read_repository(self.path_with_namespace, self.default_branch, *urls)


class Kind(msgspec.Struct, frozen=True):
    """What every payload says of itself."""

    object_kind: str = ""


class PushPart(msgspec.Struct, frozen=True):
    """A push of a branch or tag; of its commits, at most the 20 newest are listed."""

    ref: str
    before: str
    after: str
    project: ProjectPart
    checkout_sha: str | None = None
    commits: list[CommitPart] | None = None
    total_commits_count: int | None = None


class SidePart(msgspec.Struct, frozen=True):
    """The project of one side of a merge request."""

    path_with_namespace: str


class AttributesPart(msgspec.Struct, frozen=True):
    """A merge request; `oldrev` is there if commits were pushed to it."""

    iid: PullNumber
    source_branch: str
    target_branch: str
    target: SidePart
    last_commit: CommitPart
    source: SidePart | None = None
    source_project_id: int | None = None
    target_project_id: int | None = None
    action: str = ""
    oldrev: str | None = None
    title: str = ""
    updated_at: str | None = None


class MergeDocument(msgspec.Struct, frozen=True):
    """The payload of a merge request."""

    project: ProjectPart
    object_attributes: AttributesPart


class ReleaseDocument(msgspec.Struct, frozen=True):
    """The payload of a release."""

    project: ProjectPart
    tag: str
    action: str = ""


class GitLab:
    """Implements `Forge`. A branch that is moved there and back gives equal bodies."""

    name = ForgeName.GITLAB
    bodies_differ = False

    def verify(self, secret: str, headers: Headers, body: bytes, now: float) -> bool:
        """Whether the signature fits if there is one, and else whether X-Gitlab-Token does."""
        signed = fits_standard(secret, headers, body, now)
        known = fits_token(secret, headers.get("x-gitlab-token", ""))
        return signed if "webhook-signature" in headers else known

    def delivery(self, headers: Headers) -> str:
        """Return the signed id, or Idempotency-Key, which repeats with each attempt."""
        found = (headers.get(name, "") for name in ("webhook-id", "idempotency-key"))
        return next(filter(None, found), headers.get("x-gitlab-event-uuid", ""))

    def event(self, headers: Headers) -> str:
        """Return X-Gitlab-Event."""
        return headers.get("x-gitlab-event", "")

    def parse(self, headers: Headers, body: bytes) -> tuple[Event, ...]:
        """Return what happened; the payload itself says what it is of."""
        fields = read_fields(body, headers.get("content-type", ""))
        kind = read_as(fields, Kind).object_kind
        match kind:
            case "push" | "tag_push":
                return (_read_push(read_as(fields, PushPart)),)
            case "merge_request":
                return (_read_merge(read_as(fields, MergeDocument)),)
            case "release":
                return (_read_release(read_as(fields, ReleaseDocument)),)
            case _:
                return (unused(kind),)


def _read_push(found: PushPart) -> Event:
    commits = found.commits or []
    # An annotated tag's own id is not that of a commit.
    target = found.checkout_sha or found.after
    return read_push(
        found.project.read(),
        found.ref,
        target,
        head=next((one for one in commits if one.id == target), None),
        commits=commits,
        complete=found.total_commits_count == len(commits),
        created=is_no_commit(found.before),
        deleted=is_no_commit(found.after),
    )


def _read_merge(found: MergeDocument) -> Event:
    given = found.object_attributes
    action = _action_of(given)
    if action is None:
        return Unused(f"merge_request {read_text(given.action)[:40]}")
    source = given.source.path_with_namespace if given.source is not None else ""
    from_fork = given.source_project_id != given.target_project_id or (
        source.lower() != given.target.path_with_namespace.lower()
    )
    return PullRequest(
        repository=found.project.read(),
        action=action,
        number=given.iid,
        title=read_text(given.title),
        head_commit=read_commit(given.last_commit.id),
        head_ref=read_ref(given.source_branch),
        head_repository=read_name(source) if source else "",
        base_ref=read_ref(given.target_branch),
        from_fork=from_fork,
        fetch_ref=f"refs/merge-requests/{given.iid}/head",
        at=read_time(given.updated_at),
    )


def _action_of(given: AttributesPart) -> PullAction | None:
    if given.action in _OPENING:
        return PullAction.OPENED
    if given.action in _CLOSING:
        return PullAction.CLOSED
    return PullAction.UPDATED if given.action == "update" and given.oldrev else None


def _read_release(found: ReleaseDocument) -> Event:
    if found.action != "create":
        return Unused(f"release {read_text(found.action)[:40]}")
    return Release(found.project.read(), read_ref(found.tag))
