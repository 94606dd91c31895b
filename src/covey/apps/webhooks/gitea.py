"""Gitea's and Forgejo's webhooks: X-Gitea-Signature, and payloads close to GitHub's.

https://docs.gitea.com/usage/webhooks, https://forgejo.org/docs/latest/user/webhooks/
"""

from __future__ import annotations

import msgspec

from covey.apps.webhooks.github import (
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
    Unused,
)
from covey.apps.webhooks.parts import (
    CommitPart,
    is_no_commit,
    read_nothing,
    read_push,
    unused,
)
from covey.apps.webhooks.payload import (
    read_document,
    read_text,
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
                read_nothing(body, media)
                return (Ping(),)
            case "push":
                return (_read_push(read_document(body, media, PushPart)),)
            case "pull_request" | "pull_request_sync":
                return (_read_pull(read_document(body, media, PullDocument)),)
            case "release":
                return (read_release(read_document(body, media, ReleaseDocument)),)
            case _:
                read_nothing(body, media)
                return (unused(event),)


def _read_push(found: PushPart) -> Event:
    commits = found.commits or []
    newest = next((one for one in commits if one.id == found.after), None)
    return read_push(
        found.repository.read(),
        found.ref,
        found.after,
        head=found.head_commit or newest,
        commits=commits,
        complete=found.total_commits == len(commits),
        created=is_no_commit(found.before),
        deleted=is_no_commit(found.after),
    )


def _read_pull(found: PullDocument) -> Event:
    action = _ACTIONS.get(found.action)
    if action is None:
        return Unused(f"pull_request {read_text(found.action)[:40]}")
    return pull_request(action, found, f"refs/pull/{found.number}/head")


def _either(headers: Headers, name: str) -> str:
    found = (headers.get(f"x-{flavour}-{name}", "") for flavour in _FLAVOURS)
    return next(filter(None, found), "")
