"""The routes of this node: checked, served by the proxy, and kept."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import Collection, Coroutine, Mapping, Sequence
from pathlib import Path

from covey.apps.routing.certificates import read_certificate
from covey.apps.routing.model import Route
from covey.apps.routing.named import PREFIX
from covey.apps.routing.names import check_address, check_pool, covers, normal_host
from covey.apps.routing.persisted import KeptCertificate, KeptPool, RouteRecords
from covey.apps.routing.ports import (
    CertificateSource,
    IssuedCertificates,
    LoadedCertificate,
    PasswordHasher,
    ProxyEngine,
    ProxyPlan,
    ServedCertificate,
)
from covey.apps.routing.table import RouteTable, hosts_of, pool_names
from covey.apps.routing.tls import TlsAbilities
from covey.errors import (
    CoveyError,
    InvalidRequestError,
    NotFoundError,
    RefusedError,
    UnreachableError,
)
from covey.operations.secret import Secret
from covey.store.ports import LocalState

_POLL_S = 0.1
_RETRY_S = 15.0
_PROXY = "the proxy"
_HTTP_PORT = 80
_HTTPS_PORT = 443
_log = logging.getLogger("covey.proxy")

_KnownSources = tuple[RouteTable, Mapping[str, KeptCertificate], Mapping[str, CertificateSource]]


class RoutesService:
    """Implements `Routes`."""

    def __init__(
        self,
        local: LocalState,
        engine: ProxyEngine,
        hasher: PasswordHasher,
        abilities: TlsAbilities,
        issued: IssuedCertificates | None = None,
        private: Sequence[Path] = (),
    ) -> None:
        self._records = RouteRecords(local)
        self._engine = engine
        self._hasher = hasher
        self._abilities = abilities
        self._issued = issued
        self._private = tuple(private)
        self._table = RouteTable()
        self._pools: dict[str, KeptPool] = {}
        self._certificates: dict[str, KeptCertificate] = {}
        self._known_sources: _KnownSources | None = None
        self._changing = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()
        self.problems: dict[str, str] = {}
        """What is kept and cannot be served, by owner, pool or host."""

    async def start(self) -> None:
        """Serve what is kept. What is damaged, or refused by the proxy, is left out and told."""
        kept = self._records.read()
        self._table, self._pools = kept.table, kept.pools
        self._certificates, self.problems = kept.certificates, kept.problems
        if not kept.problems:
            await self._forget_lost_pools()
        if self._issued is not None:
            await self._issued.start(self._certificate_came)
        async with self._changing:
            if not await self._start_engine():
                self._later(self._keep_trying())
        self._want_certificates()

    async def stop(self) -> None:
        """Let go of the proxy, which goes on serving as the containers behind it do."""
        for task in self._tasks:
            task.cancel()
        if self._issued is not None:
            await self._issued.stop()
        await self._engine.leave()

    async def end_proxy(self) -> None:
        """End the proxy; its routes are kept, and served again from the next start on."""
        async with self._changing:
            await self._engine.end()

    async def put(self, owner: str, routes: Sequence[Route]) -> None:
        """Make these all the routes of `owner`, in the proxy and on disk."""
        async with self._changing:
            table = self._table.with_routes(owner, routes)
            if table.of(owner) == self._table.of(owner) and owner not in self.problems:
                return
            await self._become(table)
            try:
                await self._records.write_routes(owner, table.of(owner))
            except BaseException:
                await asyncio.shield(self._go_back())
                raise
            self._table = table
            self.problems.pop(owner, None)
            self._want_certificates()

    async def put_with_pools(
        self, owner: str, routes: Sequence[Route], pools: Mapping[str, Sequence[str]]
    ) -> None:
        """Put routes together with the addresses of their pools: both, or neither."""
        self.check(owner, routes)
        before = {name: self._pools.get(name) for name in pools}
        unused = set(pool_names(self._table.of(owner)))
        try:
            for name, addresses in pools.items():
                await self.switch(name, addresses)
            await self.put(owner, routes)
        except BaseException:
            await asyncio.shield(self._put_pools_back(before))
            raise
        await self._forget(unused)

    async def remove(self, owner: str, pools: Collection[str] = ()) -> None:
        """Remove the routes of `owner`, and forget the pools they used; and `pools`."""
        unused = {*pool_names(self._table.of(owner)), *pools}
        await self.put(owner, ())
        await self._forget(unused)

    def check_directory(self, directory: str) -> None:
        """Refuse to serve what Covey keeps for itself; raises `RefusedError`."""
        asked = Path(os.path.realpath(directory))
        for place in self._private:
            own = Path(os.path.realpath(place))
            if asked.is_relative_to(own) or own.is_relative_to(asked):
                raise RefusedError(
                    f"{directory} is not served, as it holds files of Covey's own ({own}).",
                    hint="Serve a directory that holds nothing else.",
                )

    async def _forget_lost_pools(self) -> None:
        """Forget what a daemon wrote that was killed before it wrote the route."""
        lost = {name for name in self._pools if name.startswith(PREFIX)} - self._table.pools()
        for name in lost:
            del self._pools[name]
            await self._records.write_pool(name, None)

    async def _put_pools_back(self, before: Mapping[str, KeptPool | None]) -> None:
        for name, pool in before.items():
            with contextlib.suppress(CoveyError):
                if pool is not None:
                    await self.switch(name, pool.addresses)
        await self._forget({name for name, pool in before.items() if pool is None})

    async def _forget(self, pools: Collection[str]) -> None:
        """Forget those of the pools that no route uses."""
        async with self._changing:
            for name in set(pools) - self._table.pools():
                self._pools.pop(name, None)
                await self._records.write_pool(name, None)
            self._engine.forget_pools({*self._pools, *self._table.pools()})

    def check(self, owner: str, routes: Sequence[Route]) -> None:
        """Raise what `put` would raise for a conflict, changing nothing."""
        self._plan(self._table.with_routes(owner, routes))

    def of(self, owner: str) -> tuple[Route, ...]:
        """Return the routes of an owner."""
        return self._table.of(owner)

    def all(self) -> dict[str, tuple[Route, ...]]:
        """Return all routes by owner."""
        return dict(self._table.owners)

    async def switch(self, pool: str, addresses: Sequence[str]) -> None:
        """Send new requests of a pool to these addresses, durably.

        The proxy's configuration is changed only if more or fewer addresses are served than before.
        """
        check_pool(pool)
        for address in addresses:
            check_address(address)
        async with self._changing:
            before = self._pools.get(pool)
            slots = len(addresses) or (1 if before is None else before.slots)
            after = KeptPool(tuple(addresses), slots)
            if after == before:
                self._engine.write_pool(pool, after.addresses, after.slots)
                return
            try:
                await self._exchange(pool, before, after)
                await self._records.write_pool(pool, after)
            except BaseException:
                await asyncio.shield(self._exchange_back(pool, before, after))
                raise

    def addresses(self, pool: str) -> tuple[str, ...]:
        """Return where a pool's requests go."""
        found = self._pools.get(pool)
        return () if found is None else found.addresses

    async def drain(self, addresses: Sequence[str], timeout_s: float) -> bool:
        """Wait until no request or WebSocket uses the addresses; False after the timeout."""
        until = time.monotonic() + timeout_s
        while await self._in_use(addresses):
            if time.monotonic() >= until:
                return False
            await asyncio.sleep(min(_POLL_S, max(until - time.monotonic(), 0)))
        return True

    async def _in_use(self, addresses: Sequence[str]) -> bool:
        try:
            return bool(await self._engine.in_use(addresses))
        except UnreachableError:
            return True

    def url(self, host: str) -> str:
        """Return the URL under which users reach a host of this proxy, with its port."""
        source = self.source(host)
        tls = (
            self._abilities.serves_https if source is None else source is not CertificateSource.NONE
        )
        port = self._engine.port(tls=tls)
        shown = f"[{host}]" if ":" in host else host
        scheme = "https" if tls else "http"
        usual = _HTTPS_PORT if tls else _HTTP_PORT
        return f"{scheme}://{shown}" + ("" if port in {None, usual} else f":{port}")

    def source(self, host: str) -> CertificateSource | None:
        """Return where the certificate of a routed host comes from."""
        return self._sources(self._table).get(host)

    async def served(self, host: str) -> ServedCertificate | None:
        """Return the certificate that clients of a host are shown at present."""
        return await self._engine.served(host)

    async def authority(self) -> str:
        """Return the root certificate (PEM) that signs the certificates of private names."""
        return await self._engine.authority()

    async def hash_password(self, password: Secret) -> str:
        """Return what a route keeps of a password."""
        return await self._hasher.hash_password(password)

    def certificates(self) -> Mapping[str, KeptCertificate]:
        """Return the uploaded certificates by host."""
        return dict(self._certificates)

    async def put_certificate(self, host: str, chain: str, key: Secret) -> KeptCertificate:
        """Use a certificate for a host from now on; raises `InvalidRequestError`."""
        name = normal_host(host)
        found = read_certificate(name, chain, key)
        async with self._changing:
            await self._change_certificates({**self._certificates, name: found}, name)
        return found

    async def remove_certificate(self, host: str) -> None:
        """Forget the certificate of a host; raises `ConflictError` if a route needs it."""
        name = normal_host(host)
        async with self._changing:
            if name not in self._certificates:
                raise NotFoundError(
                    f"There is no certificate for {name}.",
                    hint="See what there is: covey routes certificates",
                )
            rest = {key: item for key, item in self._certificates.items() if key != name}
            await self._change_certificates(rest, name)

    async def _change_certificates(
        self, certificates: dict[str, KeptCertificate], name: str
    ) -> None:
        before = self._certificates
        self._certificates = certificates
        try:
            await self._become(self._table)
            await self._records.write_certificate(name, certificates.get(name))
        except BaseException:
            self._certificates = before
            await asyncio.shield(self._go_back())
            raise
        self.problems.pop(name, None)

    async def _exchange(self, pool: str, before: KeptPool | None, after: KeptPool) -> None:
        """Write the files, first so that every slot of either plan has an address to go to."""
        live = 1 if before is None else before.slots
        self._engine.write_pool(pool, after.addresses, max(live, after.slots))
        self._pools[pool] = after
        if live != after.slots and pool in self._table.pools():
            await self._become(self._table)
            self._engine.write_pool(pool, after.addresses, after.slots)

    async def _exchange_back(self, pool: str, before: KeptPool | None, after: KeptPool) -> None:
        if before is None:
            self._pools.pop(pool, None)
            self._engine.write_pool(pool, (), after.slots)
        else:
            self._pools[pool] = before
            self._engine.write_pool(pool, before.addresses, max(before.slots, after.slots))
        if await self._go_back() and before is not None:
            self._engine.write_pool(pool, before.addresses, before.slots)

    async def _become(self, table: RouteTable) -> None:
        await self._engine.apply(self._plan(table))

    async def _go_back(self) -> bool:
        """Serve what is kept; False if that is not possible now."""
        try:
            await self._engine.apply(self._plan(self._table))
        except CoveyError:
            return False
        return True

    def _plan(self, table: RouteTable) -> ProxyPlan:
        slots = {name: pool.slots for name, pool in self._pools.items()}
        own = [LoadedCertificate(item.chain, item.key) for item in self._certificates.values()]
        sources = self._sources(table)
        issued = () if self._issued is None else self._issued.held(_by_dns(sources))
        return table.plan(slots, sources, [*own, *issued])

    def _sources(self, table: RouteTable) -> Mapping[str, CertificateSource]:
        """Work out where certificates come from; for what is served, once until it changes."""
        known = self._known_sources
        if known is not None and known[0] is table and known[1] is self._certificates:
            return known[2]
        found = table.sources(self._abilities, self._uploaded(table))
        if table is self._table:
            self._known_sources = (table, self._certificates, found)
        return found

    def _uploaded(self, table: RouteTable) -> set[str]:
        names = [name for item in self._certificates.values() for name in item.hosts]
        hosts = hosts_of(route for routes in table.owners.values() for route in routes)
        return {host for host in hosts if any(covers(name, host) for name in names)}

    async def _start_engine(self) -> bool:
        """Start the proxy, without the owners whose routes it refuses; False if it cannot run."""
        addresses = {name: pool.addresses for name, pool in self._pools.items()}
        whole, working = self._table, RouteTable()
        try:
            await self._engine.start(self._plan(whole), addresses)
            return True
        except InvalidRequestError as error:
            _log.error("the proxy does not take all routes: %s", error)
        except CoveyError as error:
            return self._cannot_run(error)
        for owner, routes in whole.owners.items():
            try:
                candidate = working.with_routes(owner, routes)
                await self._engine.start(self._plan(candidate), addresses)
            except InvalidRequestError as error:
                self.problems[owner] = f"The routes of {owner} are not served: {error.message}"
                _log.error("the routes of %s are not served: %s", owner, error)
            except CoveyError as error:
                return self._cannot_run(error)
            else:
                working = candidate
        self._table = working
        return True

    def _cannot_run(self, error: CoveyError) -> bool:
        if self.problems.get(_PROXY) != str(error):
            self.problems[_PROXY] = str(error)
            _log.error("the proxy cannot run: %s", error)
        return False

    async def _keep_trying(self) -> None:
        started = False
        while not started:
            await asyncio.sleep(_RETRY_S)
            async with self._changing:
                started = await self._start_engine()
        self.problems.pop(_PROXY, None)

    def _later(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _want_certificates(self) -> None:
        if self._issued is None:
            return
        self._issued.want(_by_dns(self._sources(self._table)))

    def _certificate_came(self) -> None:
        self._later(self._use_new_certificates())

    async def _use_new_certificates(self) -> None:
        async with self._changing:
            try:
                await self._become(self._table)
            except CoveyError as error:
                _log.error("a new certificate is not served: %s", error)


def _by_dns(sources: Mapping[str, CertificateSource]) -> list[str]:
    return [host for host, source in sources.items() if source is CertificateSource.DNS]
