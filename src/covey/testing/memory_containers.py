"""A container engine in memory: its containers serve on real ports of 127.0.0.1, as scripted."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from covey.apps.containers import NODE_LABEL as _NODE
from covey.apps.containers import (
    BuildRequest,
    ContainerEvent,
    ContainerSpec,
    ContainerState,
    ContainerStatus,
    ImageState,
    Log,
    OutputChunk,
    Usage,
)
from covey.errors import ConflictError, CoveyError, DeadlineExceededError, NotFoundError
from covey.testing.memory_container import Behaviour, MemoryCommand, MemoryContainer

__all__ = ["Behaviour", "MemoryContainers"]

_FROM = re.compile(r"^\s*FROM\s+(\S+)", re.IGNORECASE | re.MULTILINE)


@dataclass(slots=True)
class _Image:
    id: str
    tags: list[str]
    labels: dict[str, str]
    behaviour: Behaviour
    created: datetime


@dataclass(slots=True)
class _Named:
    labels: dict[str, str] = field(default_factory=dict)


class MemoryContainers:
    """Implements `ContainerEngine`.

    `add_image` scripts what the containers of an image do. A build takes the script of its last
    `FROM`, or the one that `script_build` gave for its tag.
    """

    def __init__(self) -> None:
        self._images: dict[str, _Image] = {}
        self._containers: dict[str, MemoryContainer] = {}
        self._volumes: dict[str, _Named] = {}
        self._networks: dict[str, _Named] = {}
        self._builds: dict[str, Behaviour] = {}
        self._listeners: set[asyncio.Queue[ContainerEvent]] = set()
        self._numbers = itertools.count(1)
        self.builds: list[BuildRequest] = []

    def add_image(
        self, tag: str, behaviour: Behaviour, labels: Mapping[str, str] | None = None
    ) -> str:
        """Make an image whose containers behave so; return its id."""
        image = self._add(behaviour, labels or {})
        self._tag(image, tag)
        return image.id

    def script_build(self, tag: str, behaviour: Behaviour) -> None:
        """Let the next builds of a tag make an image with this behaviour."""
        self._builds[tag] = behaviour

    @property
    def name(self) -> str:
        """Nothing depends on it but what is shown."""
        return "podman"

    async def version(self) -> str:
        """Return a version."""
        return "0"

    async def build(self, request: BuildRequest, log: Log) -> str:
        """Play the scripted build."""
        self.builds.append(request)
        text = request.dockerfile_text
        if text is None:
            path = request.context / request.dockerfile
            if not path.is_file():
                raise NotFoundError(f"There is no {request.dockerfile} to build.")
            text = await asyncio.to_thread(path.read_text)
        behaviour = self._builds.get(request.tag)
        if behaviour is None:
            bases = _FROM.findall(text)
            base = self._find(bases[-1]) if bases else None
            if base is None:
                raise CoveyError(f"The build failed: there is no image {bases[-1:]}.")
            behaviour = base.behaviour
        for line in behaviour.build_lines or text.splitlines():
            log(line)
        try:
            async with asyncio.timeout(request.timeout_s):
                await asyncio.sleep(behaviour.build_s)
        except TimeoutError as error:
            raise DeadlineExceededError("The build took too long and was ended.") from error
        if behaviour.build_error is not None:
            raise CoveyError(f"The build failed: {behaviour.build_error}")
        image = self._add(behaviour, request.labels)
        self._tag(image, request.tag)
        return image.id

    async def pull(
        self, reference: str, log: Log, *, username: str = "", password: str = ""
    ) -> str:
        """Find an image that is here: there is no registry."""
        image = self._find(reference)
        if image is None:
            raise CoveyError(f"The image {reference} cannot be fetched.")
        log(f"{reference} is here")
        return image.id

    async def image(self, reference: str) -> ImageState | None:
        """Describe an image by id or tag."""
        image = self._find(reference)
        return None if image is None else _described(image)

    async def list_images(self, labels: Mapping[str, str]) -> list[ImageState]:
        """List the images that have all these labels."""
        return [_described(one) for one in self._images.values() if _has(one.labels, labels)]

    async def tag_image(self, image: str, tag: str) -> None:
        """Give an image one more tag."""
        found = self._find(image)
        if found is None:
            raise NotFoundError(f"There is no image {image}.")
        self._tag(found, tag)

    async def remove_image(self, image: str) -> None:
        """Remove an image or its tag unless something uses it."""
        found = self._find(image)
        if found is None:
            return
        tag = _full(image)
        if tag in found.tags and len(found.tags) > 1:
            found.tags.remove(tag)
            return
        used = any(one.image_id == found.id for one in self._containers.values())
        if used or (tag not in found.tags and len(found.tags) > 1):
            raise ConflictError(f"The image {image} is in use.")
        del self._images[found.id]

    async def create(self, spec: ContainerSpec) -> str:
        """Make a container."""
        image = self._find(spec.image)
        if image is None:
            raise NotFoundError(f"There is no image {spec.image}.")
        if any(one.spec.name == spec.name for one in self._containers.values()):
            raise ConflictError(f"The name {spec.name} is taken.")
        if spec.network is not None and spec.network not in self._networks:
            raise NotFoundError(f"There is no network {spec.network}.")
        ident = self._new_id()
        self._containers[ident] = MemoryContainer(
            ident, image.id, spec, image.behaviour, image.labels, self._tell
        )
        return ident

    async def start(self, container: str) -> None:
        """Start it."""
        await self._container(container).start()

    async def stop(self, container: str, grace_s: float) -> None:
        """Ask it to end, then kill it."""
        found = self._look(container)
        if found is not None:
            await found.stop(grace_s)

    async def kill(self, container: str, signal: str) -> None:
        """Send it a signal."""
        await self._container(container).signal(signal)

    async def remove(self, container: str) -> None:
        """Remove it, running or not."""
        found = self._look(container)
        if found is not None:
            await found.signal("SIGKILL")
            self._containers.pop(found.id, None)
            self._tell(found, "destroy")

    async def inspect(self, container: str) -> ContainerState | None:
        """Describe a container by id or name."""
        found = self._look(container)
        return None if found is None else found.state()

    async def list_containers(self, labels: Mapping[str, str]) -> list[ContainerState]:
        """List the containers that have all these labels."""
        states = [one.state() for one in self._containers.values()]
        return [state for state in states if _has(state.labels, labels)]

    async def wait(self, container: str) -> int:
        """Wait until it has ended."""
        return await self._container(container).wait()

    async def logs(
        self, container: str, *, follow: bool, tail: int | None = None
    ) -> AsyncIterator[OutputChunk]:
        """Yield its output."""
        async for chunk in self._container(container).logs(follow=follow, tail=tail):
            yield chunk

    async def exec(
        self,
        container: str,
        argv: tuple[str, ...],
        *,
        tty: bool = False,
        stdin: bool = False,
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
        user: str | None = None,
    ) -> MemoryCommand:
        """Run a scripted command; `cat` gives back its input."""
        found = self._container(container)
        if found.status is not ContainerStatus.RUNNING:
            raise ConflictError(f"The container {container} does not run.")
        return MemoryCommand(argv, found.behaviour.commands.get(argv))

    async def usage(self, container: str) -> Usage:
        """Tell a small use of a running container."""
        if self._container(container).status is not ContainerStatus.RUNNING:
            raise ConflictError(f"The container {container} does not run.")
        return Usage(cpu_seconds=0.01, memory_bytes=1 << 20)

    async def events(self) -> AsyncIterator[ContainerEvent]:
        """Yield events from now on."""
        queue: asyncio.Queue[ContainerEvent] = asyncio.Queue()
        self._listeners.add(queue)
        try:
            while True:
                yield await queue.get()
        finally:
            self._listeners.discard(queue)

    async def create_volume(self, name: str, labels: Mapping[str, str]) -> None:
        """Make a named volume once."""
        _make(self._volumes, "volume", name, labels)

    async def list_volumes(self, labels: Mapping[str, str]) -> list[str]:
        """List the names of the volumes that have all these labels."""
        return sorted(name for name, one in self._volumes.items() if _has(one.labels, labels))

    async def remove_volume(self, name: str) -> None:
        """Remove a volume that no container has."""
        specs = [one.spec for one in self._containers.values()]
        if any(mount.source == name for spec in specs for mount in spec.mounts):
            raise ConflictError(f"The volume {name} is in use.")
        self._volumes.pop(name, None)

    async def create_network(self, name: str, labels: Mapping[str, str]) -> None:
        """Make a network once."""
        _make(self._networks, "network", name, labels)

    async def list_networks(self, labels: Mapping[str, str]) -> list[str]:
        """List the names of the networks that have all these labels."""
        return sorted(name for name, one in self._networks.items() if _has(one.labels, labels))

    async def remove_network(self, name: str) -> None:
        """Remove a network that no container is in."""
        if any(one.spec.network == name for one in self._containers.values()):
            raise ConflictError(f"The network {name} is in use.")
        self._networks.pop(name, None)

    async def close(self) -> None:
        """Let go; the containers run on."""

    async def end_all(self) -> None:
        """End every container, at the end of a test."""
        for container in list(self._containers):
            await self.remove(container)

    def _look(self, container: str) -> MemoryContainer | None:
        for ident, one in self._containers.items():
            if container in {ident, one.spec.name}:
                return one
        return None

    def _container(self, container: str) -> MemoryContainer:
        found = self._look(container)
        if found is None:
            raise NotFoundError(f"There is no container {container}.")
        return found

    def _find(self, reference: str) -> _Image | None:
        if reference in self._images:
            return self._images[reference]
        tag = _full(reference)
        return next((one for one in self._images.values() if tag in one.tags), None)

    def _add(self, behaviour: Behaviour, labels: Mapping[str, str]) -> _Image:
        ident = f"sha256:{self._new_id()}"
        image = _Image(ident, [], dict(labels), behaviour, datetime.now(UTC))
        self._images[ident] = image
        return image

    def _tag(self, image: _Image, tag: str) -> None:
        full = _full(tag)
        for other in self._images.values():
            if full in other.tags:
                other.tags.remove(full)
        image.tags.append(full)

    def _new_id(self) -> str:
        return hashlib.sha256(str(next(self._numbers)).encode()).hexdigest()

    def _tell(self, container: MemoryContainer, action: str) -> None:
        labels = container.state().labels
        if _NODE in labels:
            for queue in self._listeners:
                queue.put_nowait(ContainerEvent(container.id, action, labels))


def _described(image: _Image) -> ImageState:
    port = image.behaviour.serves
    return ImageState(
        image.id,
        tuple(image.tags),
        image.labels,
        image.created,
        1 << 20,
        () if port is None else (port,),
    )


def _full(tag: str) -> str:
    return tag if ":" in tag.rpartition("/")[2] else f"{tag}:latest"


def _has(labels: Mapping[str, str], wanted: Mapping[str, str]) -> bool:
    return wanted.items() <= labels.items()


def _make(present: dict[str, _Named], kind: str, name: str, labels: Mapping[str, str]) -> None:
    if present.setdefault(name, _Named(dict(labels))).labels != dict(labels):
        raise ConflictError(f"There is a {kind} {name} already, which is not this app's.")
