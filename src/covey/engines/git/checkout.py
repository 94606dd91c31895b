"""The files of a commit, of its submodules, and of what Git LFS keeps elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Collection
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace

import pygit2

from covey.apps.git_urls import GitUrl, join_git_url
from covey.apps.key_model import Credential
from covey.engines.git.export import Pointer, export_tree, read_file
from covey.engines.git.settings_files import read_settings
from covey.engines.git.submodules import read_submodules
from covey.engines.trees import TreeWriter
from covey.engines.working import Work
from covey.errors import DamagedError, InvalidRequestError

_MOST_DEEP = 10
_MOST_SUBMODULES = 200
_LONGEST_MESSAGE = 10_000
_NOWHERE = GitUrl("https", "", "/")


@dataclass(frozen=True, slots=True)
class Place:
    """A repository, how to get at it, and the ref that was asked for."""

    url: GitUrl
    key: str = ""
    credential: Credential | None = None
    ref: str = ""


Opener = Callable[[Place, str, Work], AbstractContextManager[pygit2.Repository]]
"""Opens a repository with a commit in it; `DamagedError` inside is reported to whoever opened."""


@dataclass(frozen=True, slots=True)
class LfsFile:
    """A pointer, and the repository (with its own LFS settings) that it stands in."""

    place: Place
    pointer: Pointer
    settings: bytes | None


class Checkout:
    """Writes commits into one tree; with `lfs`, the contents of `pointers` are left to be fetched.

    `schemes` are those that submodules may use.
    """

    def __init__(
        self,
        opener: Opener,
        writer: TreeWriter,
        work: Work,
        schemes: Collection[str],
        *,
        submodules: bool,
        lfs: bool,
    ) -> None:
        self._opener = opener
        self._writer = writer
        self._work = work
        self._schemes = frozenset(schemes)
        self._submodules = submodules
        self._lfs = lfs
        self._count = 0
        self.pointers: list[LfsFile] = []

    def add(
        self,
        place: Place | None,
        repository: pygit2.Repository,
        commit: str,
        subdirectory: str,
        prefix: str = "",
    ) -> dict[str, tuple[Place, str]]:
        """Write a commit's files; returns its submodules' repositories and commits by path.

        Raises `NotFoundError` (sub-directory), `DamagedError`, and what `TreeWriter` raises.
        """
        exported = export_tree(
            repository, commit, subdirectory, self._writer, prefix=prefix, lfs=self._lfs
        )
        if exported.pointers:
            settings = read_file(repository, commit, ".lfsconfig")
            self._add_pointers(place, exported.pointers, settings)
        if not exported.submodules or not self._submodules:
            return {}
        urls = read_submodules(read_file(repository, commit, ".gitmodules"))
        found = {}
        for path, wanted in exported.submodules.items():
            url = urls.get(path)
            if url is None:
                raise InvalidRequestError(
                    f"The submodule at {path[:100]!r} has no URL in .gitmodules.",
                    hint="Add it with git submodule add, or remove it from the repository",
                )
            inside = path.removeprefix(f"{subdirectory}/") if subdirectory else path
            found[f"{prefix}{inside}"] = (self._submodule(place, url), wanted)
        return found

    def add_submodules(self, found: dict[str, tuple[Place, str]], depth: int = 1) -> None:
        """Fetch and write submodules, and theirs; each fetch holds its own mirror alone."""
        if depth > _MOST_DEEP:
            raise InvalidRequestError(f"Submodules are nested over {_MOST_DEEP} deep.")
        for path, (place, commit) in found.items():
            self._count += 1
            if self._count > _MOST_SUBMODULES:
                raise InvalidRequestError(f"There are over {_MOST_SUBMODULES} submodules.")
            with self._opener(place, commit, self._work) as repository:
                nested = self.add(place, repository, commit, "", f"{path}/")
            self.add_submodules(nested, depth + 1)

    def _add_pointers(
        self, place: Place | None, pointers: list[Pointer], settings: bytes | None
    ) -> None:
        if place is not None or lfs_url(settings):
            known = place or Place(_NOWHERE)
            self.pointers += [LfsFile(known, item, settings) for item in pointers]
            return
        for item in pointers:
            self._writer.file(item.path, (item.text,), executable=item.executable)
        self._work.log(
            f"{len(pointers)} files are pointers of Git LFS, whose contents do not come with a "
            "push: name their server in .lfsconfig, or deploy from the repository's URL"
        )

    def _submodule(self, parent: Place | None, url: str) -> Place:
        # Who made the repository may not choose among the repositories of this machine.
        schemes = self._schemes
        if parent is None or parent.url.scheme != "file":
            schemes = schemes - {"file"}
        if parent is not None:
            found = join_git_url(parent.url, url, schemes)
            return replace(parent, url=found, ref="")
        if url.startswith(("./", "../")):
            raise InvalidRequestError(
                f"The submodule {url[:100]!r} is relative, but a pushed repository has no URL.",
                hint="Give the submodule a full URL in .gitmodules",
            )
        return Place(join_git_url(_NOWHERE, url, schemes))


def lfs_url(settings: bytes | None) -> str:
    """Return the LFS server that a .lfsconfig names, or nothing."""
    told = ""
    for setting in read_settings(settings):
        if (setting.section, setting.name, setting.key) == ("lfs", "", "url"):
            told = setting.value
    return told


def message_of(repository: pygit2.Repository, commit: str) -> str:
    """Return a commit's message, shortened if it is very long."""
    found = repository.get(commit)
    if not isinstance(found, pygit2.Commit):
        raise DamagedError(f"The commit {commit[:12]} is damaged here.")
    return found.raw_message.decode("utf-8", "replace").strip()[:_LONGEST_MESSAGE]
