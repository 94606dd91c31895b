"""The two engines that the conformance suite runs against, each with a way to script an image."""

from __future__ import annotations

import os
import shlex
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from covey.apps.containers import NODE_LABEL, BuildRequest, ContainerEngine, ContainerSpec
from covey.engines.containers.engine import ApiContainerEngine, make_engine
from covey.paths import Paths
from covey.settings_hosting import AppsSettings
from covey.testing.memory_container import Behaviour
from covey.testing.memory_containers import MemoryContainers
from tests.podman import WEB, Podman

NODE = {NODE_LABEL: "n1"}
DOCKER_SOCKET = "COVEY_TEST_DOCKER"
"""Names the socket of a Docker to be tried as well; everything with Covey's label is removed."""


class Laboratory(Protocol):
    """An engine and its images."""

    engine: ContainerEngine
    directory: Path

    async def image(self, tag: str, behaviour: Behaviour) -> str:
        """Make an image whose containers behave so, and return its tag."""
        ...


@dataclass
class MemoryLaboratory:
    """The fake."""

    directory: Path
    engine: MemoryContainers = field(default_factory=MemoryContainers)

    async def image(self, tag: str, behaviour: Behaviour) -> str:
        self.engine.add_image(tag, behaviour)
        return tag


@dataclass
class EngineLaboratory:
    """Podman or Docker itself."""

    directory: Path
    engine: ApiContainerEngine

    async def image(self, tag: str, behaviour: Behaviour) -> str:
        text = f"FROM {WEB}\nCMD {_json(['/bin/sh', '-c', _script(behaviour)])}\n"
        for argv, outcome in behaviour.commands.items():
            script = (
                f"#!/bin/sh\nprintf %s {shlex.quote(outcome.stdout.decode())}\n"
                f"printf %s {shlex.quote(outcome.stderr.decode())} >&2\nexit {outcome.code}\n"
            )
            (self.directory / argv[0]).write_text(script)
            (self.directory / argv[0]).chmod(0o755)
            text += f"COPY {argv[0]} /bin/{argv[0]}\n"
        if behaviour.serves is not None:
            (self.directory / "index.html").write_bytes(behaviour.body)
            text += "COPY index.html /www/index.html\n"
        request = BuildRequest(self.directory, tag, {}, dockerfile_text=text)
        await self.engine.build(request, lambda _: None)
        return tag


@asynccontextmanager
async def open_docker_laboratory(
    socket: str, home: Path, directory: Path
) -> AsyncIterator[Laboratory]:
    """Give a Docker that has the image WEB, and remove what was made in it."""
    paths = Paths(*(str(home / name) for name in ("config", "data", "state", "run")))
    engine = make_engine(AppsSettings(engine_socket=socket), paths)
    try:
        yield EngineLaboratory(directory, engine)
    finally:
        for container in await engine.list_containers({}):
            await engine.remove(container.id)
        for volume in await engine.list_volumes({}):
            await engine.remove_volume(volume)
        for network in await engine.list_networks({}):
            if network not in {"bridge", "host", "none"}:
                await engine.remove_network(network)
        for image in await engine.list_images({}):
            if WEB not in image.tags:
                for reference in (*image.tags, image.id):
                    await engine.remove_image(reference)
        await engine.close()


def _json(words: list[str]) -> str:
    quoted = (word.replace("\\", "\\\\").replace('"', '\\"') for word in words)
    return "[" + ", ".join(f'"{word}"' for word in quoted) + "]"


def _script(behaviour: Behaviour) -> str:
    lines = ["trap '' TERM" if behaviour.ignores_sigterm else "trap 'exit 143' TERM"]
    lines += [f"echo {shlex.quote(line)}" for line in behaviour.lines]
    lines += [f"echo {shlex.quote(line)} >&2" for line in behaviour.error_lines]
    if behaviour.exits is not None:
        lines += [f"sleep {behaviour.ends_s}", f"exit {behaviour.exits}"]
    elif behaviour.serves is not None:
        lines.append(f"httpd -f -p {behaviour.serves} -h /www & wait")
    else:
        lines.append("while :; do sleep 1000 & wait; done")
    return "; ".join(lines)


def make_podman_engine(
    podman: Podman, home: Path, environ: Mapping[str, str] | None = None
) -> ApiContainerEngine:
    """Make an engine with its own home on the isolated Podman."""
    paths = Paths(*(str(home / name) for name in ("config", "data", "state", "run")))
    return make_engine(AppsSettings(), paths, {**os.environ, **podman.environ, **(environ or {})})


@asynccontextmanager
async def open_laboratory(
    kind: str, podman: Podman | None, home: Path, directory: Path
) -> AsyncIterator[Laboratory]:
    """Give one of both, and end what it made."""
    if podman is None:
        lab = MemoryLaboratory(directory)
        try:
            yield lab
        finally:
            await lab.engine.end_all()
        return
    engine = make_podman_engine(podman, home)
    try:
        yield EngineLaboratory(directory, engine)
    finally:
        await engine.close()


async def run(lab: Laboratory, name: str, image: str, **options: object) -> str:
    """Make a container of this node and start it."""
    spec = ContainerSpec(name, image, {**NODE}, **options)  # type: ignore[arg-type]
    container = await lab.engine.create(spec)
    await lab.engine.start(container)
    return container
