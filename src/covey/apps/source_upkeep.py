"""Removing uploads and repositories that no app needs any more; what is needed, records tell."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Protocol

from covey.apps.deployments import Deployments
from covey.apps.model import Deployment
from covey.apps.records import COLLECTION, AppRecords
from covey.apps.sources import UploadSource
from covey.errors import CoveyError
from covey.store.api import Changed, NodeId, RecordStore

_KEEP = 5
_log = logging.getLogger("covey.apps")


class Kept(Protocol):
    """What keeps something for each app by its name."""

    def apps(self) -> set[str]:
        """Return the apps for which something is kept."""
        ...

    def forget(self, app: str) -> None:
        """Remove what is kept for an app."""
        ...


class KeptUploads(Kept, Protocol):
    """What keeps uploads."""

    def prune(self, keep: set[str]) -> int:
        """Remove the uploads that are not among `keep` and not recent."""
        ...


class SourceUpkeep:
    """Looks at the start, when an app goes, and when a deployment ends."""

    def __init__(
        self,
        node: NodeId,
        store: RecordStore,
        deployments: Deployments,
        uploads: KeptUploads,
        repositories: Kept,
    ) -> None:
        self._node = node
        self._store = store
        self._records = AppRecords(store)
        self._deployments = deployments
        self._uploads = uploads
        self._repositories = repositories
        self._leave: Callable[[], None] = lambda: None

    def start(self) -> None:
        """Remove what a crash left, and listen for apps that go."""
        self._leave = self._store.subscribe(self._changed)
        self._forget()
        self._prune()

    def stop(self) -> None:
        """Listen no more."""
        self._leave()

    def ended(self, deployment: Deployment) -> None:
        """Take note that a deployment has changed."""
        if deployment.state.ended and isinstance(deployment.source, UploadSource):
            asyncio.get_running_loop().call_soon(self._prune)

    def needed(self) -> set[str]:
        """Return the uploads that are an app's source, or of its newest or present deployments."""
        found = set()
        for app in self._records.on(self._node):
            if isinstance(app.source, UploadSource):
                found.add(app.source.id)
            for number, item in enumerate(self._deployments.of(app.name)):
                if isinstance(item.source, UploadSource) and (
                    number < _KEEP or not item.state.ended
                ):
                    found.add(item.source.id)
        return found

    def _changed(self, changed: Changed) -> None:
        if any(collection == COLLECTION for collection, _ in changed.keys):
            self._forget()

    def _forget(self) -> None:
        present = {app.name for app in self._records.on(self._node)}
        for kept in (self._uploads, self._repositories):
            for app in kept.apps() - present:
                kept.forget(app)

    def _prune(self) -> None:
        try:
            removed = self._uploads.prune(self.needed())
        except CoveyError as error:
            _log.warning("old uploads are not removed: %s", error)
        else:
            if removed:
                _log.info("removed %d uploads that no deployment needs", removed)
