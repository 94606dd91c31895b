"""The engines that the conformance suite runs against, each with a way to script an image."""

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
from tests.docker import Docker
from tests.images import WEB
from tests.podman import Podman

NODE = {NODE_LABEL: "n1"}
TAG = "localhost/try/app:1"


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


def make_podman_engine(podman: Podman, home: Path) -> ApiContainerEngine:
    """Make an engine with its own home on the isolated Podman."""
    return _make(AppsSettings(), home, podman.environ)


def make_docker_engine(docker: Docker, home: Path) -> ApiContainerEngine:
    """Make an engine with its own home on the isolated Docker."""
    return _make(AppsSettings(engine_socket=docker.socket), home, docker.environ)


def _make(settings: AppsSettings, home: Path, environ: Mapping[str, str]) -> ApiContainerEngine:
    paths = Paths(*(str(home / name) for name in ("config", "data", "state", "run")))
    return make_engine(settings, paths, {**os.environ, **environ})


@dataclass
class RealEngine:
    """Covey's engine on an isolated Podman or Docker, and that one's own program."""

    engine: ApiContainerEngine
    program: Podman | Docker

    async def run(self, name: str, script: str, *, image: str = WEB, **options: object) -> str:
        """Start a container of this node that runs a script, and return its id."""
        spec = ContainerSpec(name, image, NODE, shell_command=script, **options)  # type: ignore[arg-type]
        container = await self.engine.create(spec)
        await self.engine.start(container)
        return container

    async def output(self, container: str) -> str:
        """Follow what a container says to its end."""
        chunks = [chunk.data async for chunk in self.engine.logs(container, follow=True)]
        return b"".join(chunks).decode()


@asynccontextmanager
async def open_real_engine(program: Podman | Docker, home: Path) -> AsyncIterator[RealEngine]:
    """Give Covey's engine on one of both."""
    make = make_podman_engine if isinstance(program, Podman) else make_docker_engine
    engine = make(program, home)  # type: ignore[arg-type]
    try:
        yield RealEngine(engine, program)
    finally:
        await engine.close()


@asynccontextmanager
async def open_laboratory(
    real: Podman | Docker | None, home: Path, directory: Path
) -> AsyncIterator[Laboratory]:
    """Give a real engine or the one in memory, and end what it made."""
    if real is None:
        lab = MemoryLaboratory(directory)
        try:
            yield lab
        finally:
            await lab.engine.end_all()
        return
    async with open_real_engine(real, home) as box:
        yield EngineLaboratory(directory, box.engine)


async def build(engine: ContainerEngine, app: Path, text: str, **options: object) -> list[str]:
    """Build an app's directory as this node's, and return what was said."""
    said: list[str] = []
    request = BuildRequest(app, TAG, NODE, dockerfile_text=text, **options)  # type: ignore[arg-type]
    await engine.build(request, said.append)
    return said


async def run(lab: Laboratory, name: str, image: str, **options: object) -> str:
    """Make a container of this node and start it."""
    spec = ContainerSpec(name, image, {**NODE}, **options)  # type: ignore[arg-type]
    container = await lab.engine.create(spec)
    await lab.engine.start(container)
    return container
