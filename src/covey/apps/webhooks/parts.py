"""What the payloads of several forges have in common."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from covey.apps.webhooks.model import Event, Push, RefKind, Repository, Unused
from covey.apps.webhooks.payload import (
    gather_paths,
    read_commit,
    read_document,
    read_name,
    read_ref,
    read_text,
    read_urls,
    split_ref,
)

_MAX_EVENT = 80
UNKNOWN_REF = Unused("push of a ref that is no branch or tag")


class CommitPart(msgspec.Struct, frozen=True):
    """A commit of a push."""

    id: str
    message: str | None = None
    added: list[str] | None = None
    modified: list[str] | None = None
    removed: list[str] | None = None


class Anything(msgspec.Struct, frozen=True):
    """A payload of which nothing is used."""


def read_nothing(body: bytes, content_type: str) -> None:
    """Check a payload of which nothing is used; raises `InvalidRequestError`."""
    read_document(body, content_type, Anything)


def unused(event: str) -> Unused:
    """Return an event of a kind that causes nothing."""
    return Unused(read_text(event)[:_MAX_EVENT] or "an event without a name")


def read_repository(name: str, default_branch: str | None, *urls: str | None) -> Repository:
    """Return a repository; raises `InvalidRequestError`."""
    branch = read_ref(default_branch) if default_branch else ""
    return Repository(read_name(name), branch, read_urls(*urls))


def is_no_commit(commit: str) -> bool:
    """Whether it is what git writes for a ref before it is made, or after it was deleted."""
    return not commit.strip("0")


def read_push(
    repository: Repository,
    ref: str,
    commit: str,
    *,
    head: CommitPart | None,
    commits: Sequence[CommitPart],
    complete: bool,
    created: bool,
    deleted: bool,
    forced: bool = False,
) -> Event:
    """Return a push of a full ref; one of anything but a branch or tag is not used.

    `complete` says whether `commits` are all of them.
    """
    found = split_ref(ref)
    if found is None:
        return UNKNOWN_REF
    is_tag, name = found
    changed = [(item.added, item.modified, item.removed) for item in commits]
    return Push(
        repository=repository,
        kind=RefKind.TAG if is_tag else RefKind.BRANCH,
        ref=name,
        commit="" if deleted else read_commit(commit),
        message=read_text(head.message) if head is not None else "",
        paths=gather_paths(changed, complete=complete),
        created=created,
        deleted=deleted,
        forced=forced,
    )
