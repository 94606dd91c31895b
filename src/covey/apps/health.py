"""Whether a new container is fit to serve: probed from the host until it answers, dies or is late.

No tool is needed in the image, except for a check that is a command of the app's own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from covey.apps.containers import ContainerEngine, ContainerState, ContainerStatus
from covey.errors import ConflictError, CoveyError, NotFoundError, UnreachableError

_LAST_LINES = 15
_QUIET_S = 2.0


@dataclass(frozen=True, slots=True)
class HttpCheck:
    """A GET of `path` that must be answered with a status from `lowest` to `highest`.

    `host` is the name that is asked for: frameworks refuse names that are not the app's own.
    """

    port: int
    path: str
    lowest: int = 200
    highest: int = 399
    host: str = "localhost"


@dataclass(frozen=True, slots=True)
class TcpCheck:
    """The port takes connections."""

    port: int


@dataclass(frozen=True, slots=True)
class CommandCheck:
    """A command in the container that must exit with 0."""

    command: str


@dataclass(frozen=True, slots=True)
class AliveCheck:
    """The container still runs after `seconds`: for processes that take no requests."""

    seconds: float


Check = HttpCheck | TcpCheck | CommandCheck | AliveCheck


@dataclass(frozen=True, slots=True)
class HealthPolicy:
    """How a check is repeated; all in seconds. `limit_s` is how long it may take to be healthy."""

    check: Check
    interval_s: float
    timeout_s: float
    limit_s: float


class Probe(Protocol):
    """Asks an address; returns None if it is healthy, else in a few words why not."""

    async def http(
        self, address: tuple[str, int], host: str, path: str, *, timeout_s: float
    ) -> int | str:
        """Send one GET and return the status, or why there is none; never follows redirects."""
        ...

    async def tcp(self, host: str, port: int, *, timeout_s: float) -> str | None:
        """Open one connection."""
        ...


class UnhealthyError(ConflictError):
    """A container did not become healthy."""

    code = "unhealthy"


class HealthChecks:
    """Checks containers of one engine."""

    def __init__(self, engine: ContainerEngine, probe: Probe) -> None:
        self._engine = engine
        self._probe = probe

    async def wait_healthy(
        self, container: str, policy: HealthPolicy, say: Callable[[str], None]
    ) -> ContainerState:
        """Wait until a container is healthy and return its state.

        Raises `UnhealthyError` at once if it ends, and after `limit_s` with the last reason.
        """
        loop = asyncio.get_running_loop()
        began = loop.time()
        reason = "it was not asked yet"
        told = ""
        while True:
            state = await self._require_running(container)
            found = await self.ask(state, policy)
            if found is None:
                return await self._require_running(container)
            reason = found
            passed = loop.time() - began
            # A start takes its time: not being there at once is no news.
            if reason != told and passed >= _QUIET_S:
                say(f"not healthy yet: {reason}")
                told = reason
            if passed >= policy.limit_s:
                raise UnhealthyError(
                    f"{state.name} was not healthy within {policy.limit_s:g} s: {reason}.",
                    hint=await self._advice(state, policy.check),
                )
            rest = policy.limit_s - passed
            await self.pause(container, min(policy.interval_s, rest))

    async def ask(self, state: ContainerState, policy: HealthPolicy) -> str | None:
        """Check a running container once: None if it is healthy, else why not."""
        match policy.check:
            case HttpCheck() as check:
                return await self._http(state, check, policy.timeout_s)
            case TcpCheck(port):
                host, published = _published(state, port)
                return await self._probe.tcp(host, published, timeout_s=policy.timeout_s)
            case CommandCheck(command):
                return await self._command(state, command, policy.timeout_s)
            case AliveCheck(seconds):
                await self.pause(state.id, seconds)
                await self._require_running(state.id)
                return None

    async def _http(self, state: ContainerState, check: HttpCheck, limit_s: float) -> str | None:
        address = _published(state, check.port)
        found = await self._probe.http(address, check.host, check.path, timeout_s=limit_s)
        if isinstance(found, str):
            return found
        if check.lowest <= found <= check.highest:
            return None
        return f"GET {check.path} was answered with {found}"

    async def _command(self, state: ContainerState, command: str, limit_s: float) -> str | None:
        try:
            async with asyncio.timeout(limit_s):
                session = await self._engine.exec(state.id, ("/bin/sh", "-c", command))
                try:
                    async for _ in session.output():
                        pass
                    status = await session.exit_code()
                finally:
                    await session.close()
        except TimeoutError:
            return f"the health command took longer than {limit_s:g} s"
        except UnreachableError:
            # An engine that is away says nothing about the app.
            raise
        except CoveyError as error:
            return f"the health command could not be run: {error.message}"
        return None if status == 0 else f"the health command ended with status {status}"

    async def pause(self, container: str, seconds: float) -> None:
        """Wait, but no longer than the container lives."""
        until = asyncio.get_running_loop().time() + seconds
        ended = asyncio.ensure_future(self._engine.wait(container))
        try:
            await asyncio.wait([ended], timeout=seconds)
            error = ended.exception() if ended.done() else None
            if error is not None and not isinstance(error, NotFoundError):
                # The engine does not tell; whoever asks again at once would not rest at all.
                await asyncio.sleep(until - asyncio.get_running_loop().time())
        finally:
            ended.cancel()
            await asyncio.gather(ended, return_exceptions=True)

    async def _require_running(self, container: str) -> ContainerState:
        state = await self._engine.inspect(container)
        if state is None:
            raise UnhealthyError(
                "The new container was removed while it was being started.",
                hint="Deploy again; nothing of Covey's removes it.",
            )
        if state.status is not ContainerStatus.RUNNING:
            raise UnhealthyError(
                f"{state.name} ended right after its start{_how(state)}.",
                hint=await self._advice(state, None),
            )
        return state

    async def _advice(self, state: ContainerState, check: Check | None) -> str:
        lines = await self.last_lines(state.id)
        if lines:
            return "Its last output:\n" + "\n".join(f"  {line}" for line in lines)
        match check:
            case HttpCheck(port) | TcpCheck(port):
                return (
                    f"It printed nothing. Does it listen on port {port}, and on 0.0.0.0 rather "
                    "than 127.0.0.1? It finds its port in PORT."
                )
            case _:
                return "It printed nothing. Try it: covey apps run"

    async def last_lines(self, container: str) -> list[str]:
        """Return the last lines of a container's output."""
        found = bytearray()
        try:
            async for chunk in self._engine.logs(container, follow=False, tail=_LAST_LINES):
                found += chunk.data
        except CoveyError:
            return []
        return found.decode(errors="replace").splitlines()[-_LAST_LINES:]


def _how(state: ContainerState) -> str:
    if state.out_of_memory:
        return ": it used more memory than it may (resources.memory)"
    return "" if state.exit_code is None else f" with status {state.exit_code}"


def _published(state: ContainerState, port: int) -> tuple[str, int]:
    found = state.ports.get(port)
    if found is None:
        raise UnhealthyError(f"{state.name} has no port {port} on this machine.")
    return found
