"""Where an app's files come from, and what fetching them yields."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import msgspec

from covey.apps.containers import Log


class GitSource(
    msgspec.Struct, frozen=True, tag="git", tag_field="from", forbid_unknown_fields=True
):
    """A repository at an https, ssh or file URL. `ref` is a branch, tag or commit; "" its HEAD.

    `commit`, once known, pins exactly what is deployed. `key` names a deploy key or token that
    Covey keeps; `""` means none.
    """

    url: str
    ref: str = ""
    commit: str = ""
    subdirectory: str = ""
    submodules: bool = True
    lfs: bool = True
    key: str = ""


class PushedSource(
    msgspec.Struct, frozen=True, tag="push", tag_field="from", forbid_unknown_fields=True
):
    """A commit that was pushed to the repository that this node serves for the app."""

    commit: str
    ref: str = "main"
    subdirectory: str = ""


class UploadSource(
    msgspec.Struct, frozen=True, tag="upload", tag_field="from", forbid_unknown_fields=True
):
    """A directory that was uploaded: `id` names its archive on this node."""

    id: str
    commit: str = ""


class ImageSource(
    msgspec.Struct, frozen=True, tag="image", tag_field="from", forbid_unknown_fields=True
):
    """An image of a registry or of this node; there is nothing to build."""

    reference: str


Source = GitSource | PushedSource | UploadSource | ImageSource


@dataclass(frozen=True, slots=True)
class Fetched:
    """What was fetched: `commit` and `message` are empty for an uploaded directory."""

    root: Path
    commit: str = ""
    message: str = ""


class SourceFetcher(Protocol):
    """Brings files to this node. Cancelling ends it and leaves nothing outside `into`."""

    async def resolve(self, source: Source) -> Source:
        """Return the source with its commit filled in; raises what `fetch` raises."""
        ...

    async def fetch(self, app: str, source: Source, into: Path, log: Log) -> Fetched:
        """Put the files into the empty directory `into`; repeating it starts afresh.

        Raises `UnreachableError`, `RefusedError` (keys), `NotFoundError` (ref, subdirectory),
        `InvalidRequestError` (hostile archive), `TooLargeError`.
        """
        ...
