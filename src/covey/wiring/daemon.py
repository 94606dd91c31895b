"""The daemon: one process on one home, from the lock on the home to a graceful stop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path

from starlette.types import ASGIApp

from covey.engines.rendered_env import RenderedDirectory
from covey.engines.sqlite.audit_storage import SqliteAudit
from covey.errors import ConflictError, CoveyError, StorageError
from covey.fleet.audit_operations import Trail
from covey.fleet.key_file import read_key_file
from covey.fleet.keyring import (
    Keyring,
    OpenKeyring,
    open_with_key,
    open_with_password,
    read_keyring,
)
from covey.fleet.node import Check, ConfigFile, ConfigKey, NodeActions, NodeState, SyncReport
from covey.fleet.private_file import replace_private_file
from covey.home import prepare_directories, remove_run_link
from covey.logs import start_logging
from covey.operations.context import Services, locked
from covey.operations.packaged import packaged_operations
from covey.operations.secret import Secret
from covey.paths import LOCAL_TCP_PORT, Paths
from covey.settings import DEFAULT_PORT, LoadedSettings, describe, load, parse_address
from covey.surfaces.http.app import HttpSettings, build_app
from covey.surfaces.http.connection import connection_of, wire_of
from covey.surfaces.http.metrics import Gauge
from covey.surfaces.http.serve import HttpServer, Listener, bind_tcp, bind_unix
from covey.surfaces.peer.endpoints import peer_routes
from covey.wiring.callers import Callers
from covey.wiring.database import OpenedDatabase
from covey.wiring.home_lock import hold_home
from covey.wiring.log_tail import tail
from covey.wiring.mesh import OpenDispatcher
from covey.wiring.open_node import Frame, OpenNode
from covey.wiring.peer_port import PeerPort
from covey.wiring.reports import Birth, describe_node, describe_peers, is_level

_LOCK_WAIT_S = 1.0
_POLL_S = 0.02
_RUN_DIR_CHECK_S = 5.0
_log = logging.getLogger("covey.node")


class Daemon:
    """Serves one home: locked it answers its owner alone, unlocked it is a member of its fleet."""

    def __init__(self, paths: Paths, loaded: LoadedSettings, environ: dict[str, str]) -> None:
        self._paths = paths
        self._loaded = loaded
        self._environ = environ
        self._registry = packaged_operations()
        self._frame = Frame(paths, loaded.settings, Services(), self._registry, SqliteAudit())
        self._birth = Birth()
        self._stop = asyncio.Event()
        self._changing = asyncio.Lock()
        self._audit = self._frame.audit
        self._rendered = RenderedDirectory(paths.rendered_dir)
        self._node: OpenNode | None = None
        self._notes: list[str] = list(loaded.warnings)
        self._local_token: str | None = None
        self._open_app = self._app()

    async def run(self, password: Secret | None, ready: Callable[[str], None]) -> None:
        """Serve until told to stop; raises `CoveyError` if the node cannot start."""
        prepare_directories(self._paths, self._environ)
        keyring = read_keyring(Path(self._paths.keyring))
        with hold_home(self._paths):
            stop_logging = start_logging(
                self._loaded.settings.log, self._paths.log_file, console=sys.stderr
            )
            try:
                opened = self._first_keys(keyring, password)
                await self._serve(opened, ready)
            except CoveyError:
                raise
            except Exception:
                _log.exception("the daemon ends by a defect")
                raise
            finally:
                stop_logging()
                remove_run_link(self._paths)

    async def _serve(self, opened: OpenKeyring | None, ready: Callable[[str], None]) -> None:
        loop = asyncio.get_running_loop()
        if sys.platform != "win32":
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.add_signal_handler(number, self._stop.set)
        self._offer()
        local = HttpServer(self._open_app)
        try:
            if opened is not None:
                await self._open(opened)
            else:
                self._rendered.lock()
            await local.start([self._local_listener()])
            ready(self._ready_line())
            _log.info("ready")
            while not await self._stopped_within(_RUN_DIR_CHECK_S):
                await self._mend_run_dir(local)
            _log.info("stopping")
        finally:
            await self._close()
            await local.stop()
            with contextlib.suppress(StorageError):
                self._rendered.withdraw()
            with contextlib.suppress(OSError):
                Path(self._paths.socket).unlink()

    async def _stopped_within(self, seconds: float) -> bool:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                return await self._stop.wait()
        return False

    async def _mend_run_dir(self, local: HttpServer) -> None:
        """Put socket and rendered variables back: a logout may empty the runtime directory."""
        if sys.platform == "win32" or Path(self._paths.socket).exists():
            return
        _log.warning("the runtime directory was emptied; it is made anew")
        try:
            prepare_directories(self._paths, self._environ)
            await local.start([self._local_listener()])
            if self._node is not None and self._node.renderer is not None:
                await self._node.renderer.render()
        except CoveyError as error:
            _log.error("the local socket cannot be made: %s", error.message)

    def _first_keys(self, keyring: Keyring, password: Secret | None) -> OpenKeyring | None:
        """Open the keys if that is possible without asking."""
        if password is not None:
            return open_with_password(keyring, password)
        if keyring.key_file is None:
            return None
        try:
            return open_with_key(keyring, read_key_file(keyring.key_file))
        except CoveyError as error:
            if not keyring.has_password:
                raise
            self._notes.append(error.message)
            return None

    def _local_listener(self) -> Listener:
        if hasattr(socket, "AF_UNIX") and sys.platform != "win32":
            return Listener(bind_unix(Path(self._paths.socket)), local=True)
        self._local_token = secrets.token_urlsafe(32)
        replace_private_file(Path(self._paths.local_token), self._local_token.encode())
        return Listener(bind_tcp("127.0.0.1", LOCAL_TCP_PORT)[0])

    def _app(self) -> ASGIApp:
        settings = self._loaded.settings
        port = PeerPort(
            lambda: self._opened().fleet,
            lambda: self._opened().links,
            lambda: self._opened().mesh.links,
            lambda: self._opened().gate,
        )
        return build_app(
            self._registry,
            self._frame.services,
            self._audit,
            Callers(self._frame.services, lambda: self._local_token, settings.access),
            settings=HttpSettings(
                rate_limit_per_minute=settings.api.rate_limit_per_minute,
                max_body_bytes=settings.api.max_body_bytes,
                max_push_bytes=settings.apps.max_upload,
                allowed_hosts=tuple(
                    parse_address(item, default_port=DEFAULT_PORT).host
                    for item in settings.server.advertise
                ),
            ),
            health=lambda: self._state().value,
            dispatcher=OpenDispatcher(lambda: self._opened().mesh.dispatcher),
            gauges=self._gauges,
            extra_routes=peer_routes(
                port, lambda scope: connection_of(dict(scope)).certificate, wire_of
            ),
            webhooks=lambda: self._opened().webhooks,
        )

    def _offer(self) -> None:
        services = self._frame.services
        services.provide(
            NodeActions,
            NodeActions(
                status=lambda: describe_node(
                    self._frame, self._keyring(), self._node, self._birth, self._notes
                ),
                checks=self._checks,
                lock=self.lock,
                unlock=self.unlock,
                shutdown=self._stop.set,
                log_lines=lambda lines, follow: tail(
                    Path(self._paths.log_file), lines, follow=follow
                ),
                config=self._config,
                config_file=self._config_file,
                peers=lambda: describe_peers(self._opened()),
                sync=self._sync,
                allow_writes=self._allow_writes,
            ),
        )
        services.provide(Trail, Trail(self._audit))

    async def unlock(self, password: Secret) -> None:
        """Open the node's keys; raises `UnauthenticatedError` for a wrong password."""
        async with self._changing:
            if self._node is not None:
                raise ConflictError("The node is unlocked already.")
            opened = await asyncio.to_thread(open_with_password, self._keyring(), password)
            await self._open(opened)

    async def lock(self) -> None:
        """Forget the keys; a caller on the port that closes still gets its answer."""
        closing = asyncio.ensure_future(self._lock())
        await asyncio.wait({closing}, timeout=_LOCK_WAIT_S)
        if closing.done():
            closing.result()

    async def _lock(self) -> None:
        async with self._changing:
            self._opened()
            await self._close(locked=True)

    async def _open(self, opened: OpenKeyring) -> None:
        database = await asyncio.to_thread(
            OpenedDatabase,
            self._paths,
            opened.secrets.database_key,
            keep_backups=self._loaded.settings.store.backups,
        )
        if database.recovered is not None:
            self._notes.append(database.recovered.message)
        self._audit.attach(database.database)
        node = OpenNode(self._frame, opened, database)
        try:
            await node.start(self._open_app)
        except BaseException:
            await self._audit.detach()
            raise
        self._node = node

    async def _close(self, *, locked: bool = False) -> None:
        node, self._node = self._node, None
        if node is not None:
            await node.end_serving(locked=locked)
            await self._audit.detach()
            await node.close()

    def _opened(self) -> OpenNode:
        if self._node is None:
            raise locked()
        return self._node

    def _state(self) -> NodeState:
        if self._node is None:
            return NodeState.LOCKED
        return NodeState.READY if self._node.is_member else NodeState.REMOVED

    def _keyring(self) -> Keyring:
        return read_keyring(Path(self._paths.keyring))

    def _ready_line(self) -> str:
        if self._node is None:
            return "ready, but locked: open the node's keys with `covey unlock`"
        where = ", ".join(self._node.listening)
        return (
            f"ready: {self._node.keys.secrets.name} serves https://{where} and {self._paths.socket}"
        )

    async def _checks(self) -> list[Check]:
        from covey.wiring.doctor import run_checks

        return await run_checks(self._frame, self._node, self._notes)

    def _gauges(self) -> tuple[Gauge, ...]:
        node = self._node
        if node is None:
            return ()
        return (
            Gauge("covey_peers_connected", "Open sessions.", len(node.links.open_links)),
            Gauge(
                "covey_log_entries",
                "Entries held of all logs.",
                sum(head.seq for head in node.store.replica.heads().values()),
            ),
            Gauge("covey_database_bytes", "Size of the database.", node.database.size()),
            *_gauges_of_jobs(node),
        )

    def _config(self) -> list[ConfigKey]:
        return [
            ConfigKey(
                key=item.key,
                value=_shown(item.value),
                source=item.source,
                default=_shown(item.default),
                help=item.help,
            )
            for item in describe(self._loaded)
        ]

    def _config_file(self) -> ConfigFile:
        path = self._paths.settings_file
        try:
            load(path, self._environ)
        except CoveyError as error:
            return ConfigFile(path, Path(path).exists(), str(error))
        return ConfigFile(path, Path(path).exists())

    async def _sync(self, timeout_s: float) -> SyncReport:
        node = self._opened()
        node.links.dial_now()

        def level() -> set[str]:
            return {peer for peer, exchange in node.exchanges.items() if is_level(exchange.stats())}

        others = {m.node_id for m in node.roster.roster.present} - {node.keys.node_id}
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while not others <= level():  # noqa: ASYNC110 - sessions tell nobody when level
                    await asyncio.sleep(_POLL_S)
        connected = {link.peer for link in node.links.open_links}
        name = node.fleet.core.name_of
        return SyncReport(
            level_with=sorted(name(peer) for peer in others & level()),
            not_level=sorted(name(peer) for peer in (others & connected) - level()),
            unreachable=sorted(name(peer) for peer in others - connected),
        )

    async def _allow_writes(self) -> None:
        await self._opened().store.lift_fence()


def _gauges_of_jobs(node: OpenNode) -> list[Gauge]:
    hosting = None if node.hosting is None else node.hosting.begun
    if hosting is None:
        return []
    waiting = [("covey_jobs", "Jobs that have not ended.", hosting.jobs.counts())]
    ended = [("covey_job_ends", "Ends of attempts since the start.", hosting.jobs.ends())]
    return [
        Gauge(name, text, count, {"state": state.value})
        for name, text, counts in waiting + ended
        for state, count in counts.items()
    ]


def _shown(value: object) -> str:
    match value:
        case list() | tuple():
            return ", ".join(str(item) for item in value)
        case bool():
            return "true" if value else "false"
        case _:
            return str(value)
