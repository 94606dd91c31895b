"""The certificates that are proved by DNS: got when they are wanted, renewed before they end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote, unquote

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

from covey.apps.routing.ports import LoadedCertificate
from covey.engines.acme.account import AcmeAccount
from covey.errors import CoveyError, StorageError
from covey.fleet.private_file import replace_private_file
from covey.fleet.waiting import wait_a_while

_DAY_S = 86_400.0
_FIRST_RETRY_S = 60.0
_LONGEST_RETRY_S = 6 * 3600.0
_SOONEST_S = 1.0
_SUFFIX = ".pem"
_log = logging.getLogger("covey.proxy")


@dataclass(frozen=True, slots=True)
class _Held:
    loaded: LoadedCertificate
    begins: datetime
    ends: datetime

    def due(self, share: float) -> float:
        """Return when this share of its life is over, in seconds since the epoch."""
        return (self.begins + (self.ends - self.begins) * share).timestamp()


@dataclass(slots=True)
class _Delay:
    """After a failure: when to try again, and how long to wait after the next one."""

    until: float
    seconds: float


class DnsCertificates:
    """Implements `IssuedCertificates`. Chain and key of each host are a private file.

    `renew_after` is the share of a certificate's life after which the next one is got.
    """

    def __init__(
        self, account: AcmeAccount, directory: Path, *, renew_after: float = 2 / 3
    ) -> None:
        self._renew_after = renew_after
        self._account = account
        self._directory = directory
        self._wanted: frozenset[str] = frozenset()
        self._held: dict[str, _Held] = {}
        self._delays: dict[str, _Delay] = {}
        self._wake = asyncio.Event()
        self._changed: Callable[[], None] = lambda: None
        self._task: asyncio.Task[None] | None = None

    async def start(self, changed: Callable[[], None]) -> None:
        """Load what is there, and keep it fresh; tell of each new certificate."""
        self._changed = changed
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(
                f"{self._directory} cannot be made: {error.strerror}.",
                hint="Check the permissions of the directory above it.",
            ) from error
        for path in self._directory.glob(f"*{_SUFFIX}"):
            host = unquote(path.name.removesuffix(_SUFFIX))
            try:
                self._held[host] = _read(path.read_text(encoding="ascii"))
            except (OSError, ValueError):
                _log.warning("the certificate for %s is damaged and is asked for again", host)
        self._task = asyncio.create_task(self._keep_fresh(), name="certificates by DNS")

    def want(self, hosts: Collection[str]) -> None:
        """Get and renew certificates of these hosts, and no others."""
        if frozenset(hosts) != self._wanted:
            self._wanted = frozenset(hosts)
            self._wake.set()

    def held(self, hosts: Collection[str]) -> tuple[LoadedCertificate, ...]:
        """Return the valid certificates of these hosts that there are."""
        now = datetime.now(UTC)
        return tuple(
            item.loaded
            for host, item in sorted(self._held.items())
            if host in hosts and item.ends > now
        )

    async def stop(self) -> None:
        """End the work; an order under way is given up."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    async def _keep_fresh(self) -> None:
        while True:
            self._wake.clear()
            self._remove_ended()
            for host in sorted(self._wanted):
                if self._when(host) <= time.time():
                    await self._renew(host)
            due = min((self._when(host) for host in self._wanted), default=time.time() + _DAY_S)
            await wait_a_while(self._wake, min(max(due - time.time(), _SOONEST_S), _DAY_S))

    def _remove_ended(self) -> None:
        """Remove certificates that are over, of hosts that want none any more."""
        now = datetime.now(UTC)
        for host, item in list(self._held.items()):
            if host not in self._wanted and item.ends < now:
                del self._held[host]
                with contextlib.suppress(OSError):
                    self._place(host).unlink()

    def _place(self, host: str) -> Path:
        return self._directory / (quote(host, safe="") + _SUFFIX)

    def _when(self, host: str) -> float:
        delay = self._delays.get(host)
        if delay is not None:
            return delay.until
        held = self._held.get(host)
        return 0.0 if held is None else held.due(self._renew_after)

    async def _renew(self, host: str) -> None:
        try:
            loaded = await self._in_thread(host)
            held = _read(loaded.key + loaded.chain)
            replace_private_file(self._place(host), (loaded.key + loaded.chain).encode())
        except Exception as error:  # noqa: BLE001 - whatever it is, the others are renewed
            before = self._delays.get(host)
            seconds = _FIRST_RETRY_S if before is None else before.seconds
            self._delays[host] = _Delay(time.time() + seconds, min(seconds * 2, _LONGEST_RETRY_S))
            told = error if isinstance(error, CoveyError) else repr(error)
            _log.error("no certificate for %s, trying again in %d s: %s", host, seconds, told)
            return
        self._held[host] = held
        self._delays.pop(host, None)
        _log.info("the certificate for %s is new, and valid until %s", host, held.ends)
        if host in self._wanted:
            self._changed()

    async def _in_thread(self, host: str) -> LoadedCertificate:
        """Order in a thread that the daemon's end does not wait for."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[LoadedCertificate] = loop.create_future()

        def settle(result: LoadedCertificate | Exception) -> None:
            if done.done():
                return
            if isinstance(result, Exception):
                done.set_exception(result)
            else:
                done.set_result(result)

        def work() -> None:
            from covey.engines.acme.order import order_certificate  # noqa: PLC0415 - 140 ms

            result: LoadedCertificate | Exception
            try:
                result = order_certificate(self._account, host)
            except Exception as error:  # noqa: BLE001 - it is raised where it is waited for
                result = error
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(settle, result)

        threading.Thread(target=work, name=f"certificate for {host}", daemon=True).start()
        return await done


def _read(text: str) -> _Held:
    """Read a key with its chain; raises `ValueError` for damage."""
    at = text.index("-----BEGIN CERTIFICATE")
    found = x509.load_pem_x509_certificates(text[at:].encode())
    load_pem_private_key(text[:at].encode(), password=None)
    chain = "".join(item.public_bytes(Encoding.PEM).decode() for item in found)
    leaf = found[0]
    return _Held(
        LoadedCertificate(chain, text[:at]), leaf.not_valid_before_utc, leaf.not_valid_after_utc
    )
