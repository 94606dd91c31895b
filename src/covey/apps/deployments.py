"""The deployments of this machine's apps, and which of them is in service."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from covey.apps.model import Deployment, DeploymentState, Release, Running
from covey.errors import NotFoundError
from covey.store.ports import LocalState

_DEPLOYMENTS = "apps.deployments"
_COUNTS = "apps.counts"
_RUNNING = "apps.running"
_RETIRING = "apps.retiring"
_DIGITS = 10
_LOOK_BACK = 20


class Deployments:
    """Durable records of this node alone; methods raise `StorageError` or `LockedError`."""

    def __init__(self, local: LocalState) -> None:
        self._local = local

    async def next_number(self, app: str) -> int:
        """Take the app's next number; it is never given again."""
        present = self._local.get_local(_COUNTS, app)
        number = 1 if present is None else int(present) + 1
        await self._local.put_local(_COUNTS, app, str(number).encode())
        return number

    async def put(self, deployment: Deployment) -> None:
        """Write a deployment."""
        key = _key(deployment.app, deployment.number)
        await self._local.put_local(_DEPLOYMENTS, key, msgspec.json.encode(deployment))

    def find(self, app: str, number: int) -> Deployment | None:
        """Return a deployment or None."""
        value = self._local.get_local(_DEPLOYMENTS, _key(app, number))
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
        return sorted(
            (item for item in self._all() if item.app == app),
            key=lambda item: item.number,
            reverse=True,
        )

    def waiting(self, app: str, before: int) -> list[Deployment]:
        """Return those of the last ones before a number that are queued; quick at any length."""
        numbers = range(before - 1, max(0, before - 1 - _LOOK_BACK), -1)
        found = (self.find(app, number) for number in numbers)
        return [item for item in found if item and item.state is DeploymentState.QUEUED]

    def unfinished(self) -> list[Deployment]:
        """Return those that have not ended."""
        return [item for item in self._all() if not item.state.ended]

    async def forget(self, app: str, number: int) -> None:
        """Remove a deployment's record."""
        await self._local.put_local(_DEPLOYMENTS, _key(app, number), None)

    async def forget_app(self, app: str) -> None:
        """Remove all that is recorded of an app but its count: numbers are not used again."""
        for deployment in self.of(app):
            await self.forget(app, deployment.number)
        await self._local.put_local(_RUNNING, app, None)

    def running(self, app: str) -> Running | None:
        """Return what is in service of an app."""
        value = self._local.get_local(_RUNNING, app)
        return None if value is None else msgspec.json.decode(value, type=Running)

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

    def _all(self) -> Iterator[Deployment]:
        for _, value in self._local.scan_local(_DEPLOYMENTS):
            yield msgspec.json.decode(value, type=Deployment)


def _key(app: str, number: int) -> str:
    return f"{app}/{number:0{_DIGITS}}"
