"""What apps need of a container engine: images, containers, volumes and networks with labels."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from covey.errors import ConflictError

NODE_LABEL = "covey.node"
"""On everything that Covey makes: the id of its node. Nothing without it is ever touched."""
APP_LABEL = "covey.app"
DEPLOYMENT_LABEL = "covey.deployment"
BUILD_LABEL = "covey.build"
PROCESS_LABEL = "covey.process"
SLOT_LABEL = "covey.slot"


class PortTakenError(ConflictError):
    """The port of the host that a container was to have belongs to somebody else by now."""


@dataclass(frozen=True, slots=True)
class Resources:
    """Limits; None means none. `cpus` may be a fraction."""

    cpus: float | None = None
    memory_bytes: int | None = None
    pids: int | None = None


@dataclass(frozen=True, slots=True)
class BuildRequest:
    """An image to be built from a directory.

    `dockerfile` is a path below `context` or the text of a generated one. `secrets` are mounted by
    `RUN --mount=type=secret,id=…` alone: they reach no layer, no history, no log and no process
    list. `cache` false builds every layer anew.
    """

    context: Path
    tag: str
    labels: Mapping[str, str]
    dockerfile: str = "Dockerfile"
    dockerfile_text: str | None = None
    target: str | None = None
    args: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    resources: Resources = Resources()
    cache: bool = True
    timeout_s: float | None = None


@dataclass(frozen=True, slots=True)
class Mount:
    """A named volume, or a directory of the host when `source` is an absolute path."""

    source: str
    target: str
    read_only: bool = False


@dataclass(frozen=True, slots=True)
class ContainerSpec:
    """A container to be made.

    `ports` are the container's TCP ports to be published on 127.0.0.1, each on a free port of the
    host. The engine's log of the container is limited to `log_bytes`. `command` replaces the
    image's; `shell_command` is run by the image's `/bin/sh -c` instead.
    """

    name: str
    image: str
    labels: Mapping[str, str]
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    command: tuple[str, ...] | None = None
    shell_command: str | None = None
    ports: tuple[int, ...] = ()
    mounts: tuple[Mount, ...] = ()
    network: str | None = None
    aliases: tuple[str, ...] = ()
    resources: Resources = Resources()
    log_bytes: int = 10 * 1024 * 1024
    stop_signal: str | None = None


class ContainerStatus(StrEnum):
    """What a container does."""

    CREATED = "created"
    RUNNING = "running"
    EXITED = "exited"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class ContainerState:
    """One container as it is. `ports` maps container ports to `(address, port)` on the host."""

    id: str
    name: str
    image_id: str
    labels: Mapping[str, str]
    status: ContainerStatus
    exit_code: int | None = None
    out_of_memory: bool = False
    started: datetime | None = None
    ended: datetime | None = None
    ports: Mapping[int, tuple[str, int]] = field(default_factory=dict)
    address: str | None = None


@dataclass(frozen=True, slots=True)
class ImageState:
    """One image as it is."""

    id: str
    tags: tuple[str, ...]
    labels: Mapping[str, str]
    created: datetime
    size_bytes: int
    exposed_ports: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class OutputChunk:
    """A piece of a container's output; `stream` is `stdout` or `stderr`."""

    stream: str
    data: bytes
    at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Usage:
    """What a container uses now."""

    cpu_seconds: float
    memory_bytes: int


@dataclass(frozen=True, slots=True)
class ContainerEvent:
    """What happened to a container: `action` is `start`, `die`, `destroy` or another."""

    container_id: str
    action: str
    labels: Mapping[str, str]


class ExecSession(Protocol):
    """A command that runs in a container, with a terminal or without."""

    def output(self) -> AsyncIterator[OutputChunk]:
        """Yield its output to the end."""
        ...

    async def write(self, data: bytes) -> None:
        """Give it input."""
        ...

    async def close_input(self) -> None:
        """Let it see the end of its input."""
        ...

    async def resize(self, rows: int, columns: int) -> None:
        """Change the size of its terminal."""
        ...

    async def exit_code(self) -> int:
        """Return its exit status, once its output has ended."""
        ...

    async def close(self) -> None:
        """Let go of it."""
        ...


Log = Callable[[str], None]


class ContainerEngine(Protocol):
    """Podman or Docker through one API. Raises `CoveyError`s that name what to do next.

    A missing engine is `UnreachableError`, a missing image or container `NotFoundError`. Cancelling
    any call leaves nothing half made behind that `list_containers` or `list_images` does not show.
    """

    @property
    def name(self) -> str:
        """`podman` or `docker`."""
        ...

    async def version(self) -> str:
        """Return the engine's version; starts its service where that is needed."""
        ...

    async def build(self, request: BuildRequest, log: Log) -> str:
        """Build an image, give each line to `log`, and return the image's id."""
        ...

    async def pull(
        self, reference: str, log: Log, *, username: str = "", password: str = ""
    ) -> str:
        """Fetch an image from its registry (a local one is enough if it is up to date)."""
        ...

    async def image(self, reference: str) -> ImageState | None:
        """Describe an image by id or tag, or return None."""
        ...

    async def list_images(self, labels: Mapping[str, str]) -> list[ImageState]:
        """List the images that have all these labels, without their ports."""
        ...

    async def tag_image(self, image: str, tag: str) -> None:
        """Give an image one more tag."""
        ...

    async def remove_image(self, image: str) -> None:
        """Remove an image, or its tag, if nothing uses it; a missing one is no error."""
        ...

    async def copy_out(self, image: str, path: str, into: Path) -> None:
        """Copy a directory of an image into `into`, which is made; raises `NotFoundError`."""
        ...

    async def create(self, spec: ContainerSpec) -> str:
        """Make a container and return its id; raises `ConflictError` if the name is taken."""
        ...

    async def start(self, container: str) -> None:
        """Start it; raises `PortTakenError` if its port is somebody else's by now."""
        ...

    async def stop(self, container: str, grace_s: float) -> None:
        """Ask it to end, and after `grace_s` kill it; one that is gone or ended is no error."""
        ...

    async def kill(self, container: str, signal: str) -> None:
        """Send it a signal."""
        ...

    async def remove(self, container: str) -> None:
        """Remove it with its anonymous volumes, running or not; a missing one is no error."""
        ...

    async def inspect(self, container: str) -> ContainerState | None:
        """Describe a container by id or name, or return None."""
        ...

    async def list_containers(self, labels: Mapping[str, str]) -> list[ContainerState]:
        """List the containers that have all these labels, running or not."""
        ...

    async def wait(self, container: str) -> int:
        """Wait until it has ended, and return its exit status."""
        ...

    def logs(
        self, container: str, *, follow: bool, tail: int | None = None
    ) -> AsyncIterator[OutputChunk]:
        """Yield its output so far (the last `tail` lines), and with `follow` what comes."""
        ...

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
    ) -> ExecSession:
        """Start a command in a running container."""
        ...

    async def usage(self, container: str) -> Usage:
        """Measure a running container."""
        ...

    def events(self) -> AsyncIterator[ContainerEvent]:
        """Yield events of containers with `NODE_LABEL` from now on."""
        ...

    async def create_volume(self, name: str, labels: Mapping[str, str]) -> None:
        """Make a named volume; one with the same labels is left as it is."""
        ...

    async def list_volumes(self, labels: Mapping[str, str]) -> list[str]:
        """List the names of the volumes that have all these labels."""
        ...

    async def remove_volume(self, name: str) -> None:
        """Remove a volume with its content; a missing one is no error."""
        ...

    async def create_network(self, name: str, labels: Mapping[str, str]) -> None:
        """Make a bridge network whose containers know each other by alias; idempotent."""
        ...

    async def list_networks(self, labels: Mapping[str, str]) -> list[str]:
        """List the names of the networks that have all these labels."""
        ...

    async def remove_network(self, name: str) -> None:
        """Remove a network if nothing uses it; a missing one is no error."""
        ...

    async def close(self) -> None:
        """Close connections; a service that was started here ends, containers run on."""
        ...
