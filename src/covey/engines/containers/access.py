"""Find the container engine of this machine, or start Podman's service, on first use."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from covey.engines.containers.api import Api, RefusalError
from covey.engines.containers.host_limits import (
    Facts,
    HostLimits,
    find_program,
    read_host_limits,
)
from covey.engines.containers.podman_service import PodmanService
from covey.errors import CoveyError, UnreachableError
from covey.settings_hosting import AppsSettings

_SYSTEM_SOCKETS = ("/run/docker.sock", "/run/podman/podman.sock")
_VERSION_S = 30.0
_PING_S = 10.0


@dataclass(frozen=True, slots=True)
class Candidate:
    """An engine that may be here: a socket, or Podman's program if `socket` is empty."""

    name: str
    socket: str = ""
    program: str = ""


def candidates(
    settings: AppsSettings,
    environ: Mapping[str, str],
    needs: tuple[str, ...],
    *,
    is_socket: Callable[[str], bool],
    program: str | None,
) -> list[Candidate]:
    """List the engines to try in their order.

    Podman's own socket comes last where the host needs settings that it may not have.
    """
    if settings.engine_socket:
        name = settings.engine
        if name == "auto":
            name = "podman" if "podman" in settings.engine_socket else "docker"
        return [Candidate(name, settings.engine_socket)]
    runtime_dir = environ.get("XDG_RUNTIME_DIR", "")
    podman = ["/run/podman/podman.sock"]
    docker = ["/var/run/docker.sock", "/run/docker.sock"]
    if os.path.isabs(runtime_dir):  # noqa: PTH117 - may be empty
        podman.insert(0, f"{runtime_dir}/podman/podman.sock")
        docker.insert(0, f"{runtime_dir}/docker.sock")
    for variable, sockets in (("CONTAINER_HOST", podman), ("DOCKER_HOST", docker)):
        named = environ.get(variable, "")
        if named.startswith("unix://"):
            sockets.insert(0, named.removeprefix("unix://"))
    there = [Candidate("podman", path) for path in podman if is_socket(path)]
    own = [Candidate("podman", program=program)] if program else []
    others = [
        Candidate("podman" if "podman" in os.path.realpath(path) else "docker", path)
        for path in docker
        if is_socket(path)
    ]
    # Who sets these asks for another Podman than the one that the system's service knows.
    private = "CONTAINERS_STORAGE_CONF" in environ or "CONTAINERS_CONF" in environ
    ours_first = private or (needs and there)
    first = [*own, *there, *others] if ours_first else [*there, *others, *own]
    chosen = [one for one in first if settings.engine in {"auto", one.name}]
    return list(dict.fromkeys(chosen))


class Access:
    """The way to the engine's API; raises `UnreachableError` if there is none."""

    def __init__(
        self,
        settings: AppsSettings,
        run_dir: Path,
        tmp_dir: Path,
        environ: Mapping[str, str],
        limits: Callable[[], HostLimits] = read_host_limits,
    ) -> None:
        self._settings = settings
        self._run_dir = run_dir
        self._tmp_dir = tmp_dir
        self._environ = environ
        self._read_limits = limits
        self._choosing = asyncio.Lock()
        self._api: Api | None = None
        self._service: PodmanService | None = None
        self._limits: HostLimits | None = None
        self._name = ""
        self._version = ""

    @property
    def name(self) -> str:
        """`podman` or `docker`: the one in use, else the one that would be tried first."""
        if self._name:
            return self._name
        found = self._candidates()
        return found[0].name if found else "podman"

    @property
    def limits(self) -> HostLimits:
        """What the host allows."""
        if self._limits is None:
            self._limits = self._read_limits()
        return self._limits

    async def api(self) -> Api:
        """Return the API of the engine, which answers."""
        if self._api is None:
            async with self._choosing:
                if self._api is None:
                    self._api = await self._choose()
        if self._service is not None:
            if self._api.was_late:
                await self._replace_if_it_hangs(self._api, self._service)
            await self._service.ready()
        return self._api

    async def _replace_if_it_hangs(self, api: Api, service: PodmanService) -> None:
        """Replace our own service if it does not even answer what needs no lock."""
        async with self._choosing:
            if not api.was_late:
                return
            try:
                async with asyncio.timeout(_PING_S), api.open("GET", "/_ping") as answer:
                    await answer.read()
            except TimeoutError:
                await service.replace()
            except (UnreachableError, RefusalError):
                pass  # it is started again as it is, or answers
            api.was_late = False

    async def version(self) -> str:
        """Return the engine's version."""
        await self.api()
        return self._version

    async def facts(self) -> Facts:
        """Describe the engine that is in use."""
        api = await self.api()
        settings = self._service.settings if self._service is not None else None
        return Facts(
            engine=self._name,
            version=self._version,
            socket=api.socket_path,
            service="system" if self._service is None else "own",
            settings="" if settings is None else str(settings),
            needs=self.limits.needs if self._name == "podman" else (),
        )

    async def close(self) -> None:
        """End the service if one was started here."""
        if self._service is not None:
            await self._service.close()
        self._service = None
        self._api = None

    def _candidates(self) -> list[Candidate]:
        return candidates(
            self._settings,
            self._environ,
            self.limits.needs,
            is_socket=_is_usable,
            program=find_program("podman", self._environ),
        )

    async def _choose(self) -> Api:
        failures: list[CoveyError] = []
        for candidate in self._candidates():
            try:
                return await self._try(candidate)
            except UnreachableError as error:
                failures.append(error)
        if failures:
            raise failures[0]
        raise missing_engine(
            self._settings.engine,
            self._environ,
            [one for one in _SYSTEM_SOCKETS if _is_closed(one)],
        )

    async def _try(self, candidate: Candidate) -> Api:
        service = None
        if candidate.socket:
            api = Api(candidate.socket)
        else:
            service = PodmanService(
                candidate.program, self._run_dir, self._tmp_dir, self.limits, self._environ
            )
            api = Api(service.socket)
            api.remove_by_program = service.remove_container
        try:
            if service is not None:
                await service.ready()
            told = await api.call("GET", "/version", timeout_s=_VERSION_S)
        except BaseException as error:
            if service is not None:
                await service.close()
            if isinstance(error, RefusalError):
                raise UnreachableError(
                    f"What listens at {api.socket_path} is no container engine: {error.message}",
                    hint="Name the engine's API socket as engine_socket under [apps].",
                ) from error
            raise
        components = {str(one.get("Name")) for one in told.get("Components") or ()}
        self._name = "podman" if "Podman Engine" in components else "docker"
        self._version = str(told.get("Version", ""))
        self._service = service
        return api


def _is_usable(path: str) -> bool:
    try:
        return Path(path).is_socket() and os.access(path, os.W_OK)
    except OSError:
        return False  # its directory is closed to this user


def _is_closed(path: str) -> bool:
    """Tell whether a socket is there that this user may not use."""
    try:
        return Path(path).is_socket() and not os.access(path, os.W_OK)
    except OSError:
        return True  # its directory is closed as well


def missing_engine(
    engine: str, environ: Mapping[str, str], closed: Sequence[str] = ()
) -> UnreachableError:
    """Return the error of a machine without an engine; `closed` are sockets of others."""
    closed = [path for path in closed if engine == "auto" or engine in path]
    if closed:
        return UnreachableError(
            f"There is an engine at {closed[0]}, which this user may not use.",
            hint="For Docker join its group (`sudo usermod -aG docker $USER`, then log in anew),"
            " or install Podman, which needs no group.",
        )
    wanted = {"podman": "Podman", "docker": "Docker"}.get(engine, "container engine")
    host = environ.get("DOCKER_HOST", "")
    if engine != "podman" and host and not host.startswith("unix://"):
        return UnreachableError(
            "DOCKER_HOST names an engine on another machine, where Covey's proxy reaches no app.",
            hint="Run Covey on that machine, or unset DOCKER_HOST and install Podman here:"
            f" `{_install_command('podman')}`.",
        )
    package = "docker" if engine == "docker" else "podman"
    return UnreachableError(
        f"There is no {wanted} on this machine.",
        hint=f"Install one: `{_install_command(package)}`.",
    )


_INSTALL: tuple[tuple[str, str, dict[str, str]], ...] = (
    ("apt-get", "apt-get install", {"podman": "podman netavark aardvark-dns catatonit"}),
    ("dnf", "dnf install", {}),
    ("zypper", "zypper install", {}),
    ("apk", "apk add", {}),
    ("pacman", "pacman -S", {}),
    ("brew", "brew install", {}),
)


def _install_command(package: str) -> str:
    for program, command, packages in _INSTALL:
        if find_program(program):
            name = packages.get(package, package)
            if package == "docker" and program == "apt-get":
                name = "docker.io"
            return command if program == "brew" else f"sudo {command} {name}"
    return f"apt-get install {package}"
