"""Which commit a branch, tag or ref of a remote repository names."""

from __future__ import annotations

import re
from dataclasses import dataclass

import pygit2

from covey.apps.git_urls import GitUrl, is_commit
from covey.errors import NotFoundError

_PEELED = "^{}"
_PREFIX = re.compile(r"[0-9a-f]{7,39}")
_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Found:
    """A remote ref by its full name, and the commit there; the name is "" for a bare commit."""

    name: str
    commit: str


class RemoteRefs:
    """What a server advertises, as `git ls-remote` shows it."""

    def __init__(self, heads: list[pygit2.remotes.RemoteHead]) -> None:
        self._commits = {head.name: str(head.oid) for head in heads if head.name}
        self._default = next(
            (head.symref_target for head in heads if head.name == "HEAD" and head.symref_target),
            None,
        )

    def find(self, ref: str, url: GitUrl) -> Found | None:
        """Return a branch, else a tag, else a full ref or commit; None for a shortened commit.

        Raises `NotFoundError`.
        """
        if not ref:
            return self._head(url)
        names = (ref,) if ref.startswith("refs/") else (f"refs/heads/{ref}", f"refs/tags/{ref}")
        for name in names:
            if name in self._commits:
                return Found(name, self._commits.get(name + _PEELED, self._commits[name]))
        if is_commit(ref):
            return Found("", ref)
        if _PREFIX.fullmatch(ref):
            return None
        raise NotFoundError(
            f"The repository {url.path} has no branch or tag {ref[:100]!r}.",
            hint=self._hint(),
        )

    def name_of(self, ref: str, commit: str) -> str | None:
        """Return the full name by which a commit can be fetched, the asked one first."""
        asked = (ref, f"refs/heads/{ref}", f"refs/tags/{ref}")
        for name in (*asked, *self._commits):
            if commit in {self._commits.get(name), self._commits.get(name + _PEELED)}:
                return name.removesuffix(_PEELED)
        return None

    def _head(self, url: GitUrl) -> Found:
        if self._default in self._commits:
            return Found(self._default, self._commits[self._default])
        if "HEAD" in self._commits:
            return Found("HEAD", self._commits["HEAD"])
        raise NotFoundError(
            f"The repository {url.path} is empty, or its default branch is missing.",
            hint=self._hint(),
        )

    def _hint(self) -> str:
        branches = [
            name.removeprefix("refs/heads/")
            for name in self._commits
            if name.startswith("refs/heads/")
        ]
        if not branches:
            return "Push a branch to it first"
        more = ", …" if len(branches) > _SHOWN else ""
        return f"Its branches: {', '.join(branches[:_SHOWN])}{more}"
