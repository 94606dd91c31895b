"""The volumes of a node's apps: which there are, whose they are, and which may go."""

from __future__ import annotations

from dataclasses import dataclass

from covey.apps.hosting import Hosting
from covey.errors import ConflictError, NotFoundError


@dataclass(frozen=True, slots=True)
class AppVolume:
    """A volume; `used` is one that a version of its app in service, or rested, names."""

    app: str
    name: str
    used: bool
    volume: str


async def list_volumes(hosting: Hosting) -> list[AppVolume]:
    """List the volumes that this node has made, by app and name."""
    naming = hosting.here.naming
    found = []
    for volume in await hosting.engine.list_volumes(naming.own):
        read = naming.read_volume(volume)
        if read is not None:
            app, name = read
            found.append(AppVolume(app, name, _is_used(hosting, app, name), volume))
    return sorted(found, key=lambda item: (item.app, item.name))


async def remove_volume(hosting: Hosting, app: str, name: str) -> None:
    """Remove a volume with its data; raises `NotFoundError`, and `ConflictError` if it is used."""
    async with hosting.lock(app):
        for item in await list_volumes(hosting):
            if (item.app, item.name) == (app, name):
                break
        else:
            raise NotFoundError(
                f"{app} has no volume {name} on this machine.", hint="covey apps volumes list"
            )
        if item.used:
            raise ConflictError(
                f"{app} uses its volume {name}.",
                hint="Deploy it without the volume first, or destroy it with --volumes.",
            )
        await hosting.engine.remove_volume(item.volume)


def _is_used(hosting: Hosting, app: str, name: str) -> bool:
    """Whether a version that serves, or that may serve again, names the volume."""
    if hosting.records.find(app) is None:
        return False
    if any(item.app == app for item in hosting.deployments.unfinished()):
        return True
    return any(
        name in {volume.name for volume in release.config.volumes}
        for _, release in hosting.deployments.releases(app)[:1]
    )
