"""A node's apps put together as the daemon does, on an engine and a proxy in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tomli_w

from covey.apps.containers import ContainerSpec, ContainerState, Log
from covey.apps.layout import pool_of
from covey.apps.model import App, Deployment, Trigger
from covey.apps.routing.ports import ProxyPlan, ServedCertificate
from covey.apps.routing.service import RoutesService
from covey.apps.routing.tls import TlsAbilities
from covey.apps.service import Wanted
from covey.apps.sources import Fetched, Source, UploadSource
from covey.env.model import Kind
from covey.env.scope import Scope
from covey.env.service import Assignment, EnvService
from covey.env.values import ValueSource
from covey.fleet.hosts import HostRecords
from covey.jobs.engine import JobEngine
from covey.jobs.log_files import LogFiles
from covey.jobs.runner import Patience
from covey.operations.context import Services
from covey.operations.secret import Secret
from covey.paths import Paths
from covey.settings import Settings
from covey.testing.memory_containers import Behaviour, MemoryContainers
from covey.testing.memory_jobs import MemoryJobStorage
from covey.testing.memory_log import MemoryLog
from covey.wiring.apps import AppNode, NodeApps
from tests.env.nodes import TableOfReferences
from tests.fleet.token_store import HERE, MemoryRecords
from tests.waiting import until

_TURNS = 5


@dataclass
class MemoryProxy:
    """Implements `ProxyEngine`; `busy` are the addresses that serve a request."""

    pools: dict[str, tuple[str, ...]] = field(default_factory=dict)
    busy: set[str] = field(default_factory=set)
    plan: ProxyPlan | None = None
    history: list[tuple[str, tuple[str, ...]]] = field(default_factory=list)

    async def start(self, plan: ProxyPlan, pools: Mapping[str, Sequence[str]]) -> None:
        self.plan = plan
        self.pools = {name: tuple(addresses) for name, addresses in pools.items()}

    async def apply(self, plan: ProxyPlan) -> None:
        self.plan = plan

    def write_pool(self, pool: str, addresses: Sequence[str], slots: int) -> None:
        self.pools[pool] = tuple(addresses)
        self.history.append((pool, tuple(addresses)))

    def forget_pools(self, keep: Collection[str]) -> None:
        self.pools = {name: found for name, found in self.pools.items() if name in keep}

    async def in_use(self, addresses: Collection[str]) -> frozenset[str]:
        return frozenset(self.busy.intersection(addresses))

    def port(self, *, tls: bool) -> int | None:
        return None

    async def authority(self) -> str:
        return ""

    async def served(self, host: str) -> ServedCertificate | None:
        return None

    async def leave(self) -> None: ...

    async def end(self) -> None: ...


class NoPasswords:
    async def hash_password(self, password: Secret) -> str:
        raise AssertionError


@dataclass
class Versions:
    """Implements `SourceFetcher`: an upload's id is the version of which its image is built."""

    config: dict[str, dict[str, Any]] = field(default_factory=dict)
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    fetching: list[str] = field(default_factory=list)

    async def resolve(self, source: Source) -> Source:
        return source

    async def fetch(self, app: str, source: Source, into: Path, log: Log) -> Fetched:
        assert isinstance(source, UploadSource)
        self.fetching.append(source.id)
        await self.gate.wait()
        (into / "Containerfile").write_text(f"FROM {source.id}\n")
        (into / "covey.app.toml").write_text(tomli_w.dumps(self.config[source.id]))
        return Fetched(into, source.id, f"version {source.id}")


class Laboratory:
    """One node. Its apps are built of versions that `version` describes."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.engine = MemoryContainers()
        self.proxy = MemoryProxy()
        self.records = MemoryRecords()
        self.local = MemoryLog()
        self.job_storage = MemoryJobStorage()
        self.changed: list[Deployment] = []

    async def start(self) -> None:
        """Start the daemon on what is there."""
        paths = Paths(*(self.directory / name for name in ("config", "data", "state", "run")))
        self.versions = Versions(getattr(self, "versions", Versions()).config)
        self.versions.gate.set()
        self.jobs = JobEngine(
            self.job_storage,
            LogFiles(self.directory / "jobs", 1 << 20),
            patience=Patience(clean_up_s=10, stop_s=5),
        )
        self.routes = RoutesService(self.local, self.proxy, NoPasswords(), TlsAbilities())
        values = ValueSource(TableOfReferences({}))
        self.env = EnvService(self.records, lambda: "freya", values)
        node = AppNode(
            HERE, lambda: "freya", self.records, self.local, self.env, HostRecords(self.records)
        )
        self.node = NodeApps(
            paths, Settings(), node, self.jobs, self.engine, self.routes, self.versions
        )
        self.node.subscribe(self.changed.append)
        self.apps = self.node.apps
        self.hosting = self.node.hosting
        self.deployments = self.hosting.deployments
        await self.routes.start()
        await self.jobs.start()
        self.services = Services()
        self.node.start(self.services)

    async def stop(self) -> None:
        """Break everything off, as the end of the daemon does; containers run on."""
        await self.node.stop()
        await self.jobs.stop()
        await self.routes.stop()

    async def restart(self) -> None:
        """Stop, and start anew on what is kept."""
        await self.stop()
        await self.start()

    async def close(self) -> None:
        await self.stop()
        await self.engine.end_all()
        for _ in range(_TURNS):
            # Connections that were cut are let go of in the loop's next turns.
            await asyncio.sleep(0)

    def version(self, name: str, behaviour: Behaviour | None = None, **config: Any) -> None:
        """Describe a version; its web process answers with its name."""
        deploy = {"watch": "0s", "drain": "5s", "healthcheck_timeout": "20s", "grace": "1s"}
        deploy |= {"healthcheck": {"tcp": True, "interval": "50ms"}}
        tables = {"port": 8080, **config}
        tables["deploy"] = {**deploy, **tables.get("deploy", {})}
        self.versions.config[name] = tables
        self.engine.add_image(name, behaviour or Behaviour(serves=8080, body=name.encode()))

    def broken(self, name: str, **config: Any) -> None:
        """Describe a version that listens on no port that it was told of."""
        deploy = {"healthcheck_timeout": "1s", **config.pop("deploy", {})}
        self.version(name, port=9999, deploy=deploy, **config)

    async def ask(self, app: str, version: str) -> Deployment:
        """Ask for a deployment."""
        if self.apps.records.find(app) is None:
            await self.apps.create(app)
        wanted = Wanted(Trigger.DEPLOY, "a test", UploadSource(version))
        return await self.apps.deploy(self.app(app), wanted)

    async def deploy(self, app: str, version: str) -> Deployment:
        """Deploy, and return how it ended."""
        return await self.ended(await self.ask(app, version))

    async def ended(self, deployment: Deployment | None) -> Deployment:
        """Wait for a deployment's job, and return how it ended."""
        assert deployment is not None
        await self.jobs.wait(deployment.job)
        return await self.apps.settle(deployment.app, deployment.number)

    async def settled(self) -> None:
        """Wait until nothing is being retired."""
        await until(lambda: not self.deployments.retiring())

    def app(self, name: str) -> App:
        return self.apps.here(name)

    async def set(self, scope: Scope, name: str, value: str, kind: Kind = Kind.SECRET) -> None:
        await self.env.set(Assignment(scope, name, value, kind), "a test")

    async def get(self, app: str) -> str:
        """Ask every address of an app's pool; all must give the same answer, which is returned."""
        addresses = self.proxy.pools[pool_of(app)]
        assert addresses, "the pool is empty"
        [answer] = {await _get(address) for address in addresses}
        return answer

    async def containers(self, app: str = "") -> list[ContainerState]:
        """List the containers of an app, or all."""
        found = await self.engine.list_containers({"covey.app": app} if app else {})
        return sorted(found, key=lambda state: state.name)

    async def names(self, app: str = "") -> list[str]:
        """List what runs of an app, as NUMBER-PROCESS-SLOT."""
        prefix = f"covey-{HERE[:6]}-{app}-"
        return [state.name.removeprefix(prefix) for state in await self.containers(app)]

    def specs(self, app: str) -> list[ContainerSpec]:
        """List how the containers of an app were asked for."""
        found = [one.spec for one in self.engine._containers.values()]
        return [spec for spec in found if spec.labels.get("covey.app") == app]

    def log(self, job: str) -> str:
        """Return a job's log so far."""
        reader = LogFiles(self.directory / "jobs", 1 << 20).reader(job, 0)
        try:
            return "\n".join(line.text for line in reader.read())
        finally:
            reader.close()


async def _get(address: str) -> str:
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        writer.write(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n")
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        length = next(
            int(line.partition(":")[2])
            for line in head.splitlines()
            if line.lower().startswith("content-length:")
        )
        return (await reader.readexactly(length)).decode()
    finally:
        writer.close()


def hold(target: object, name: str, before: Callable[[], object] | None = None) -> asyncio.Event:
    """Let calls of a method wait until the event is set that is returned."""
    gate = asyncio.Event()
    whole = getattr(target, name)

    async def held(*args: Any, **kwargs: Any) -> Any:
        if before is not None:
            before()
        await gate.wait()
        return await whole(*args, **kwargs)

    setattr(target, name, held)
    return gate
