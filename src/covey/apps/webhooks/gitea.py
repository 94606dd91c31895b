"""Gitea's and Forgejo's webhooks: X-Gitea-Signature, and payloads close to GitHub's.

https://docs.gitea.com/usage/webhooks, https://forgejo.org/docs/latest/user/webhooks/
"""

from __future__ import annotations

import msgspec

from covey.apps.webhooks.github import (
    Anything,
    CommitPart,
    PullDocument,
    ReleaseDocument,
    RepositoryPart,
    pull_request,
    read_release,
)
from covey.apps.webhooks.model import (
    Event,
    ForgeName,
    Ping,
    PullAction,
    Push,
    RefKind,
    Unused,
)
from covey.apps.webhooks.payload import (
    gather_paths,
    read_commit,
    read_document,
    read_text,
    split_ref,
)
from covey.apps.webhooks.signatures import Headers, fits_hex

_ACTIONS = {
    "opened": PullAction.OPENED,
    "reopened": PullAction.OPENED,
    "synchronized": PullAction.UPDATED,
    "closed": PullAction.CLOSED,
}
_FLAVOURS = ("gitea", "forgejo")


class PushPart(msgspec.Struct, frozen=True):
    """A push; of its `total_commits`, only the newest are listed."""

    ref: str
    before: str
    after: str
    repository: RepositoryPart
    total_commits: int | None = None
    commits: list[CommitPart] | None = None
    head_commit: CommitPart | None = None


class Gitea:
    """Implements `Forge`. Each of its payloads holds the time of the repository's last change."""

    name = ForgeName.GITEA
    bodies_differ = True

    def verify(self, secret: str, headers: Headers, body: bytes, now: float) -> bool:
        """Whether one of the signature headers fits; all of them hold the same HMAC."""
        names = ["x-hub-signature-256", *(f"x-{flavour}-signature" for flavour in _FLAVOURS)]
        return fits_hex(secret, body, *(headers.get(name, "") for name in names))

    def delivery(self, headers: Headers) -> str:
        """Return X-Gitea-Delivery or X-Forgejo-Delivery."""
        return _either(headers, "delivery")

    def event(self, headers: Headers) -> str:
        """Return X-Gitea-Event or X-Forgejo-Event."""
        return _either(headers, "event")

    def parse(self, headers: Headers, body: bytes) -> tuple[Event, ...]:
        """Return what happened. Its button for a test sends a push."""
        media, event = headers.get("content-type", ""), self.event(headers)
        match event:
            case "ping":
                read_document(body, media, Anything)
                return (Ping(),)
            case "push":
                return (_read_push(read_document(body, media, PushPart)),)
            case "pull_request" | "pull_request_sync":
                return (_read_pull(read_document(body, media, PullDocument)),)
            case "release":
                return (read_release(read_document(body, media, ReleaseDocument)),)
            case _:
                read_document(body, media, Anything)
                return (Unused(read_text(event)[:80] or "an event without a name"),)


def _read_push(found: PushPart) -> Event:
    ref = split_ref(found.ref)
    if ref is None:
        return Unused("push of a ref that is no branch or tag")
    is_tag, name = ref
    commits = found.commits or []
    deleted = not found.after.strip("0")
    head = found.head_commit or next((one for one in commits if one.id == found.after), None)
    return Push(
        repository=found.repository.read(),
        kind=RefKind.TAG if is_tag else RefKind.BRANCH,
        ref=name,
        commit="" if deleted else read_commit(found.after),
        message=read_text(head.message) if head is not None else "",
        paths=gather_paths(
            [(item.added, item.modified, item.removed) for item in commits],
            complete=found.total_commits == len(commits),
        ),
        created=not found.before.strip("0"),
        deleted=deleted,
    )


def _read_pull(found: PullDocument) -> Event:
    action = _ACTIONS.get(found.action)
    if action is None:
        return Unused(f"pull_request {read_text(found.action)[:40]}")
    return pull_request(action, found, f"refs/pull/{found.number}/head")


def _either(headers: Headers, name: str) -> str:
    found = (headers.get(f"x-{flavour}-{name}", "") for flavour in _FLAVOURS)
    return next(filter(None, found), "")
