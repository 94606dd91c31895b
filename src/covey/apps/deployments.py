"""The deployments of this machine's apps, and which of them is in service."""

from __future__ import annotations

import msgspec

from covey.apps.model import Deployment, DeploymentState, Release, Running
from covey.errors import NotFoundError
from covey.store.ports import LocalState

_DEPLOYMENTS = "apps.deployments"
_COUNTS = "apps.counts"
_RUNNING = "apps.running"
_RETIRING = "apps.retiring"
_UNSWEPT = "apps.unswept"
_DIGITS = 10


class Deployments:
    """Durable records of this node alone; methods raise `StorageError` or `LockedError`."""

    def __init__(self, local: LocalState) -> None:
        self._local = local
        self._open: set[tuple[str, int]] | None = None
        self._taken: dict[str, int] = {}

    async def next_number(self, app: str) -> int:
        """Take the app's next number; it is never given again."""
        present = self._local.get_local(_COUNTS, app)
        # Who asks while the number before is still being written must not get it too.
        number = max(0 if present is None else int(present), self._taken.get(app, 0)) + 1
        self._taken[app] = number
        await self._local.put_local(_COUNTS, app, str(number).encode())
        return number

    async def put(self, deployment: Deployment) -> None:
        """Write a deployment."""
        known, place = self._unfinished(), (deployment.app, deployment.number)
        if not deployment.state.ended:
            known.add(place)
        value = msgspec.json.encode(deployment)
        await self._local.put_local(_of(deployment.app), _digits(deployment.number), value)
        if deployment.state.ended:
            known.discard(place)

    def find(self, app: str, number: int) -> Deployment | None:
        """Return a deployment or None."""
        value = self._local.get_local(_of(app), _digits(number))
        return None if value is None else msgspec.json.decode(value, type=Deployment)

    def get(self, app: str, number: int) -> Deployment:
        """Return a deployment; raises `NotFoundError`."""
        found = self.find(app, number)
        if found is None:
            raise NotFoundError(
                f"{app} has no deployment {number}.",
                hint=f"See them all: covey apps deployments {app}",
            )
        return found

    def of(self, app: str) -> list[Deployment]:
        """Return an app's deployments, the newest first."""
        found = self._local.scan_local(_of(app))
        return [msgspec.json.decode(value, type=Deployment) for _, value in reversed(found)]

    def latest(self, app: str) -> Deployment | None:
        """Return an app's newest deployment, quickly."""
        count = self._local.get_local(_COUNTS, app)
        return None if count is None else self.find(app, int(count))

    def waiting(self, app: str) -> list[Deployment]:
        """Return an app's deployments that have not begun."""
        queued = DeploymentState.QUEUED
        return [item for item in self.unfinished() if item.app == app and item.state is queued]

    def unfinished(self) -> list[Deployment]:
        """Return those that have not ended."""
        found = (self.find(app, number) for app, number in sorted(self._unfinished()))
        return [item for item in found if item is not None and not item.state.ended]

    async def forget(self, app: str, number: int) -> None:
        """Remove a deployment's record."""
        await self._local.put_local(_of(app), _digits(number), None)
        self._unfinished().discard((app, number))

    async def forget_app(self, app: str) -> None:
        """Remove all that is recorded of an app but its count: numbers are not used again."""
        for deployment in self.of(app):
            await self.forget(app, deployment.number)
            await self.set_retiring(app, deployment.number, retiring=False)
        await self._local.put_local(_RUNNING, app, None)

    def running(self, app: str) -> Running | None:
        """Return what is in service of an app."""
        value = self._local.get_local(_RUNNING, app)
        return None if value is None else msgspec.json.decode(value, type=Running)

    def serves(self, app: str, number: int) -> bool:
        """Whether a deployment is what is in service of an app."""
        running = self.running(app)
        return running is not None and running.number == number

    def all_running(self) -> dict[str, Running]:
        """Return what is in service, by app."""
        return {
            key: msgspec.json.decode(value, type=Running)
            for key, value in self._local.scan_local(_RUNNING)
        }

    async def set_running(self, running: Running) -> None:
        """Record what is in service of an app."""
        await self._local.put_local(_RUNNING, running.app, msgspec.json.encode(running))

    async def clear_running(self, app: str) -> None:
        """Record that nothing of an app is in service."""
        await self._local.put_local(_RUNNING, app, None)

    def retiring(self) -> list[tuple[str, int]]:
        """Return the deployments that have been replaced and still finish their requests."""
        found = []
        for key, _ in self._local.scan_local(_RETIRING):
            app, _, number = key.partition("/")
            found.append((app, int(number)))
        return found

    async def set_retiring(self, app: str, number: int, *, retiring: bool) -> None:
        """Record that a deployment is being retired, or that it is gone."""
        await self._local.put_local(_RETIRING, _key(app, number), b"1" if retiring else None)

    def unswept(self) -> bool:
        """Whether something of an app that is gone may be left."""
        return self._local.get_local(_UNSWEPT, "") is not None

    async def set_unswept(self, *, unswept: bool) -> None:
        """Record that an app goes, or that nothing of it is left."""
        await self._local.put_local(_UNSWEPT, "", b"1" if unswept else None)

    def before(self, app: str, number: int) -> Deployment | None:
        """Return the newest deployment under `number` that served another release."""
        present = self.find(app, number)
        built = None if present is None or present.release is None else present.release.built
        for item in self.of(app):
            if item.number >= number or item.state is not DeploymentState.SUCCEEDED:
                continue
            if item.release is not None and item.release.built != built:
                return item
        return None

    def releases(self, app: str) -> list[tuple[Deployment, Release]]:
        """Return the deployments whose release served once, the newest first."""
        return [
            (item, item.release)
            for item in self.of(app)
            if item.state is DeploymentState.SUCCEEDED and item.release is not None
        ]

    def _unfinished(self) -> set[tuple[str, int]]:
        """Return which have not ended: all records are read for that once only."""
        if self._open is None:
            apps = [app for app, _ in self._local.scan_local(_COUNTS)]
            everything = (item for app in apps for item in self.of(app))
            self._open = {(item.app, item.number) for item in everything if not item.state.ended}
        return self._open


def _of(app: str) -> str:
    return f"{_DEPLOYMENTS}/{app}"


def _digits(number: int) -> str:
    return f"{number:0{_DIGITS}}"


def _key(app: str, number: int) -> str:
    return f"{app}/{_digits(number)}"
