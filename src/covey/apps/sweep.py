"""Removing what nothing needs any more: containers, images and files that this node made.

What is kept follows from the records alone, so a sweep also finds what a crash left behind. What
does not carry this node's label is not even looked at.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from covey.apps.containers import (
    BUILD_LABEL,
    NODE_LABEL,
    ContainerEngine,
    ContainerState,
    ImageState,
)
from covey.apps.deployments import Deployments
from covey.apps.layout import ONEOFF, Labelled, Naming, Places, read_labels
from covey.apps.model import App, Deployment, Release
from covey.apps.records import AppRecords
from covey.errors import CoveyError

_KEEP_RECORDS = 200
_log = logging.getLogger("covey.apps")

Say = Callable[[str], None]

Kept = tuple[str, int]
"""An app and the number of one of its deployments."""


@dataclass(frozen=True, slots=True)
class Keeping:
    """The deployments whose containers, and whose images or sites, are needed.

    Of those in `builds` only what is in `images` is needed: a build that was broken off and done
    again left another image.
    """

    containers: frozenset[Kept]
    builds: frozenset[Kept]
    images: frozenset[str]
    under_way: frozenset[Kept]

    def needs_image(self, deployment: Kept, image: str) -> bool:
        """Tell whether an image of a deployment may have to run."""
        if deployment in self.under_way:
            return True
        return deployment in self.builds and image in self.images


def what_to_keep(deployments: Deployments, apps: list[App], keep_images: int) -> Keeping:
    """Tell what is needed: what serves, what is under way or draining, and what to go back to."""
    containers: set[Kept] = set(deployments.retiring())
    builds: set[Kept] = set()
    images: set[str] = set()
    unfinished = deployments.unfinished()
    under_way = {(item.app, item.number) for item in unfinished}
    for name, running in deployments.all_running().items():
        containers.add((name, running.number))
        builds.add((name, running.release.built_by))
    again: set[Kept] = set()
    for item in unfinished:
        containers.add((item.app, item.number))
        if item.replaces is not None:
            containers.add((item.app, item.replaces))
        if item.of is not None:
            again.add((item.app, item.of))
    for app in apps:
        for _, release in kept_releases(deployments, app, keep_images):
            builds.add((app.name, release.built_by))
            images.add(release.built.image)
    for name, number in containers | again:
        found = deployments.find(name, number)
        builds.add((name, number))
        if found is not None and found.release is not None:
            builds.add((name, found.release.built_by))
            images.add(found.release.built.image)
    return Keeping(
        frozenset(containers), frozenset(builds), frozenset(images), frozenset(under_way)
    )


def stages_to_keep(there: list[ImageState], keeping: Keeping) -> set[str]:
    """Return the images of earlier stages of each app's newest build that is kept.

    Podman labels them as the image itself. The next build takes their layers over, such as the
    dependencies that were installed.
    """
    newest: dict[str, tuple[int, str]] = {}
    for image in there:
        found = read_labels(image.labels)
        if found is not None and image.id in keeping.images:
            build = (found.deployment, image.labels.get(BUILD_LABEL, ""))
            newest[found.app] = max(build, newest.get(found.app, build))
    builds = {build for _, build in newest.values() if build}
    return {
        image.id
        for image in there
        if not image.tags and image.labels.get(BUILD_LABEL, "") in builds
    }


def kept_releases(
    deployments: Deployments, app: App, keep_images: int
) -> list[tuple[Deployment, Release]]:
    """Return the deployments to go back to: those whose build is among the newest that served."""
    kept: list[str] = []
    found = []
    for item, release in deployments.releases(app.name):
        build = release.built.image or release.built.static
        if build not in kept:
            if len(kept) >= keep_images:
                continue
            kept.append(build)
        found.append((item, release))
    return found


class Sweep:
    """Removes leftovers of this node."""

    def __init__(
        self,
        engine: ContainerEngine,
        deployments: Deployments,
        records: AppRecords,
        naming: Naming,
        places: Places,
        keep_images: int,
        oneoff_runs: Callable[[str], bool],
    ) -> None:
        self._oneoff_runs = oneoff_runs
        self._engine = engine
        self._deployments = deployments
        self._records = records
        self._naming = naming
        self._places = places
        self._keep_images = keep_images
        self._sweeping = asyncio.Lock()

    @property
    def keep_images(self) -> int:
        """Of how many versions of an app the builds are kept."""
        return self._keep_images

    async def run(self, say: Say = _log.info) -> None:
        """Remove all that is not needed; what cannot be removed is tried again the next time.

        What is there is listed before it is told what is needed: what has come since is not there.
        """
        # Two at one time would stumble over each other: Podman fails to list what is being removed.
        async with self._sweeping:
            containers = await self._engine.list_containers(self._naming.own)
            images = await self._engine.list_images({})
            networks = await self._engine.list_networks(self._naming.own)
            work, sites = await asyncio.to_thread(self._directories)
            keeping = self._keeping()
            await self._containers(containers, keeping, say)
            await self._images(images, keeping, say)
            await self._networks(networks, say)
            await self._files(work, sites, keeping)

    async def prune(self, app: str) -> None:
        """Forget old deployments of an app, and sweep."""
        running = self._deployments.running(app)
        for item in self._deployments.of(app)[_KEEP_RECORDS:]:
            if item.state.ended and (running is None or running.number != item.number):
                await self._deployments.forget(app, item.number)
        await self.run()

    def _keeping(self) -> Keeping:
        apps = self._records.on(self._naming.node)
        return what_to_keep(self._deployments, apps, self._keep_images)

    async def _containers(self, there: list[ContainerState], keeping: Keeping, say: Say) -> None:
        for state in there:
            found = read_labels(state.labels)
            if found is None or not found.process or self._is_needed(found, keeping):
                continue
            say(f"removing {state.name}, which nothing needs")
            await _tolerate(self._engine.remove(state.id))

    def _is_needed(self, found: Labelled, keeping: Keeping) -> bool:
        if found.process.startswith(ONEOFF):
            return self._oneoff_runs(found.process)
        return (found.app, found.deployment) in keeping.containers

    async def _images(self, there: list[ImageState], keeping: Keeping, say: Say) -> None:
        stages = stages_to_keep(there, keeping)
        for image in there:
            for built, reference in self._ours(image):
                if image.id not in stages and not keeping.needs_image(built, image.id):
                    say(f"removing the image of {built[0]}, deployment {built[1]}")
                    await _tolerate(self._engine.remove_image(reference))

    def _ours(self, image: ImageState) -> Iterator[tuple[Kept, str]]:
        """Tell what is this node's: an image that it built, or its tag on one that it fetched."""
        if image.labels.get(NODE_LABEL) == self._naming.node:
            found = read_labels(image.labels)
            if found is not None:
                yield (found.app, found.deployment), image.id
            return
        for tag in image.tags:
            read = self._naming.read_image(tag)
            if read is not None:
                yield read, tag

    async def _networks(self, there: list[str], say: Say) -> None:
        wanted = {self._naming.network(app) for app in self._records.on(self._naming.node)}
        for name in there:
            if name not in wanted:
                say(f"removing the network {name}")
                await _tolerate(self._engine.remove_network(name))

    async def _files(self, work: list[Path], sites: list[Path], keeping: Keeping) -> None:
        wanted = {self._places.work_of(app, number) for app, number in keeping.under_way}
        for directory in work:
            if directory not in wanted:
                await asyncio.to_thread(_remove_tree, directory)
        for site in sites:
            if (site.parent.name, int(site.name)) not in keeping.builds:
                await asyncio.to_thread(_remove_tree, site)

    def _directories(self) -> tuple[list[Path], list[Path]]:
        """Return the directories of builds, and of sites."""
        sites = [site for app in _below(self._places.static) for site in _below(app)]
        return _below(self._places.work), [site for site in sites if site.name.isdecimal()]


async def _tolerate(work: Awaitable[None]) -> None:
    try:
        await work
    except CoveyError as error:
        _log.warning("%s", error)


def _below(directory: Path) -> list[Path]:
    try:
        return [item for item in directory.iterdir() if not item.is_symlink() and item.is_dir()]
    except FileNotFoundError:
        return []


def _remove_tree(directory: Path) -> None:
    try:
        shutil.rmtree(directory)
    except OSError as error:
        _log.warning("%s could not be removed: %s", directory, error.strerror)
