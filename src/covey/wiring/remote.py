"""The services behind commands and files on this machine: put together, offered, taken back."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from covey.engines.accounts import SystemAccounts
from covey.engines.disks import ThreadDisks
from covey.engines.tcp import SystemTcp
from covey.env.model import Kind
from covey.env.service import EnvService
from covey.errors import ConflictError, CoveyError, RefusedError
from covey.operations.context import Services
from covey.paths import Paths
from covey.remote.exec.ports import DetachedProcess, Ending, Launch, RunningProcess, Spooling
from covey.remote.exec.recordings import Recordings
from covey.remote.exec.records import ExecFiles
from covey.remote.exec.registry import Commands, ExecPolicy, Recording
from covey.remote.exec.request import Preparation
from covey.remote.files.partials import Partials
from covey.remote.files.roots import Roots
from covey.remote.files.service import Files
from covey.remote.tunnels.service import TunnelPolicy, Tunnels
from covey.settings import Settings

if TYPE_CHECKING:
    from covey.engines.processes import KeptProcesses

_CLEAN_EVERY_S = 86_400.0
_log = logging.getLogger("covey.remote")


class FleetVariables:
    """Implements `Variables`; a relay has none."""

    def __init__(self, env: EnvService | None) -> None:
        self._env = env

    async def values(self, names: Sequence[str]) -> Mapping[str, str]:
        """Return the values of variables as this machine resolves them."""
        if self._env is None:
            raise RefusedError(
                "This node is a relay and can read no variables of the fleet.",
                hint="Give the value: --env NAME=VALUE",
            )
        found: dict[str, str] = {}
        place = self._env.place(None, None, None)
        for name in names:
            resolved = await self._env.resolve(place, name)
            problem = resolved.problem(name)
            if problem is not None:
                raise ConflictError(
                    f"{name} has no value: {problem}.",
                    hint=f"See where it comes from: covey env explain {name}",
                )
            found[name] = resolved.values[name]
        return found

    async def secrets(self) -> Sequence[str]:
        """Return the secrets of every scope."""
        if self._env is None:
            return []
        return [
            item.stored.value
            for _, item in self._env.records.everything()
            if item.stored.kind is Kind.SECRET
        ]


class ProcessesOnDemand:
    """Implements `Processes`; its engine is loaded with the first command that it is needed for."""

    def __init__(self) -> None:
        self._made: KeptProcesses | None = None

    @property
    def _engine(self) -> KeptProcesses:
        if self._made is None:
            from covey.engines.processes import KeptProcesses

            self._made = KeptProcesses()
        return self._made

    async def run(self, launch: Launch) -> RunningProcess:
        """Start a command that ends with us."""
        return await self._engine.run(launch)

    async def start(self, launch: Launch, directory: Path, spooling: Spooling) -> DetachedProcess:
        """Start a command that keeps its output in `directory`."""
        return await self._engine.start(launch, directory, spooling)

    async def connect(self, directory: Path) -> DetachedProcess | None:
        """Return the command that was started with this directory; None if it runs no more."""
        return await self._engine.connect(directory)

    def ending(self, directory: Path) -> Ending | None:
        """Return how the command that was started with this directory ended, if it is known."""
        return self._engine.ending(directory)

    def close(self) -> None:
        """End the commands that were run; the detached ones run on."""
        if self._made is not None:
            self._made.close()


class RemoteServices:
    """Commands and files, for as long as the node is unlocked; on a relay `env` is None."""

    def __init__(
        self, paths: Paths, settings: Settings, services: Services, env: EnvService | None
    ) -> None:
        self._services = services
        state = Path(paths.state_dir)
        policy = settings.exec
        files = ExecFiles(state / "exec", state / "recordings", policy.keep_days)
        variables = FleetVariables(env)
        accounts = SystemAccounts()
        self._commands = Commands(
            ProcessesOnDemand(),
            Preparation(accounts, variables),
            variables,
            files,
            ExecPolicy(Recording(policy.record), policy.spool_bytes),
        )
        self._recordings = Recordings(files)
        tunnels = TunnelPolicy(settings.tunnel.connect, settings.tunnel.listen)
        self._tunnels = Tunnels(SystemTcp(), tunnels)
        self._disks = ThreadDisks(accounts)

        def roots(user: str | None) -> Roots:
            account = accounts.own() if user is None else accounts.find(user)
            return Roots(settings.files.roots or (account.home,))

        self._files = Files(roots, self._disks, Partials(state / "transfers"))
        self._cleaning: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Find what runs from before, and offer the services."""
        await self._commands.open()
        self._services.provide(Commands, self._commands)
        self._services.provide(Recordings, self._recordings)
        self._services.provide(Tunnels, self._tunnels)
        self._services.provide(Files, self._files)
        self._cleaning = asyncio.create_task(self._clean())

    async def stop(self) -> None:
        """Take the services back; detached commands run on."""
        for kind in (Commands, Recordings, Tunnels, Files):
            self._services.withdraw(kind)
        self._tunnels.close()
        if self._cleaning is not None:
            self._cleaning.cancel()
        self._commands.close()
        self._disks.close()

    async def _clean(self) -> None:
        """Once a day, remove what is kept no longer and what given up copies left."""
        while True:
            self._commands.forget_old()
            try:
                removed = await self._files.remove_abandoned()
                if removed:
                    _log.info("removed %d temporary files of copies that were given up", removed)
            except CoveyError as error:
                _log.warning("%s", error.message)
            await asyncio.sleep(_CLEAN_EVERY_S)
