"""A node that serves repositories to real git, with a deployment that is told."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from collections.abc import AsyncGenerator, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from covey.apps import push_operations
from covey.apps.pushes import Pushes
from covey.engines.git.serving import GitPrograms
from covey.errors import CoveyError, NotFoundError
from covey.operations.context import Services
from covey.operations.registry import Registry
from covey.surfaces.http.app import HttpSettings
from tests.engines.git.servers import Repository, make_repository
from tests.surfaces.http.serving import Running, running

REGISTRY = Registry.from_modules([push_operations])


@dataclass
class Target:
    """Deploys by taking notes; `gate` holds a deployment until it is set."""

    pushes: list[tuple[str, str, str, str, str]] = field(default_factory=list)
    failure: CoveyError | None = None
    lines: tuple[str, ...] = ("building", "serving")
    gate: asyncio.Event | None = None
    before: asyncio.Event | None = None
    ended: int = 0
    changed: list[set[str] | None] = field(default_factory=list)
    wanted: bool = True

    def check(self, app: str) -> None:
        if app != "shop":
            raise NotFoundError(f"No app is called {app}.", hint="covey apps list")

    def deploys(self, app: str, branch: str) -> bool:
        return branch == "main"

    def wants(self, app: str, changed: Collection[str] | None) -> bool:
        self.changed.append(None if changed is None else set(changed))
        return self.wanted

    async def deploy(self, app: str, branch: str, commit: str, message: str, caller: str) -> int:
        if self.before is not None:
            await self.before.wait()
        self.pushes.append((app, branch, commit, message, caller))
        return len(self.pushes)

    async def follow(self, app: str, number: int) -> AsyncGenerator[str, None]:
        for line in self.lines:
            yield line
        if self.gate is not None:
            await self.gate.wait()
        self.ended += 1
        if self.failure is not None:
            raise self.failure

    def needed(self, app: str) -> set[str]:
        return {push[2] for push in self.pushes[-1:]}


@dataclass
class Site:
    """A node that serves repositories, and a working copy of somebody who pushes to it."""

    running: Running
    target: Target
    work: Repository
    repositories: Path

    def url(self, token: str = "developer", app: str = "shop") -> str:
        return f"http://any:{token}@127.0.0.1:{self.running.port}/git/{app}.git"

    def git(self, *arguments: str, status: int | None = 0) -> str:
        done = subprocess.run(
            ["git", "-c", "credential.helper=", *arguments],
            cwd=self.work.path,
            env={
                **os.environ,
                "GIT_CONFIG_GLOBAL": "/dev/null",
                "GIT_CONFIG_SYSTEM": "/dev/null",
                "GIT_TERMINAL_PROMPT": "0",
            },
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        said = done.stdout + done.stderr
        assert status is None or done.returncode == status, said
        return said

    def refs(self) -> dict[str, str]:
        lines = self.git("ls-remote", self.url()).splitlines()
        return {name: commit for commit, _, name in (line.partition("\t") for line in lines)}

    def clear(self, work: Path) -> None:
        """Let everybody begin anew."""
        shutil.rmtree(self.repositories, ignore_errors=True)
        self.running.trail.entries.clear()
        target = self.target
        target.pushes.clear()
        target.changed.clear()
        target.wanted = True
        target.failure = target.gate = target.before = None
        target.lines, target.ended = ("building", "serving"), 0
        self.work = make_repository(work)


@contextmanager
def new_site(top: Path) -> Iterator[Site]:
    """Serve repositories below a directory."""
    target = Target()
    pushes = Pushes(top / "repositories", GitPrograms(8 << 20), target)

    def offer(services: Services) -> None:
        services.provide(Pushes, pushes)

    settings = HttpSettings(rate_limit_per_minute=0, max_push_bytes=8 << 20)
    with running(settings, registry=REGISTRY, offer=offer) as server:
        yield Site(server, target, Repository(top), top / "repositories")
