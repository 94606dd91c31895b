"""Commands that people run in an app: in a container that serves, or in one of their own."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

from covey.apps.containers import ContainerState, ContainerStatus, ExecSession
from covey.apps.hosting import Hosting
from covey.apps.layout import ONEOFF, read_labels
from covey.apps.model import App, Running
from covey.apps.plan import Given, plan_command, plan_release
from covey.errors import ConflictError, InvalidRequestError
from covey.remote.exec.model import (
    ExecInput,
    ExecOutput,
    Exited,
    Resize,
    Signal,
    Started,
    Stderr,
    Stdin,
    StdinEnd,
    Stdout,
)

_IDLE = "trap 'exit 0' TERM INT; while :; do sleep 3600 & wait $!; done"
_GRACE_S = 1.0


@dataclass(frozen=True, slots=True)
class Terminal:
    """The size of the caller's terminal."""

    rows: int
    columns: int


class Sessions:
    """Runs commands in containers of apps, for callers who stay."""

    def __init__(self, hosting: Hosting) -> None:
        self._hosting = hosting
        self._own: set[str] = set()

    def is_running(self, process: str) -> bool:
        """Whether a container of this one-off process belongs to a session."""
        return process in self._own

    async def exec(
        self,
        app: App,
        argv: tuple[str, ...],
        items: AsyncIterator[ExecInput],
        *,
        process: str,
        terminal: Terminal | None,
    ) -> AsyncGenerator[ExecOutput, None]:
        """Run a command in a container of the app that runs."""
        state = await self._find(app, process)
        async for output in self._run(state.id, argv, items, terminal):
            yield output

    async def run(
        self,
        app: App,
        running: Running,
        argv: tuple[str, ...],
        items: AsyncIterator[ExecInput],
        *,
        terminal: Terminal | None,
    ) -> AsyncGenerator[ExecOutput, None]:
        """Run a command in a container of its own, with the app's image, variables and volumes."""
        if running.release.built.static:
            raise ConflictError(
                f"{app.name} is a static site: there is no image to run a command in.",
                hint="Run it on the machine: covey exec",
            )
        async with self._container(app, running) as identifier:
            async for output in self._run(identifier, argv, items, terminal):
                yield output

    @asynccontextmanager
    async def _container(self, app: App, running: Running) -> AsyncIterator[str]:
        hosting = self._hosting
        process = f"{ONEOFF}x{secrets.token_hex(4)}"
        variables = await hosting.environment.resolve(app, running.release.config)
        deployment = hosting.deployments.get(app.name, running.number)
        given = Given(app, deployment, running.release, variables.values)
        spec = plan_command(hosting.here, given, process, _IDLE)
        self._own.add(process)
        try:
            await hosting.rollout.prepare(plan_release(hosting.here, given))
            identifier = await hosting.engine.create(spec)
            try:
                await hosting.engine.start(identifier)
                yield identifier
            finally:
                await asyncio.shield(self._remove(identifier))
        finally:
            self._own.discard(process)

    async def _remove(self, identifier: str) -> None:
        await self._hosting.engine.stop(identifier, _GRACE_S)
        await self._hosting.engine.remove(identifier)

    async def _find(self, app: App, process: str) -> ContainerState:
        running = self._hosting.deployments.running(app.name)
        if running is not None:
            labels = self._hosting.here.naming.labels(app.name, running.number)
            found = [
                state
                for state in await self._hosting.engine.list_containers(labels)
                if state.status is ContainerStatus.RUNNING
                and (read := read_labels(state.labels)) is not None
                and read.process == process
            ]
            if found:
                return min(found, key=lambda state: state.name)
        raise ConflictError(
            f"No {process} container of {app.name} runs.",
            hint=f"Start the command in a container of its own: covey apps run {app.name} -- …",
        )

    async def _run(
        self,
        container: str,
        argv: tuple[str, ...],
        items: AsyncIterator[ExecInput],
        terminal: Terminal | None,
    ) -> AsyncGenerator[ExecOutput, None]:
        if not argv:
            if terminal is None:
                raise InvalidRequestError("No command is given.", hint="Put it behind --.")
            argv = ("/bin/sh",)
        loop = asyncio.get_running_loop()
        began = loop.time()
        env: Mapping[str, str] = {} if terminal is None else {"TERM": "xterm-256color"}
        session = await self._hosting.engine.exec(
            container, argv, tty=terminal is not None, stdin=True, env=env
        )
        feeding = asyncio.create_task(_feed(session, items))
        offset = 0
        try:
            if terminal is not None:
                await session.resize(terminal.rows, terminal.columns)
            yield Started(id=container[:12], pid=0)
            async for chunk in session.output():
                kind = Stderr if chunk.stream == "stderr" else Stdout
                yield kind(offset, chunk.data)
                offset += len(chunk.data)
            status = await session.exit_code()
            yield Exited(status, None, loop.time() - began)
        finally:
            feeding.cancel()
            await asyncio.gather(feeding, return_exceptions=True)
            await session.close()


async def _feed(session: ExecSession, items: AsyncIterator[ExecInput]) -> None:
    with contextlib.suppress(ConnectionError):
        async for item in items:
            match item:
                case Stdin(data):
                    await session.write(data)
                case StdinEnd():
                    await session.close_input()
                case Resize(rows, columns):
                    await session.resize(rows, columns)
                case Signal():
                    continue
