"""Bitbucket Cloud's webhooks: X-Hub-Signature, repo:push and pullrequest:….

https://support.atlassian.com/bitbucket-cloud/docs/event-payloads/
"""

from __future__ import annotations

import msgspec

from covey.apps.webhooks.model import (
    Event,
    ForgeName,
    Ping,
    PullAction,
    PullRequest,
    Push,
    RefKind,
    Repository,
    Unused,
)
from covey.apps.webhooks.parts import (
    UNKNOWN_REF,
    read_nothing,
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

_ACTIONS = {
    "pullrequest:created": PullAction.OPENED,
    "pullrequest:updated": PullAction.UPDATED,
    "pullrequest:fulfilled": PullAction.CLOSED,
    "pullrequest:rejected": PullAction.CLOSED,
}
_KINDS = {
    "branch": RefKind.BRANCH,
    "named_branch": RefKind.BRANCH,
    "tag": RefKind.TAG,
    "annotated_tag": RefKind.TAG,
}
_MOST_CHANGES = 100


class LinkPart(msgspec.Struct, frozen=True):
    """A link."""

    href: str | None = None


class LinksPart(msgspec.Struct, frozen=True):
    """The links of a repository."""

    html: LinkPart | None = None


class RepositoryPart(msgspec.Struct, frozen=True):
    """A repository."""

    full_name: str
    links: LinksPart | None = None

    def read(self) -> Repository:
        """Return the repository."""
        html = self.links.html if self.links is not None else None
        return read_repository(self.full_name, None, html.href if html else None)


class TargetPart(msgspec.Struct, frozen=True):
    """A commit."""

    hash: str
    message: str | None = None


class RefPart(msgspec.Struct, frozen=True):
    """A branch or tag, and where it points."""

    type: str
    name: str
    target: TargetPart


class ChangePart(msgspec.Struct, frozen=True):
    """One of the refs that a push moved; `new` is null if it was deleted."""

    new: RefPart | None = None
    old: RefPart | None = None
    forced: bool = False


class ChangesPart(msgspec.Struct, frozen=True):
    """The changes of a push."""

    changes: list[ChangePart]


class PushDocument(msgspec.Struct, frozen=True):
    """The payload of `repo:push`."""

    repository: RepositoryPart
    push: ChangesPart


class BranchPart(msgspec.Struct, frozen=True):
    """A branch."""

    name: str


class SidePart(msgspec.Struct, frozen=True):
    """One side of a pull request; what was deleted since is null."""

    branch: BranchPart
    commit: TargetPart | None = None
    repository: RepositoryPart | None = None


class PullPart(msgspec.Struct, frozen=True):
    """A pull request."""

    id: PullNumber
    source: SidePart
    destination: SidePart
    title: str = ""
    updated_on: str | None = None


class PullDocument(msgspec.Struct, frozen=True):
    """The payload of `pullrequest:…`."""

    repository: RepositoryPart
    pullrequest: PullPart


class Bitbucket:
    """Implements `Forge`. A branch that is moved there and back gives equal bodies."""

    name = ForgeName.BITBUCKET
    bodies_differ = False

    def verify(self, secret: str, headers: Headers, body: bytes, now: float) -> bool:
        """Whether X-Hub-Signature fits."""
        return fits_hex(secret, body, headers.get("x-hub-signature", ""))

    def delivery(self, headers: Headers) -> str:
        """Return X-Request-UUID, which repeats with each attempt."""
        return headers.get("x-request-uuid", "")

    def event(self, headers: Headers) -> str:
        """Return X-Event-Key."""
        return headers.get("x-event-key", "")

    def parse(self, headers: Headers, body: bytes) -> tuple[Event, ...]:
        """Return what happened: one push can move several branches."""
        media, event = headers.get("content-type", ""), self.event(headers)
        if event == "repo:push":
            return _read_push(read_document(body, media, PushDocument))
        if event in _ACTIONS:
            return (_read_pull(_ACTIONS[event], read_document(body, media, PullDocument)),)
        read_nothing(body, media)
        if event == "diagnostics:ping":
            return (Ping(),)
        return (unused(event),)


def _read_push(found: PushDocument) -> tuple[Event, ...]:
    repository = found.repository.read()
    events = [_read_change(repository, item) for item in found.push.changes[:_MOST_CHANGES]]
    return tuple(events) or (Unused("repo:push without changes"),)


def _read_change(repository: Repository, change: ChangePart) -> Event:
    present = change.new or change.old
    kind = _KINDS.get(present.type) if present is not None else None
    if present is None or kind is None:
        return UNKNOWN_REF
    new = change.new
    return Push(
        repository=repository,
        kind=kind,
        ref=read_ref(present.name),
        commit="" if new is None else read_commit(new.target.hash),
        message="" if new is None else read_text(new.target.message),
        created=change.old is None,
        deleted=new is None,
        forced=change.forced,
    )


def _read_pull(action: PullAction, found: PullDocument) -> Event:
    pull = found.pullrequest
    target = pull.destination.repository or found.repository
    source = pull.source.repository.full_name if pull.source.repository is not None else ""
    if pull.source.commit is None and action is not PullAction.CLOSED:
        return Unused("a pull request without commits")
    return PullRequest(
        repository=found.repository.read(),
        action=action,
        number=pull.id,
        title=read_text(pull.title),
        head_commit=read_commit(pull.source.commit.hash) if pull.source.commit else "",
        head_ref=read_ref(pull.source.branch.name),
        head_repository=read_name(source) if source else "",
        base_ref=read_ref(pull.destination.branch.name),
        from_fork=source.lower() != target.full_name.lower(),
        fetch_ref="",
        at=read_time(pull.updated_on),
    )
