"""Caddy as the proxy: started by the first route, adopted after a restart, revived if it dies."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import secrets
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from covey.apps.routing.ports import ProxyPlan, ServedCertificate
from covey.engines.caddy import process
from covey.engines.caddy.admin import AdminClient, AdminError
from covey.engines.caddy.config import (
    AUTHORITY,
    CaddyOptions,
    Listening,
    access_log,
    bootstrap,
    render,
    turn_of,
)
from covey.engines.caddy.probe import served_certificate
from covey.engines.caddy.process import CaddyPaths, ProcessRecord
from covey.engines.caddy.sockets import Port, join_port, open_port
from covey.engines.caddy.upstreams import UpstreamFiles
from covey.errors import CoveyError, NotFoundError, StorageError, UnreachableError

_START_S = 20.0
_POLL_S = 0.005
_END_S = 35.0
_ADOPT_S = 10.0
_REPLACE_S = 5.0
_MOST_SILENT = 3
_CHECK_EVERY_S = 5.0
_LONGEST_BACKOFF_S = 30.0
_CALM_S = 60.0
_ROLLED = re.compile(r"-\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d\.\d{3}(?:-[a-z]+)?$")
"""What Caddy puts behind the name of a log's older files."""
_log = logging.getLogger("covey.proxy")


class CaddyProxy:
    """Implements `ProxyEngine`. Changes are made one after another."""

    def __init__(self, options: CaddyOptions, paths: CaddyPaths) -> None:
        self._options = options
        self._paths = paths
        self._admin = AdminClient(options.admin_socket)
        self._files = UpstreamFiles(options.upstreams)
        self._pools: dict[str, tuple[tuple[str, ...], int]] = {}
        self._plan = ProxyPlan()
        self._ports: dict[bool, Port] = {}
        self._record: ProcessRecord | None = None
        self._turn = 0
        self._adopted = False
        self._changing = asyncio.Lock()
        self._watching: asyncio.Task[None] | None = None

    async def start(self, plan: ProxyPlan, pools: Mapping[str, Sequence[str]]) -> None:
        """Serve this plan, by the proxy that runs from before if there is one."""
        async with self._changing, _translated():
            if plan.routes:
                self._prepare()
            for name, addresses in pools.items():
                self.write_pool(name, addresses, max(len(addresses), plan.slots.get(name, 1)))
            self._files.keep_only({*pools, *plan.slots})
            if self._record is None:
                await self._adopt()
            await self._become(plan)

    async def apply(self, plan: ProxyPlan) -> None:
        """Serve this plan from now on; the earlier one goes on if this raises."""
        async with self._changing, _translated():
            if plan != self._plan or (plan.routes and self._record is None):
                await self._become(plan)

    def write_pool(self, pool: str, addresses: Sequence[str], slots: int) -> None:
        """Send new requests of a pool to these addresses."""
        self._files.write(pool, addresses, slots)
        self._pools[pool] = (tuple(addresses), slots)

    def forget_pools(self, keep: Collection[str]) -> None:
        """Remove the files of all pools but these."""
        self._files.keep_only(keep)
        self._pools = {name: pool for name, pool in self._pools.items() if name in keep}

    async def in_use(self, addresses: Collection[str]) -> frozenset[str]:
        """Return those of the addresses that serve a request or WebSocket now."""
        if self._record is None:
            return frozenset()
        busy = {item.address for item in await self._admin.upstreams() if item.num_requests > 0}
        return frozenset(busy.intersection(addresses))

    def port(self, *, tls: bool) -> int | None:
        """Return the port that is served, or that would be."""
        if tls in self._ports:
            return self._ports[tls].number
        asked = self._options.https if tls else self._options.http
        number = int(asked.rpartition(":")[2]) if asked else 0
        return number or None

    async def authority(self) -> str:
        """Return the root certificate (PEM) of the authority for private names."""
        if self._record is not None:
            return await self._admin.authority(AUTHORITY)
        root = self._options.storage / "pki" / "authorities" / AUTHORITY / "root.crt"
        try:
            return root.read_text(encoding="ascii")
        except OSError as error:
            raise NotFoundError(
                "The authority for private names does not exist yet.",
                hint="It is made with the first route that needs it.",
            ) from error

    async def served(self, host: str) -> ServedCertificate | None:
        """Return the certificate that clients of a host are shown."""
        port = self._ports.get(True)
        return None if port is None else await served_certificate(port.address, host)

    async def leave(self) -> None:
        """Let go of the proxy, which goes on serving."""
        async with self._changing:
            await self._stop_watching()
            self._close_ports()
            self._record = None

    async def end(self) -> None:
        """End the proxy: requests under way get a moment to finish."""
        async with self._changing:
            await self._end()
            self._plan = ProxyPlan()

    async def _become(self, plan: ProxyPlan) -> None:
        if not plan.routes:
            await self._end()
        elif self._record is None:
            await self._launch(plan)
        else:
            await self._exchange(plan)
        self._plan = plan
        self._remove_old_logs(plan)

    async def _exchange(self, plan: ProxyPlan) -> None:
        """Load a plan beside the running one, and give it all new connections once it serves."""
        turn = 1 - self._turn
        listening = self._listening(turn)
        ready = listening.ready
        loading = asyncio.create_task(
            self._admin.load(render(plan, self._options, listening)), name="load the proxy's plan"
        )
        try:
            while not loading.done() and not _accepts(ready):  # noqa: ASYNC110 - no event tells
                await asyncio.sleep(_POLL_S)
            if not loading.done():
                self._steer(turn)
            await asyncio.shield(loading)
        except asyncio.CancelledError:
            with contextlib.suppress(CoveyError):
                await loading
                self._turn = turn
            raise
        else:
            self._turn = turn
        finally:
            self._steer(self._turn)

    async def _launch(self, plan: ProxyPlan) -> None:
        self._prepare()
        try:
            self._open_ports()
            await self._spawn()
            await self._admin.load(render(plan, self._options, self._listening(self._turn)))
        except BaseException:
            await self._end()
            raise
        self._watch()
        _log.info("the proxy serves (pid %d)", self._record.pid if self._record else 0)

    async def _spawn(self) -> None:
        program = process.find_program()
        descriptors = {
            number: own
            for port in self._ports.values()
            for number, own in port.descriptors().items()
        }
        for left in (self._options.admin_socket, *self._paths.run_dir.glob("ready-*")):
            left.unlink(missing_ok=True)
        pid = process.spawn(program, self._paths, bootstrap(self._options), descriptors)
        http, https = self._ports.get(False), self._ports.get(True)
        self._record = ProcessRecord(
            pid,
            process.started_at(pid) or "",
            process.identity(program),
            self._options.http,
            self._options.https,
            None if http is None else http.address,
            None if https is None else https.address,
            https is not None and https.datagrams is not None,
        )
        self._adopted = False
        process.write_record(self._paths, self._record)
        await self._answers(pid)

    async def _answers(self, pid: int) -> None:
        """Wait until its admin socket answers."""
        ended = asyncio.create_task(process.wait_for_end(pid))
        try:
            async with asyncio.timeout(_START_S):
                while not ended.done():
                    with contextlib.suppress(AdminError):
                        await self._admin.config()
                        return
                    await asyncio.wait([ended], timeout=_POLL_S)
        except TimeoutError:
            pass
        finally:
            ended.cancel()
        raise UnreachableError(
            f"The proxy (Caddy) does not start: {process.last_words(self._paths) or 'no answer'}",
            hint=f"See {self._paths.output} and {self._options.log_dir / 'caddy.log'}",
        )

    async def _adopt(self) -> None:
        """Take over the proxy of an earlier daemon if it is as it should be; else end it."""
        record = process.read_record(self._paths)
        if record is None:
            for stray in process.find_all(self._paths.home):
                _log.warning("a proxy that no record tells of (pid %d) is ended", stray.pid)
                await process.end(stray, _REPLACE_S)
            return
        try:
            turn = turn_of(await self._admin.config(timeout_s=_ADOPT_S))
            if turn is None or not self._fits(record):
                raise AdminError("It is another one.", hint="")
            for tls, address in ((False, record.http_address), (True, record.https_address)):
                if address is not None:
                    self._ports[tls] = join_port(address, tls=tls)
        except (CoveyError, OSError):
            _log.info("the proxy of before (pid %d) is replaced", record.pid)
            self._close_ports()
            await process.end(record, _REPLACE_S)
            return
        self._record, self._turn, self._adopted = record, turn, True
        _log.info("the proxy of before (pid %d) goes on serving", record.pid)
        self._watch()

    def _fits(self, record: ProcessRecord) -> bool:
        asked = (self._options.http, self._options.https)
        return (
            record.program == process.identity(process.find_program())
            and (record.http, record.https) == asked
            and record.datagrams == (self._options.http3 and bool(self._options.https))
        )

    async def _end(self) -> None:
        await self._stop_watching()
        record, self._record = self._record, None
        if record is not None:
            await process.end(record, _END_S)
            self._paths.record.unlink(missing_ok=True)
            _log.info("the proxy has ended")
        self._close_ports()

    def _watch(self) -> None:
        self._watching = asyncio.create_task(self._keep_alive(), name="the proxy's supervisor")

    async def _stop_watching(self) -> None:
        if self._watching is not None and self._watching is not asyncio.current_task():
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)
            self._watching = None

    async def _keep_alive(self) -> None:
        """Start the proxy again when it dies, later each time it dies soon."""
        backoff = 0.0
        loop = asyncio.get_running_loop()
        while (record := self._record) is not None:
            since = loop.time()
            try:
                await self._until_it_ends(record)
            except (CoveyError, OSError) as error:
                _log.error("the proxy cannot be looked after now: %s", error)
                await asyncio.sleep(_CHECK_EVERY_S)
                continue
            if self._record is record:
                said = process.last_words(self._paths) or "it said nothing"
                _log.error("the proxy (pid %d) died: %s", record.pid, said)
            lived = loop.time() - since
            await asyncio.sleep(backoff)
            backoff = 0.0 if lived > _CALM_S else min(max(0.5, backoff * 2), _LONGEST_BACKOFF_S)
            async with self._changing:
                if self._record is record:
                    await self._bring_back()

    async def _bring_back(self) -> None:
        try:
            if self._adopted:
                self._close_ports()
                self._open_ports()
            self._write_all()
            await self._spawn()
            await self._admin.load(render(self._plan, self._options, self._listening(self._turn)))
            _log.info("the proxy serves again")
        except (CoveyError, OSError) as error:
            _log.error("the proxy cannot be started: %s", error)
            # One without its routes would be taken for one that serves.
            if self._record is not None:
                await process.end(self._record, _REPLACE_S)

    async def _until_it_ends(self, record: ProcessRecord) -> None:
        """Wait for its end; meanwhile put back what a logout took away, and replace one that hangs.

        A record that is older than another process with its pid is that of one that has ended.
        """
        if process.started_at(record.pid) != record.started:
            return
        ended = asyncio.create_task(process.wait_for_end(record.pid))
        silent = 0
        try:
            while not (await asyncio.wait([ended], timeout=_CHECK_EVERY_S))[0]:
                if self._files.is_missing():
                    self._write_all()
                if not self._options.admin_socket.exists():
                    _log.warning("the proxy's admin socket was removed; the proxy is replaced")
                    await process.end(record, _END_S)
                    continue
                silent = 0 if await self._is_alive() else silent + 1
                if silent == _MOST_SILENT:
                    _log.error("the proxy (pid %d) does not answer and is replaced", record.pid)
                    await process.end(record, _REPLACE_S)
        finally:
            ended.cancel()

    async def _is_alive(self) -> bool:
        """Whether its admin socket answers, which it may put off while a plan is loaded."""
        try:
            await self._admin.upstreams(timeout_s=_CHECK_EVERY_S)
        except CoveyError:
            return self._changing.locked()
        return True

    def _write_all(self) -> None:
        self._prepare()
        for name, (addresses, slots) in self._pools.items():
            self._files.write(name, addresses, slots)

    def _prepare(self) -> None:
        try:
            for directory in (
                self._paths.run_dir,
                self._paths.home,
                self._options.storage,
                self._options.log_dir,
                self._options.log_dir / "access",
            ):
                directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(
                f"The proxy's directory {error.filename} cannot be made: {error.strerror}.",
                hint="Check the permissions of the directory above it.",
            ) from error
        self._files.prepare()

    def _open_ports(self) -> None:
        for tls, where in ((False, self._options.http), (True, self._options.https)):
            if where and tls not in self._ports:
                datagrams = tls and self._options.http3
                self._ports[tls] = open_port(where, tls=tls, datagrams=datagrams)
        self._turn = 0 if self._adopted else self._turn
        self._steer(self._turn)

    def _close_ports(self) -> None:
        for port in self._ports.values():
            port.close()
        self._ports = {}

    def _steer(self, turn: int) -> None:
        for port in self._ports.values():
            port.steer(turn)

    def _listening(self, turn: int) -> Listening:
        http, https = self._ports.get(False), self._ports.get(True)
        return Listening(
            turn,
            None if http is None else http.number,
            None if https is None else https.number,
            datagrams=self._record is not None and self._record.datagrams,
            ready=self._paths.run_dir / f"ready-{secrets.token_hex(4)}",
        )

    def _remove_old_logs(self, plan: ProxyPlan) -> None:
        """Remove the access logs of owners that have no route any more."""
        names = {access_log(self._options, item.owner).stem for item in plan.routes}
        with contextlib.suppress(OSError):
            for path in (self._options.log_dir / "access").iterdir():
                if _ROLLED.sub("", path.stem) not in names:
                    path.unlink()


@asynccontextmanager
async def _translated() -> AsyncIterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"The proxy cannot be changed: {error.strerror} ({error.filename}).",
            hint="Check the free space, and the permissions of Covey's directories.",
        ) from error


def _accepts(ready: Path | None) -> bool:
    return ready is not None and ready.exists()
