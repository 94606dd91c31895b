"""Which deliveries came: remembered durably and in bounded number, so that none acts twice."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from enum import StrEnum

import msgspec

from covey.apps.webhooks.forge import Forge
from covey.apps.webhooks.signatures import Headers
from covey.errors import CoveyError
from covey.store.ports import LocalState

_NAMESPACE = "webhooks.deliveries."
_PULLS = "webhooks.pulls"
_KEEP = timedelta(days=30)
_MOST = 10_000
_PRUNE_EVERY = 500
_MAX_ID = 200
_MAX_REASONS = 20
_log = logging.getLogger("covey.webhooks")


class Outcome(StrEnum):
    """What became of a delivery."""

    QUEUED = "queued"
    IGNORED = "ignored"
    PONG = "pong"
    INVALID = "invalid"


class Delivery(msgspec.Struct, frozen=True):
    """One delivery that proved itself. `deployments` are ids, `reasons` say what was not done."""

    id: str
    at: datetime
    event: str
    outcome: Outcome
    repository: str = ""
    deployments: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()


class _Seen(msgspec.Struct, frozen=True):
    at: datetime
    delivery: Delivery | None = None


class Deliveries:
    """The deliveries of this node's integrations; methods raise `StorageError`."""

    def __init__(
        self, local: LocalState, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._local = local
        self._clock = clock
        self._added: dict[str, int] = {}
        self._pruning: set[asyncio.Task[None]] = set()

    def is_known(self, integration: str, keys: tuple[str, ...]) -> bool:
        """Whether a delivery with one of these keys came before."""
        namespace = _NAMESPACE + integration
        return any(self._local.get_local(namespace, key) is not None for key in keys)

    async def record(self, integration: str, keys: tuple[str, ...], delivery: Delivery) -> None:
        """Remember a delivery under its keys."""
        namespace = _NAMESPACE + integration
        cut = msgspec.structs.replace(
            delivery, id=delivery.id[:_MAX_ID], reasons=delivery.reasons[:_MAX_REASONS]
        )
        rows = [
            (key, msgspec.msgpack.encode(_Seen(delivery.at, None if place else cut)))
            for place, key in enumerate(keys)
        ]
        await asyncio.gather(*(self._local.put_local(namespace, *row) for row in rows))
        added = self._added.get(integration, _PRUNE_EVERY) + 1
        self._added[integration] = added
        if added >= _PRUNE_EVERY:
            self._added[integration] = 0
            # It may take longer than the forge should wait.
            task = asyncio.get_running_loop().create_task(self._prune(integration))
            self._pruning.add(task)
            task.add_done_callback(self._pruning.discard)

    async def idle(self) -> None:
        """Wait until nothing is being removed any more."""
        await asyncio.gather(*self._pruning)

    def of(self, integration: str) -> list[Delivery]:
        """Return an integration's deliveries, the newest first."""
        found = [seen.delivery for _, seen in self._scan(integration) if seen.delivery is not None]
        return sorted(found, key=lambda item: (-item.at.timestamp(), item.id))

    async def forget(self, integration: str) -> None:
        """Remove all that is remembered of an integration."""
        self._added.pop(integration, None)
        for key, _ in self._local.scan_local(_NAMESPACE + integration):
            await self._local.put_local(_NAMESPACE + integration, key, None)

    async def is_newest(self, app: str, number: int, at: datetime | None) -> bool:
        """Whether nothing later was told of a pull request before; remembers the latest."""
        if at is None:
            return True
        key = f"{app}/{number}"
        known = self._local.get_local(_PULLS, key)
        if known is not None and datetime.fromisoformat(known.decode()) > at:
            return False
        await self._local.put_local(_PULLS, key, at.isoformat().encode())
        return True

    async def prune_pulls(self) -> None:
        """Forget pull requests of which nothing was heard for long."""
        oldest = self._clock() - _KEEP
        for key, value in self._local.scan_local(_PULLS):
            if datetime.fromisoformat(value.decode()) < oldest:
                await self._local.put_local(_PULLS, key, None)

    async def _prune(self, integration: str) -> None:
        try:
            rows = sorted(self._scan(integration), key=lambda row: row[1].at, reverse=True)
            oldest = self._clock() - _KEEP
            for place, (key, seen) in enumerate(rows):
                if place >= _MOST or seen.at < oldest:
                    await self._local.put_local(_NAMESPACE + integration, key, None)
        except CoveyError as error:
            _log.warning("old deliveries of %s are not removed: %s", integration, error)

    def _scan(self, integration: str) -> list[tuple[str, _Seen]]:
        return [
            (key, msgspec.msgpack.decode(value, type=_Seen))
            for key, value in self._local.scan_local(_NAMESPACE + integration)
        ]


def keys_of(forge: Forge, headers: Headers, body: bytes) -> tuple[str, ...]:
    """Return what a delivery is known by, its id first.

    Most forges sign the body alone, so the headers can be forged in a replay: where no two
    deliveries have the same body, an equal body is a replay whatever its id says.
    """
    given = forge.delivery(headers)
    keys = [f"id:{_digest(given.encode('utf-8', 'replace'))}"] if given else []
    if forge.bodies_differ or not given:
        keys.append(f"body:{_digest(body)}")
    return tuple(keys)


def _digest(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=20).hexdigest()
