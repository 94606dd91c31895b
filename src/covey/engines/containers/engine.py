"""Podman or Docker behind one protocol, through the Docker-compatible API of either."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import msgspec

from covey.apps.containers import (
    BuildRequest,
    ContainerEvent,
    ContainerSpec,
    ContainerState,
    ImageState,
    Log,
    OutputChunk,
    Usage,
)
from covey.engines.containers import images, volumes
from covey.engines.containers.access import Access
from covey.engines.containers.api import Api, LostError, RefusalError
from covey.engines.containers.builds import Builds
from covey.engines.containers.commands import Command, create_command
from covey.engines.containers.container_documents import container_state, to_create
from covey.engines.containers.copying import copy_directory
from covey.engines.containers.events import container_events
from covey.engines.containers.failures import delete, does_not_run, doing, find, is_missing
from covey.engines.containers.host_limits import Facts
from covey.engines.containers.image_documents import split_tag
from covey.engines.containers.logs import container_logs
from covey.errors import ConflictError
from covey.paths import Paths
from covey.settings_hosting import AppsSettings

_log = logging.getLogger(__name__)

_STOP_EXTRA_S = 60.0
_LOOKING_AT_ONCE = 8
_PAUSE_S = 0.2
_NO_INIT = (
    "Podman finds no init program for containers: what ends in them is not reaped, and what"
    " ignores SIGTERM as their first process is killed after the whole grace."
    " Install catatonit (apt-get install catatonit)."
)


class ApiContainerEngine:
    """Implements `ContainerEngine`; nothing happens until it is first used."""

    def __init__(self, access: Access, builds: Builds) -> None:
        self._access = access
        self._builds = builds
        self._init: bool | None = None

    @property
    def name(self) -> str:
        """`podman` or `docker`."""
        return self._access.name

    async def version(self) -> str:
        """Return the engine's version; starts its service where that is needed."""
        return await self._access.version()

    async def describe(self) -> Facts:
        """Tell which engine was found, and what it needs here."""
        return msgspec.structs.replace(await self._access.facts(), init=self._init)

    async def build(self, request: BuildRequest, log: Log) -> str:
        """Build an image, give each line to `log`, and return the image's id."""
        return await self._builds.build(await self._api(), self.name, request, log)

    async def pull(
        self, reference: str, log: Log, *, username: str = "", password: str = ""
    ) -> str:
        """Fetch an image from its registry."""
        api = await self._api()
        return await images.pull_image(api, reference, log, username=username, password=password)

    async def image(self, reference: str) -> ImageState | None:
        """Describe an image by id or tag, or return None."""
        return await images.find_image(await self._api(), reference)

    async def list_images(self, labels: Mapping[str, str]) -> list[ImageState]:
        """List the images that have all these labels."""
        return await images.labelled_images(await self._api(), labels)

    async def tag_image(self, image: str, tag: str) -> None:
        """Give an image one more tag."""
        name, version = split_tag(tag)
        with doing(f"tag the image {image}"):
            api = await self._api()
            await api.call("POST", f"/images/{image}/tag", {"repo": name, "tag": version})

    async def remove_image(self, image: str) -> None:
        """Remove an image, or its tag, if nothing uses it; a missing one is no error."""
        await images.remove_unused_image(await self._api(), image)

    async def copy_out(self, image: str, path: str, into: Path) -> None:
        """Copy a directory of an image into `into`."""
        await copy_directory(await self._api(), image, path, into)

    async def create(self, spec: ContainerSpec) -> str:
        """Make a container and return its id; raises `ConflictError` if the name is taken."""
        api = await self._api()
        with doing(f"make the container {spec.name}"):
            try:
                made = await self._create(api, spec, init=True)
                self._init = True
            except RefusalError as error:
                if "container-init" not in error.message:
                    raise
                if self._init is not False:
                    _log.warning(_NO_INIT)
                self._init = False
                made = await self._create(api, spec, init=False)
        return made

    async def _create(self, api: Api, spec: ContainerSpec, *, init: bool) -> str:
        document = to_create(spec, self.name, init=init)
        told = await api.call("POST", "/containers/create", {"name": spec.name}, document)
        return str(told["Id"])

    async def start(self, container: str) -> None:
        """Start it."""
        api = await self._api()
        with doing(f"start the container {container}"):
            await api.call("POST", f"/containers/{container}/start")

    async def stop(self, container: str, grace_s: float) -> None:
        """Ask it to end, and after `grace_s` kill it; one that is gone or ended is no error."""
        api = await self._api()
        with doing(f"stop the container {container}"):
            try:
                await api.call(
                    "POST",
                    f"/containers/{container}/stop",
                    {"t": max(0, round(grace_s))},
                    timeout_s=grace_s + _STOP_EXTRA_S,
                )
            except RefusalError as error:
                if not is_missing(error):
                    raise

    async def kill(self, container: str, signal: str) -> None:
        """Send it a signal; one that has ended takes none."""
        api = await self._api()
        with doing(f"send {signal} to the container {container}"):
            try:
                await api.call("POST", f"/containers/{container}/kill", {"signal": signal})
            except RefusalError as error:
                if not does_not_run(error):
                    raise

    async def remove(self, container: str) -> None:
        """Remove it with its anonymous volumes, running or not; a missing one is no error."""
        api = await self._api()
        with doing(f"remove the container {container}"):
            await delete(api, f"/containers/{container}", {"force": True, "v": True})

    async def inspect(self, container: str) -> ContainerState | None:
        """Describe a container by id or name, or return None."""
        api = await self._api()
        with doing(f"look at the container {container}"):
            found = await find(api, f"/containers/{container}/json")
        return None if found is None else container_state(found)

    async def list_containers(self, labels: Mapping[str, str]) -> list[ContainerState]:
        """List the containers that have all these labels, running or not."""
        api = await self._api()
        with doing("list the containers"):
            query = {"all": True, "filters": images.label_filter(labels)}
            listed = await api.call("GET", "/containers/json", query)
        at_once = asyncio.Semaphore(_LOOKING_AT_ONCE)

        async def look(ident: str) -> ContainerState | None:
            async with at_once:
                return await self.inspect(ident)

        found = await asyncio.gather(*(look(one["Id"]) for one in listed))
        return [one for one in found if one is not None and labels.items() <= one.labels.items()]

    async def wait(self, container: str) -> int:
        """Wait until it has ended, and return its exit status."""
        while True:
            api = await self._api()
            with doing(f"wait for the container {container}"):
                try:
                    told = await api.call("POST", f"/containers/{container}/wait", timeout_s=None)
                    return int(told["StatusCode"])
                except LostError:
                    await asyncio.sleep(_PAUSE_S)

    def logs(
        self, container: str, *, follow: bool, tail: int | None = None
    ) -> AsyncIterator[OutputChunk]:
        """Yield its output so far (the last `tail` lines), and with `follow` what comes."""
        cuts = self.name != "podman"
        return container_logs(self._api, container, follow=follow, tail=tail, cuts=cuts)

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
    ) -> Command:
        """Start a command in a running container."""
        return await create_command(
            await self._api(), container, argv, tty=tty, stdin=stdin, env=env, cwd=cwd, user=user
        )

    async def usage(self, container: str) -> Usage:
        """Measure a running container."""
        api = await self._api()
        with doing(f"measure the container {container}"):
            query = {"stream": False, "one-shot": True}
            told = await api.call("GET", f"/containers/{container}/stats", query)
        memory = (told or {}).get("memory_stats") or {}
        if "usage" not in memory:
            raise ConflictError(f"The container {container} does not run.")
        cache = (memory.get("stats") or {}).get("inactive_file", 0)
        return Usage(
            cpu_seconds=told["cpu_stats"]["cpu_usage"]["total_usage"] / 1e9,
            memory_bytes=max(0, memory["usage"] - cache),
        )

    def events(self) -> AsyncIterator[ContainerEvent]:
        """Yield events of containers with `NODE_LABEL` from now on."""
        return container_events(self._api)

    async def create_volume(self, name: str, labels: Mapping[str, str]) -> None:
        """Make a named volume; one with the same labels is left as it is."""
        await volumes.make_volume(await self._api(), name, labels)

    async def list_volumes(self, labels: Mapping[str, str]) -> list[str]:
        """List the names of the volumes that have all these labels."""
        return await volumes.labelled_volumes(await self._api(), labels)

    async def remove_volume(self, name: str) -> None:
        """Remove a volume with its content; a missing one is no error."""
        await volumes.drop_volume(await self._api(), name)

    async def create_network(self, name: str, labels: Mapping[str, str]) -> None:
        """Make a bridge network whose containers know each other by alias; idempotent."""
        api = await self._api()
        await volumes.make_network(api, name, labels, bridge=self.name == "podman")

    async def list_networks(self, labels: Mapping[str, str]) -> list[str]:
        """List the names of the networks that have all these labels."""
        return await volumes.labelled_networks(await self._api(), labels)

    async def remove_network(self, name: str) -> None:
        """Remove a network if nothing uses it; a missing one is no error."""
        await volumes.drop_network(await self._api(), name)

    async def close(self) -> None:
        """Close connections; a service that was started here ends, containers run on."""
        await self._builds.close()
        await self._access.close()

    async def _api(self) -> Api:
        api = await self._access.api()
        await self._builds.recover(api, self.name)
        return api


def make_engine(
    settings: AppsSettings, paths: Paths, environ: Mapping[str, str] = os.environ
) -> ApiContainerEngine:
    """Make the engine that the settings name; its service's files stand in the run directory."""
    run_dir = Path(os.path.realpath(paths.run_dir)) / "containers"
    state_dir = Path(paths.state_dir) / "containers"
    return ApiContainerEngine(
        Access(settings, run_dir, state_dir / "tmp", environ),
        Builds(state_dir / "builds", environ),
    )
