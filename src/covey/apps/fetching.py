"""The sources of apps, each brought by what knows its kind."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from covey.apps.containers import Log
from covey.apps.git_urls import check_subdirectory
from covey.apps.sources import (
    Fetched,
    GitSource,
    ImageSource,
    PushedSource,
    Source,
    UploadSource,
)
from covey.errors import InvalidRequestError


class GitPort(Protocol):
    """What fetches from git servers, and exports commits of repositories on this machine."""

    async def resolve(self, source: GitSource) -> GitSource:
        """Return the source with its commit."""
        ...

    async def fetch(self, source: GitSource, into: Path, log: Log) -> Fetched:
        """Write a source's files into an empty directory."""
        ...

    async def export(
        self, repository: Path, commit: str, subdirectory: str, into: Path, log: Log
    ) -> Fetched:
        """Write the files of a commit of a bare repository."""
        ...


class UploadPort(Protocol):
    """What keeps uploaded directories."""

    async def unpack(self, app: str, upload: str, into: Path, log: Log) -> None:
        """Write an uploaded directory's files; raises `NotFoundError` if it is gone."""
        ...


class Sources:
    """Implements `SourceFetcher`; `repositories` holds what was pushed, as APP.git."""

    def __init__(self, git: GitPort, uploads: UploadPort, repositories: Path) -> None:
        self._git = git
        self._uploads = uploads
        self._repositories = repositories

    async def resolve(self, source: Source) -> Source:
        """Return the source with its commit filled in, if it has one."""
        match source:
            case GitSource():
                return await self._git.resolve(source)
            case PushedSource() | UploadSource() | ImageSource():
                return source

    async def fetch(self, app: str, source: Source, into: Path, log: Log) -> Fetched:
        """Put the files into the directory `into`, which is emptied first."""
        match source:
            case GitSource():
                return await self._git.fetch(source, into, log)
            case PushedSource(commit=commit):
                check_subdirectory(source.subdirectory)
                repository = self._repositories / f"{app}.git"
                return await self._git.export(repository, commit, source.subdirectory, into, log)
            case UploadSource(id=upload):
                await self._uploads.unpack(app, upload, into, log)
                return Fetched(into, source.commit)
            case ImageSource():
                raise InvalidRequestError(
                    "An image has no files to fetch.", hint="It is pulled, not built"
                )
