"""Apps in the fleet's sealed records: every member knows which there are, and where."""

from __future__ import annotations

from difflib import get_close_matches

import msgspec

from covey.apps.model import App
from covey.errors import ConflictError, DamagedError, NotFoundError
from covey.store.api import Change, NodeId, RecordStore

COLLECTION = "apps"


class AppRecords:
    """The fleet's apps by name; methods raise what the record store raises."""

    def __init__(self, store: RecordStore) -> None:
        self._store = store

    def find(self, name: str) -> App | None:
        """Return an app or None."""
        record = self._store.get(COLLECTION, name)
        return None if record is None else _read(record.key, record.value)

    def get(self, name: str) -> App:
        """Return an app; raises `NotFoundError` that knows what was meant."""
        found = self.find(name)
        if found is not None:
            return found
        near = get_close_matches(name, [app.name for app in self.all()], 1)
        raise NotFoundError(
            f"No app is called {name}.",
            hint=f"Did you mean {near[0]}?" if near else "See them all: covey apps list",
        )

    def all(self) -> list[App]:
        """Return all apps by name."""
        return [_read(record.key, record.value) for record in self._store.scan(COLLECTION)]

    def on(self, host: NodeId) -> list[App]:
        """Return the apps of one machine."""
        return [app for app in self.all() if app.host == host]

    async def create(self, app: App) -> App:
        """Add an app; raises `ConflictError` if its name is taken."""
        if self.find(app.name) is not None:
            raise ConflictError(
                f"There is an app called {app.name} already.",
                hint=f"See it: covey apps show {app.name}",
            )
        await self.put(app)
        return app

    async def put(self, app: App) -> None:
        """Write an app."""
        await self._store.write([Change(COLLECTION, app.name, msgspec.json.encode(app))])

    async def remove(self, name: str) -> None:
        """Remove an app."""
        if self.find(name) is not None:
            await self._store.write([Change(COLLECTION, name, None)])


def _read(key: str, value: bytes) -> App:
    try:
        return msgspec.json.decode(value, type=App)
    except msgspec.DecodeError as error:
        raise DamagedError(
            f"The record of the app {key} cannot be read.",
            hint="It may be of a newer Covey: update this machine.",
        ) from error
