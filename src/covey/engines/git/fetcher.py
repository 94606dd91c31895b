"""Fetching from git servers: resolving refs, keeping mirrors, and writing the files of a commit."""

from __future__ import annotations

import contextlib
from collections import OrderedDict
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pygit2

from covey.apps.containers import Log
from covey.apps.git_urls import (
    ALWAYS,
    check_ref,
    check_subdirectory,
    is_commit,
    parse_git_url,
)
from covey.apps.host_keys import KnownHosts
from covey.apps.key_model import Credentials
from covey.apps.sources import Fetched, GitSource
from covey.engines.git.checkout import Checkout, Place, message_of
from covey.engines.git.connection import Connection, translate
from covey.engines.git.lfs import LargeFiles
from covey.engines.git.library import prepare
from covey.engines.git.mirrors import Mirror, Mirrors, open_mirror
from covey.engines.git.remote_refs import Found, RemoteRefs
from covey.engines.trees import TreeLimits, TreeWriter, empty_directory
from covey.engines.working import StoppedError, Work, run_thread
from covey.errors import DamagedError, InvalidRequestError, NotFoundError

_MOST_NAMES = 1000
_EVERYTHING = ("+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*")
_TREE_LIMITS = TreeLimits()


@dataclass(frozen=True, slots=True)
class GitLimits:
    """The most bytes of all mirrors, of one transfer, and of one tree of files."""

    cache_bytes: int = 4 << 30
    transfer_bytes: int = 4 << 30
    tree: TreeLimits = _TREE_LIMITS


_LIMITS = GitLimits()


class GitFetcher:
    """Resolves and fetches `GitSource`, and exports commits of local bare repositories.

    `schemes` are the URL schemes allowed besides https and ssh.
    """

    def __init__(
        self,
        directory: Path,
        hosts: KnownHosts,
        credentials: Credentials,
        schemes: Collection[str] = (),
        limits: GitLimits = _LIMITS,
    ) -> None:
        prepare(directory / "home")
        self._mirrors = Mirrors(directory, limits.cache_bytes)
        self._hosts = hosts
        self._credentials = credentials
        self._schemes = ALWAYS | frozenset(schemes)
        self._limits = limits
        self._names: OrderedDict[tuple[str, str], str] = OrderedDict()

    async def resolve(self, source: GitSource) -> GitSource:
        """Return the source with the commit that its ref names now; a pinned one as it is."""
        place = self._place(source)
        if source.commit:
            return source
        self._hosts.load()
        try:
            commit = await run_thread(lambda work: self._resolve(place, work), _nowhere)
        finally:
            await self._hosts.keep()
        return msgspec.structs.replace(source, commit=commit)

    async def fetch(self, source: GitSource, into: Path, log: Log) -> Fetched:
        """Write the source's files into `into`, fetching what the mirror has not."""
        place = self._place(source)
        check_subdirectory(source.subdirectory)
        self._hosts.load()
        try:
            return await run_thread(lambda work: self._fetch(place, source, into, work), log)
        finally:
            await self._hosts.keep()

    async def export(
        self, repository: Path, commit: str, subdirectory: str, into: Path, log: Log
    ) -> Fetched:
        """Write the files of a commit of a bare repository on this machine."""
        where = check_subdirectory(subdirectory)
        return await run_thread(
            lambda work: self._export(repository, commit, where, into, work), log
        )

    def _place(self, source: GitSource) -> Place:
        url = parse_git_url(source.url, self._schemes)
        check_ref(source.ref)
        if source.commit and not is_commit(source.commit):
            raise InvalidRequestError(
                f"{source.commit[:50]!r} is no commit id of 40 digits.",
                hint="Name a shortened one as the ref",
            )
        credential = self._credentials.credential(source.key) if source.key else None
        return Place(url, source.key, credential, source.ref)

    def _resolve(self, place: Place, work: Work) -> str:
        with self._mirrors.use(place.url, place.key, work.checkpoint) as mirror, work.network():
            repository = open_mirror(mirror)
            found = self._list(repository, place, work).find(place.ref, place.url)
            if found is not None:
                self._note(place, found)
                return found.commit
            repository = self._fetch_everything(mirror, place, work)
            return _expand(repository, place)

    def _fetch(self, place: Place, source: GitSource, into: Path, work: Work) -> Fetched:
        commit = source.commit or self._resolve(place, work)
        try:
            return self._check_out(place, source, commit, into, work)
        except DamagedError as error:
            work.log(f"fetching anew: {error.message}")
            return self._check_out(place, source, commit, into, work)
        finally:
            self._mirrors.trim()

    def _check_out(
        self, place: Place, source: GitSource, commit: str, into: Path, work: Work
    ) -> Fetched:
        """Write the files; a `DamagedError` has removed the mirror that is damaged."""
        writer = self._begin(into, work)
        checkout = Checkout(
            self._opened, writer, work, self._schemes, submodules=source.submodules, lfs=source.lfs
        )
        with self._opened(place, commit, work) as repository:
            where = check_subdirectory(source.subdirectory)
            found = checkout.add(place, repository, commit, where)
            message = message_of(repository, commit)
        checkout.add_submodules(found)
        self._fetch_pointers(checkout, writer, work)
        _finish(writer, work)
        return Fetched(into, commit, message)

    def _export(
        self, path: Path, commit: str, subdirectory: str, into: Path, work: Work
    ) -> Fetched:
        try:
            repository = pygit2.Repository(str(path), pygit2.enums.RepositoryOpenFlag.NO_SEARCH)
        except pygit2.GitError as error:
            raise NotFoundError(
                "Nothing was pushed to this app yet.", hint="Push a branch to it first"
            ) from error
        writer = self._begin(into, work)
        checkout = Checkout(self._opened, writer, work, self._schemes, submodules=True, lfs=True)
        found = checkout.add(None, repository, commit, subdirectory)
        checkout.add_submodules(found)
        self._fetch_pointers(checkout, writer, work)
        _finish(writer, work)
        return Fetched(into, commit, message_of(repository, commit))

    def _fetch_pointers(self, checkout: Checkout, writer: TreeWriter, work: Work) -> None:
        if checkout.pointers:
            most = self._limits.transfer_bytes
            LargeFiles(self._schemes, work, most).fetch(checkout.pointers, writer)

    @contextmanager
    def _opened(self, place: Place, commit: str, work: Work) -> Iterator[pygit2.Repository]:
        with self._mirrors.use(place.url, place.key, work.checkpoint) as mirror:
            try:
                yield self._open_with(mirror, place, commit, work)
            except DamagedError:
                mirror.renew()
                raise

    def _begin(self, into: Path, work: Work) -> TreeWriter:
        work.checkpoint()
        empty_directory(into)
        return TreeWriter(into, self._limits.tree, work.checkpoint)

    def _open_with(
        self, mirror: Mirror, place: Place, commit: str, work: Work
    ) -> pygit2.Repository:
        """Return the mirror with a commit in it, fetched if it is not there yet."""
        repository = open_mirror(mirror)
        if _has(repository, commit):
            return repository
        with work.network():
            name = self._names.get((place.url.text, commit))
            if name is None:
                name = self._list(repository, place, work).name_of(place.ref, commit)
            work.log(f"fetching {commit[:12]} from {place.url.text}")
            depth = 0 if place.url.scheme == "file" else 1
            for wanted in (name, commit):
                spec = f"+{wanted}:refs/covey/{commit}"
                may_fail = wanted == commit
                if wanted and self._try(
                    repository, place, [spec], work, depth=depth, may_fail=may_fail
                ):
                    repository = open_mirror(mirror)
                    if _has(repository, commit):
                        return repository
            repository = self._fetch_everything(mirror, place, work)
        if not _has(repository, commit):
            raise NotFoundError(
                f"The repository {place.url.path} has no commit {commit[:12]} (any more).",
                hint="Deploy the branch as it is now",
            )
        return repository

    def _try(
        self,
        repository: pygit2.Repository,
        place: Place,
        refspecs: list[str],
        work: Work,
        *,
        depth: int = 0,
        may_fail: bool = False,
    ) -> bool:
        """Fetch; False if the server does not give just this, or not without its history."""
        remote = repository.remotes.create_anonymous(place.url.text)
        callbacks = self._connection(place, work)
        try:
            remote.fetch(refspecs, callbacks=callbacks, proxy=True, depth=depth)
        except StoppedError:
            raise
        except (pygit2.GitError, ValueError) as error:
            if may_fail or (depth and "shallow" in str(error)):
                return False
            raise translate(error, place.url) from error
        return True

    def _fetch_everything(self, mirror: Mirror, place: Place, work: Work) -> pygit2.Repository:
        mirror.renew()
        repository = open_mirror(mirror)
        refspecs = [*_EVERYTHING]
        if place.ref.startswith("refs/"):
            refspecs.append(f"+{place.ref}:{place.ref}")
        self._try(repository, place, refspecs, work)
        return open_mirror(mirror)

    def _list(self, repository: pygit2.Repository, place: Place, work: Work) -> RemoteRefs:
        remote = repository.remotes.create_anonymous(place.url.text)
        callbacks = self._connection(place, work)
        try:
            return RemoteRefs(remote.list_heads(callbacks=callbacks, proxy=True))
        except StoppedError:
            raise
        except (pygit2.GitError, ValueError) as error:
            raise translate(error, place.url) from error

    def _connection(self, place: Place, work: Work) -> Connection:
        most = self._limits.transfer_bytes
        return Connection(place.url, place.credential, self._hosts, work, most)

    def _note(self, place: Place, found: Found) -> None:
        if not found.name:
            return
        self._names[place.url.text, found.commit] = found.name
        if len(self._names) > _MOST_NAMES:
            with contextlib.suppress(KeyError):
                self._names.popitem(last=False)


def _nowhere(_text: str) -> None:
    return


def _finish(writer: TreeWriter, work: Work) -> None:
    for path in writer.finish():
        work.log(f"left out: the symbolic link {path} leads out of the source")


def _has(repository: pygit2.Repository, commit: str) -> bool:
    """Whether a commit with its tree is there; what is missing below it shows when it is read."""
    try:
        found = repository.get(commit)
        return isinstance(found, pygit2.Commit) and found.tree is not None
    except (pygit2.GitError, KeyError, ValueError):
        return False


def _expand(repository: pygit2.Repository, place: Place) -> str:
    try:
        found = repository.get(place.ref)
    except ValueError as error:
        raise InvalidRequestError(
            f"Several commits begin with {place.ref}.", hint="Name more digits of it"
        ) from error
    if not isinstance(found, pygit2.Commit):
        raise NotFoundError(
            f"The repository {place.url.path} has no branch, tag or commit {place.ref!r}.",
            hint="Name one that it has, or leave it out for the default branch",
        )
    return str(found.id)
