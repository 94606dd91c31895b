"""Everything of one node that needs its keys: put together on unlocking, ended on locking."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography import x509
from starlette.types import ASGIApp

from covey.engines.references import OutsideReferences
from covey.engines.rendered_env import RenderedDirectory
from covey.engines.scan_files import FilesToScan
from covey.engines.sqlite.audit_storage import SqliteAudit
from covey.engines.sqlite.local_storage import SqliteLocalState
from covey.engines.sqlite.log_storage import SqliteLogStorage
from covey.engines.sqlite.published import FileMark
from covey.env.exchange import EnvExchange
from covey.env.renderer import EnvRenderer
from covey.env.scan import SecretScans
from covey.env.service import EnvService
from covey.env.values import ValueSource
from covey.errors import CoveyError, RefusedError
from covey.fleet.core import Surroundings
from covey.fleet.hosts import COLLECTION as HOSTS
from covey.fleet.hosts import HostRecords
from covey.fleet.keyring import Keyring, OpenKeyring, write_keyring
from covey.fleet.links import Links
from covey.fleet.live_keys import LiveKeys
from covey.fleet.machine import this_machine
from covey.fleet.membership import FleetService
from covey.fleet.neighbourhood import Neighbourhood
from covey.fleet.roster_store import FleetRoster
from covey.fleet.tls_key import derive_tls_key
from covey.fleet.tokens import Tokens
from covey.fleet.waiting import wait_a_while
from covey.operations.context import Services
from covey.operations.openapi import METRICS
from covey.operations.registry import Operation, Registry
from covey.paths import Paths
from covey.remote.dispatcher import FleetDispatcher
from covey.settings import DEFAULT_PORT, Settings, parse_address
from covey.store.api import Changed, NodeId
from covey.store.clock import HybridClock
from covey.store.compaction import Retention
from covey.store.exchange import Exchange
from covey.store.ports import ChainHead, Channel
from covey.store.store import Store
from covey.surfaces.http.serve import HttpServer, Listener, bind_tcp
from covey.surfaces.http.webhooks import WebhookReceiver
from covey.surfaces.peer.dial import PeerClient
from covey.surfaces.peer.service import CALLS_PATH, MAX_FRAME_BYTES
from covey.wiring.addresses import reachable_addresses
from covey.wiring.app_node import AppNode
from covey.wiring.database import OpenedDatabase
from covey.wiring.hosting_on_demand import HOSTING_MODULES, HostingOnDemand
from covey.wiring.mesh import Mesh
from covey.wiring.neighbourhood import make_gate, make_neighbourhood
from covey.wiring.peer_port import RenewingDialer
from covey.wiring.remote_on_demand import REMOTE_MODULES, RemoteOnDemand
from covey.wiring.seed import Seed, SeedFile
from covey.wiring.tls import TlsContexts, TlsIdentity

if TYPE_CHECKING:
    from covey.wiring.hosting import NodeHosting
    from covey.wiring.remote import RemoteServices

_MAINTAIN_EVERY_S = 3600.0
_ANNOUNCE_AFTER_S = 5.0
_POLL_S = 0.1
_OF_MEMBERS = (EnvService, EnvExchange, SecretScans, Tokens, HostRecords)
_log = logging.getLogger("covey.node")


@dataclass(frozen=True, slots=True)
class Frame:
    """What outlasts locking: where the node lives, its settings, services and operations."""

    paths: Paths
    settings: Settings
    services: Services
    registry: Registry
    audit: SqliteAudit


class OpenNode:
    """One unlocked node. Make it, `start` it, and `close` it; it is not used again after that."""

    def __init__(self, frame: Frame, opened: OpenKeyring, database: OpenedDatabase) -> None:
        self._frame = frame
        self.database = database
        self.keys = LiveKeys(opened, self._save_keyring)
        secrets = self.keys.secrets
        self.local = SqliteLocalState(database.database)
        self.roster = FleetRoster(secrets.fleet_id, self.local)
        self._seed = SeedFile(Path(frame.paths.data_dir) / "fleet.seed", secrets.database_key)
        self._mark = FileMark(Path(frame.paths.data_dir) / "published")
        self._seeded = self._seed.read()
        settings = frame.settings
        self.store = Store(
            SqliteLogStorage(database.database),
            self.local,
            self._mark,
            fleet_id=secrets.fleet_id,
            signer=self.keys,
            keys=self.keys,
            trust=self.roster,
            roster=self.roster,
            members=lambda: [member.node_id for member in self.roster.roster.present],
            clock=HybridClock(
                lambda: time.time_ns() // 1_000_000,
                drift_s=settings.fleet.max_clock_drift_seconds,
            ),
            retention=Retention(settings.store.retention_days, settings.store.keep_versions),
        )
        self.is_relay = not self.keys.generations()
        self.hosts = None if self.is_relay else HostRecords(self.store.records)
        self.tls = TlsContexts(self._tls_identity(), Path(frame.paths.run_dir))
        self.fleet = FleetService(
            self.keys,
            self.roster,
            self.local,
            self.hosts,
            Surroundings(
                held_log=self._held_log,
                known_secrets=self._known_secrets,
                addresses=self.own_addresses,
                connected=lambda: [link.peer for link in self.links.open_links],
                credentials_changed=self._renew_tls,
                certificate_life=timedelta(days=settings.fleet.certificate_days),
                advertised=tuple(
                    parse_address(item, default_port=DEFAULT_PORT).host
                    for item in settings.server.advertise
                ),
            ),
        )
        self.env = EnvService(
            self.store.records,
            lambda: self.keys.secrets.name,
            ValueSource(
                OutsideReferences(
                    allow_commands=settings.env.allow_commands,
                    file_roots=settings.env.file_roots,
                    op_command=settings.env.op_command,
                )
            ),
        )
        self.hosting = (
            None
            if self.is_relay
            else HostingOnDemand(
                self._make_hosting,
                frame.services,
                self.local,
                always=bool(settings.apps.webhook_host),
            )
        )
        self.remote = RemoteOnDemand(self._make_remote, frame.paths)
        self.renderer = (
            None
            if self.is_relay
            else EnvRenderer(self.env, RenderedDirectory(frame.paths.rendered_dir))
        )
        self.gate = make_gate(self.keys.node_id, settings)
        self.neighbourhood = make_neighbourhood(
            self.fleet.core,
            settings,
            own_addresses=self.own_addresses,
            lan_addresses=self._lan_addresses,
            seeded=lambda: self._seeded.addresses,
            announce=self._announce_now,
        )
        client = PeerClient(lambda: self.tls.client, self.fleet.member, lambda: self.gate)
        self.links = Links(
            self.keys.node_id,
            RenewingDialer(client, self.get_fleet, self.neighbourhood.vouches_for),
            self._exchange,
            targets=self.neighbourhood.targets,
            is_member=self._is_member,
            changed=self._links_changed,
        )
        self.neighbourhood.attach(self.links)
        self.mesh = Mesh(
            self.fleet,
            self.hosts,
            self.tls,
            settings.access,
            registry=frame.registry,
            services=frame.services,
            audit=frame.audit,
            dialer=RenewingDialer(
                client, self.get_fleet, self.neighbourhood.vouches_for, CALLS_PATH
            ),
            targets=self.neighbourhood.targets,
        )
        self.exchanges: dict[NodeId, Exchange] = {}
        self.listening: list[str] = []
        self._server: HttpServer | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._stale = asyncio.Event()
        self._announced = False
        self._endings: list[Callable[[], None]] = []

    def get_fleet(self) -> FleetService:
        """Return the fleet service."""
        return self.fleet

    @property
    def is_member(self) -> bool:
        """Whether this node is in its fleet still."""
        return self.fleet.core.is_member

    async def start(self, app: ASGIApp) -> None:
        """Open the port, the services and the sessions. On a failure nothing stays open."""
        try:
            if not self.roster.statements and self._seeded.statements:
                await self.roster.merge(self._seeded.statements)
            await self._listen(app)
            await self.store.start()
            self._offer()
            await self.remote.start()
            if self.hosting is not None:
                await self.hosting.start()
            if self.renderer is not None:
                await self.renderer.start()
            self._endings = [
                self.roster.subscribe(self._roster_changed),
                self.store.records.subscribe(self._records_changed),
            ]
            self.links.refresh()
            self.mesh.refresh()
            self.neighbourhood.start()
            self._tasks = [
                asyncio.create_task(self._follow_roster()),
                asyncio.create_task(self._announce()),
                asyncio.create_task(self.database.backups.run(self.database.database)),
            ]
        except BaseException:
            await self.end_serving(locked=False)
            await self.close()
            raise

    async def end_serving(self, *, locked: bool) -> None:
        """End the sessions and close the port; `locked` takes variables from open shells."""
        for end in self._endings:
            end()
        self._endings = []
        self._withdraw()
        if self.hosting is not None:
            await self.hosting.stop()
        await self.remote.stop()
        if self.renderer is not None:
            await self.renderer.stop(locked=locked)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.neighbourhood.close()
        for exchange in list(self.exchanges.values()):
            exchange.stop()
        await self.mesh.close()
        await self.links.close()
        if self._server is not None:
            await self._server.stop()
            self._server = None

    async def close(self) -> None:
        """Close the database and forget the keys, after `end_serving`."""
        self.fleet.close()
        with contextlib.suppress(CoveyError):
            self._write_seed()
        await self.store.close()
        self._mark.close()
        self.database.close()
        self.keys.drop()

    @property
    def webhooks(self) -> WebhookReceiver:
        """Who takes deliveries; raises `RefusedError` on a relay."""
        if self.hosting is None:
            raise _relay_refusal()
        return self.hosting

    def _make_hosting(self) -> NodeHosting:
        from covey.wiring.hosting import NodeHosting

        return NodeHosting(
            self._frame.paths,
            self._frame.settings,
            self._frame.services,
            self.database.database,
            self.local,
            AppNode(
                self.keys.node_id,
                lambda: self.keys.secrets.name,
                self.store.records,
                self.local,
                self.env,
                HostRecords(self.store.records),
            ),
            self.own_addresses,
            self._frame.audit,
        )

    def _make_remote(self) -> RemoteServices:
        from covey.wiring.remote import RemoteServices

        env = None if self.is_relay else self.env
        return RemoteServices(self._frame.paths, self._frame.settings, self._frame.services, env)

    async def _prepare(self, operation: Operation) -> None:
        """Have the part begin whose services an operation will ask for."""
        if operation.module.startswith(REMOTE_MODULES):
            await self.remote.prepare()
        elif operation.module.startswith(HOSTING_MODULES):
            if self.hosting is None:
                raise _relay_refusal()
            await self.hosting.prepare(operation)

    def own_addresses(self) -> list[str]:
        """Return where others reach this node."""
        return list(self._frame.settings.server.advertise) or self._lan_addresses()

    def _lan_addresses(self) -> list[str]:
        listen = self.listening[0] if self.listening else self._frame.settings.server.listen
        wildcard = self._frame.settings.server.listen
        if wildcard.startswith(("0.0.0.0:", "[::]:")) and self.listening:
            port = parse_address(self.listening[0]).port
            listen = str(parse_address(wildcard)._replace(port=port))
        return reachable_addresses(listen)

    async def _listen(self, app: ASGIApp) -> None:
        where = parse_address(self._frame.settings.server.listen)
        sockets = bind_tcp(where.host, where.port)
        self.listening = [_address_of(item.getsockname()) for item in sockets]
        self._server = HttpServer(app, max_websocket_bytes=MAX_FRAME_BYTES)
        await self._server.start([Listener(item, self.tls.server) for item in sockets])

    def _offer(self) -> None:
        services = self._frame.services
        services.provide(FleetService, self.fleet)
        services.provide(FleetDispatcher, self.mesh.dispatcher)
        services.provide(Neighbourhood, self.neighbourhood)
        offered: list[tuple[type, object]] = [
            (EnvService, self.env),
            (SecretScans, SecretScans(FilesToScan())),
            (Tokens, self._tokens()),
        ]
        hosts = HostRecords(self.store.records) if self.hosts is None else self.hosts
        offered += [(HostRecords, hosts), (EnvExchange, EnvExchange(self.env, hosts))]
        services.prepare_by(self._prepare)
        for kind, service in offered:
            if self.is_relay:
                services.withdraw(kind, _relay_refusal)
            else:
                services.provide(kind, service)

    def _tokens(self) -> Tokens:
        operations = [*self._frame.registry, METRICS]
        return Tokens(self.store.records, self.local, self.fleet.core, operations)

    def _withdraw(self) -> None:
        self._frame.services.prepare_by(None)
        for kind in (FleetService, FleetDispatcher, Neighbourhood, *_OF_MEMBERS):
            self._frame.services.withdraw(kind)

    async def _exchange(self, channel: Channel) -> None:
        exchange = Exchange(channel, self.store.replica)
        self.exchanges[channel.peer] = exchange
        try:
            ended = await exchange.run()
            _log.info("session with %s: %s", channel.peer[:8], ended.message)
            if ended.hint is not None:
                _log.warning("session with %s: %s", channel.peer[:8], ended.hint)
        finally:
            if self.exchanges.get(channel.peer) is exchange:
                del self.exchanges[channel.peer]

    def _links_changed(self) -> None:
        self.neighbourhood.links_changed()
        self.mesh.follow(self.links)

    def _is_member(self, node_id: NodeId) -> bool:
        member = self.roster.roster.members.get(node_id)
        return member is not None and member.present

    def _held_log(self, origin: NodeId) -> ChainHead | None:
        return self.store.replica.heads().get(origin)

    def _known_secrets(self) -> list[str]:
        if self.is_relay:
            return []
        return [f"{item.name} ({item.scope})" for item in self.env.secret_names()]

    def _save_keyring(self, keyring: Keyring) -> None:
        write_keyring(Path(self._frame.paths.keyring), keyring)

    def _tls_identity(self) -> TlsIdentity:
        secrets = self.keys.secrets
        return TlsIdentity(
            x509.load_der_x509_certificate(secrets.certificate),
            derive_tls_key(self.keys.identity.sign_seed),
            tuple(x509.load_der_x509_certificate(item) for item in secrets.authorities),
        )

    def _renew_tls(self) -> None:
        self.tls.renew(self._tls_identity())
        _log.info("the node's certificate or the fleet's authorities changed")

    def _roster_changed(self) -> None:
        self._stale.set()

    def _records_changed(self, changed: Changed) -> None:
        if any(collection == HOSTS for collection, _ in changed.keys):
            self.links.refresh()
            self.mesh.refresh()
            if self.renderer is not None:
                self.renderer.host_renamed()

    async def _follow_roster(self) -> None:
        """Act on changes of the roster, and maintain hourly."""
        while True:
            await self.mesh.members_changed()
            await _tolerate(self.fleet.maintain)
            await _tolerate(self.store.keys_changed)
            await _tolerate(self.store.trust_changed)
            self.neighbourhood.members_changed()
            self.links.refresh()
            self.mesh.refresh()
            with contextlib.suppress(CoveyError):
                self._write_seed()
            await wait_a_while(self._stale, _MAINTAIN_EVERY_S)
            self._stale.clear()

    async def _announce(self) -> None:
        """Record this machine once it has caught up, or met nobody for a while."""
        until = time.monotonic() + _ANNOUNCE_AFTER_S
        alone = len(self.roster.roster.present) < 2  # noqa: PLR2004 - this node and another
        while not alone and time.monotonic() < until and not self._caught_up():  # noqa: ASYNC110
            await asyncio.sleep(_POLL_S)
        await self.neighbourhood.look()
        self._announced = True
        await self._announce_now()
        self.links.refresh()

    async def _announce_now(self) -> None:
        """Record where this machine is now, unless it still waits to catch up."""
        if not self._announced:
            return

        async def announce() -> None:
            machine = this_machine(self.keys.secrets.name, self.neighbourhood.tailscale_name)
            own = [*self.own_addresses(), *self.neighbourhood.tailnet_addresses]
            await self.fleet.announce(machine, tuple(dict.fromkeys(own)))

        await _tolerate(announce)

    def _caught_up(self) -> bool:
        stats = [exchange.stats() for exchange in self.exchanges.values()]
        return any(item.ready and item.ahead == 0 for item in stats)

    def _write_seed(self) -> None:
        addresses = sorted(self.fleet.member_addresses() | set(self._seeded.addresses))
        self._seed.write(Seed(self.roster.export(), addresses))


async def _tolerate(work: Callable[[], Awaitable[object]]) -> None:
    try:
        await work()
    except CoveyError as error:
        _log.warning("%s", error.message)


def _relay_refusal() -> CoveyError:
    return RefusedError(
        "This node is a relay: it stores the fleet's records and cannot read them.",
        hint="Run the command on a full member.",
    )


def _address_of(name: tuple[str, int] | tuple[str, int, int, int]) -> str:
    host, port = name[0], name[1]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
