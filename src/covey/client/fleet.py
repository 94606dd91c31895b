"""The fleet from Python: `async with connect() as fleet: await fleet.host("frigg").exec(…)`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping
from types import TracebackType
from typing import Any, Self

import msgspec

from covey.client.calls import Caller
from covey.client.endpoint import Endpoint
from covey.client.processes import Completed, HostCompleted, Process, arguments_of, gather_hosts
from covey.client.target import HostAnswer, HostError, Target
from covey.errors import CoveyError


def connect(
    url: str | None = None,
    *,
    token: str | None = None,
    ca_file: str | None = None,
    home: str | None = None,
) -> Fleet:
    """Return the fleet as this home's daemon sees it, or the node at `url`.

    Without arguments, COVEY_HOME, COVEY_URL, COVEY_TOKEN and COVEY_CA_FILE apply as they do for
    the command line.
    """
    return Fleet(Endpoint.find(url, token, ca_file, home))


class Fleet:
    """The machines of a fleet. Enter it with `async with`; calls raise `CoveyError`."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._caller = Caller(endpoint)

    async def __aenter__(self) -> Self:
        """Check that the node answers; raises `UnreachableError`."""
        await self._caller.result("node.status", {}, Target())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Leave; each call has ended its own connection, and the loop is let to notice."""
        await asyncio.sleep(0)

    @property
    def here(self) -> Host:
        """The node that is connected to."""
        return Host(self._caller, None)

    def host(self, name: str) -> Host:
        """One machine by its name; that it exists is seen at the first call."""
        return Host(self._caller, name)

    def hosts(self, *names: str, parallel: int | None = None) -> Hosts:
        """Some machines by name."""
        return Hosts(self._caller, Target(hosts=names, parallel=parallel))

    def all(self, parallel: int | None = None) -> Hosts:
        """Every machine."""
        return Hosts(self._caller, Target(everyone=True, parallel=parallel))

    def tagged(self, tag: str, parallel: int | None = None) -> Hosts:
        """Every machine with a tag."""
        return Hosts(self._caller, Target(tag=tag, parallel=parallel))

    async def call(self, operation: str, /, **arguments: Any) -> Any:
        """Run any operation on the connected node, such as `fleet.call("env.get", name="X")`."""
        return await self.here.call(operation, **arguments)


class Host:
    """One machine."""

    def __init__(self, caller: Caller, name: str | None) -> None:
        self._caller = caller
        self._target = Target(hosts=() if name is None else (name,))
        self.name = name

    async def call(self, operation: str, /, **arguments: Any) -> Any:
        """Run any operation there and return its result as plain values."""
        return await self._caller.result(operation, arguments, self._target)

    def items(self, operation: str, /, **arguments: Any) -> AsyncGenerator[Any, None]:
        """Run a streaming operation there and yield its items as plain values."""
        return self._caller.items(operation, arguments, self._target)

    async def exec(
        self,
        *words: str,
        input: bytes | Iterable[bytes] | AsyncIterator[bytes] | None = None,  # noqa: A002 - as in subprocess
        shell: bool = False,
        cwd: str | None = None,
        user: str | None = None,
        env: Mapping[str, str | None] | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - the command's, at the other end
        check: bool = False,
    ) -> Completed:
        """Run a command to its end and return what it wrote.

        The words reach the program as they are; with `shell` they are one line for a shell. A
        variable that is None in `env` gets the fleet's value. `timeout` is in seconds. With
        `check`, another status than 0 raises `CommandFailedError`.
        """
        arguments = arguments_of(words, shell=shell, cwd=cwd, user=user, env=env, timeout=timeout)
        async with self._process(arguments, takes_input=input is not None) as process:
            return await process.finish(input, check=check)

    def stream(
        self,
        *words: str,
        shell: bool = False,
        cwd: str | None = None,
        user: str | None = None,
        env: Mapping[str, str | None] | None = None,
        timeout: float | None = None,
    ) -> Process:
        """Run a command and yield its output as it comes: `async for chunk in host.stream(…)`.

        Used with `async with`, the process also takes input and signals while it runs; leaving
        it ends the command.
        """
        return self._process(
            arguments_of(words, shell=shell, cwd=cwd, user=user, env=env, timeout=timeout)
        )

    def _process(self, arguments: dict[str, Any], *, takes_input: bool = True) -> Process:
        return Process(self._caller, arguments, self._target, takes_input=takes_input)


class Hosts:
    """Several machines at the same time."""

    def __init__(self, caller: Caller, target: Target) -> None:
        self._caller = caller
        self._target = target

    async def call(self, operation: str, /, **arguments: Any) -> AsyncGenerator[HostAnswer, None]:
        """Run any operation on each, and yield what each answers as it comes.

        A host's failure is its answer's `error` and ends no other's work.
        """
        target = self._target
        if not target.several:
            target = Target(hosts=target.hosts)
            value = await self._caller.result(operation, arguments, target)
            yield HostAnswer(target.hosts[0] if target.hosts else "", ok=True, value=value)
            return
        async for item in self._caller.items(operation, arguments, target):
            yield msgspec.convert(item, HostAnswer)

    async def exec(
        self,
        *words: str,
        shell: bool = False,
        cwd: str | None = None,
        user: str | None = None,
        env: Mapping[str, str | None] | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - the command's, at the other end
    ) -> list[HostCompleted]:
        """Run a command on each to its end, and return what each wrote, the first to end first."""
        arguments = arguments_of(words, shell=shell, cwd=cwd, user=user, env=env, timeout=timeout)
        if self._target.several:
            return await gather_hosts(self._caller, arguments, self._target)
        name = self._target.hosts[0] if self._target.hosts else ""
        try:
            async with Process(self._caller, arguments, self._target) as process:
                completed = await process.finish()
        except CoveyError as error:
            return [HostCompleted(name, None, HostError.of(error), "", 0.0)]
        return [HostCompleted(name, completed, None, "", 0.0)]
