"""From one delivery to what it causes: who sent it, whether it is new, what it means here."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING

import msgspec

from covey.apps.webhooks.deliveries import Deliveries, Delivery, Outcome, keys_of
from covey.apps.webhooks.forge import Forge
from covey.apps.webhooks.forges import forge_of
from covey.apps.webhooks.globs import any_matches
from covey.apps.webhooks.integrations import Integration, Integrations
from covey.apps.webhooks.model import (
    Event,
    ForgeName,
    Ping,
    PullRequest,
    Repository,
    Unused,
)
from covey.apps.webhooks.ports import (
    Deployer,
    DeployRequest,
    FedApp,
    Origin,
    PreviewRequest,
)
from covey.apps.webhooks.previews import has_room, preview_name
from covey.apps.webhooks.refusal import unproven
from covey.apps.webhooks.rules import (
    ClosePreview,
    Decision,
    Deploy,
    OpenPreview,
    Skip,
    comes_from,
    decide,
)
from covey.apps.webhooks.signatures import Headers
from covey.errors import (
    ConflictError,
    CoveyError,
    InvalidRequestError,
    LockedError,
    NotFoundError,
    RefusedError,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

_ALIASES = {"forgejo": ForgeName.GITEA}
_LARGE = 1 << 18
_MAX_NAME = 63
_log = logging.getLogger("covey.webhooks")


class ReceiptStatus(StrEnum):
    """What a forge is told of its delivery."""

    QUEUED = "queued"
    IGNORED = "ignored"
    DUPLICATE = "duplicate"
    PONG = "pong"


class Receipt(msgspec.Struct, frozen=True):
    """The answer to a delivery; `reasons` say what was not done, and why."""

    status: ReceiptStatus
    integration: str
    deployments: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()

    @property
    def http_status(self) -> int:
        """Accepted if something was queued."""
        return 202 if self.status is ReceiptStatus.QUEUED else 200


@dataclass(slots=True)
class _Effects:
    """What the events of one delivery caused so far."""

    deployments: list[str] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    failure: CoveyError | None = None


@dataclass(slots=True)
class _Turn:
    """One delivery under way, and how many equal ones came meanwhile."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    waiting: int = 0


class Reception:
    """Takes the deliveries of this node's integrations."""

    def __init__(
        self,
        integrations: Integrations,
        deliveries: Deliveries,
        deployer: Deployer,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._integrations = integrations
        self._deliveries = deliveries
        self._deployer = deployer
        self._clock = clock
        self._under_way: dict[str, _Turn] = {}
        self._previewing = asyncio.Lock()

    async def to_forge(self, forge: str, headers: Headers, body: bytes) -> Receipt:
        """Take a delivery for whichever integration of a forge it proves itself to.

        Raises `UnauthenticatedError`, `InvalidRequestError`, and what keeps it from being queued.
        """
        name = _forge_name(forge)
        candidates = [item for item in self._integrations.all() if item.forge is name]
        return await self._take(name, candidates, headers, body)

    async def to_integration(self, name: str, headers: Headers, body: bytes) -> Receipt:
        """Take a delivery for one integration; an unknown one answers as a wrong signature does."""
        found = self._integrations.find(name) if len(name) <= _MAX_NAME else None
        forge = ForgeName.GITHUB if found is None else found.forge
        return await self._take(forge, [] if found is None else [found], headers, body)

    async def _take(
        self, name: ForgeName, candidates: Sequence[Integration], headers: Headers, body: bytes
    ) -> Receipt:
        forge, now = forge_of(name), self._clock()
        integration = await _prove(forge, candidates, headers, body, now)
        keys = keys_of(forge, headers, body)
        async with self._one_at_a_time(f"{integration.name}/{keys[0]}"):
            if self._deliveries.is_known(integration.name, keys):
                return Receipt(ReceiptStatus.DUPLICATE, integration.name)
            delivery = Delivery(forge.delivery(headers), now, forge.event(headers), Outcome.IGNORED)
            try:
                events = await _parsed(forge, headers, body)
            except InvalidRequestError as error:
                invalid = msgspec.structs.replace(
                    delivery, outcome=Outcome.INVALID, reasons=(error.message,)
                )
                await self._deliveries.record(integration.name, keys, invalid)
                raise
            effects = await self._act(integration, events, keys[0])
            if effects.failure is not None:
                raise effects.failure
            done = msgspec.structs.replace(
                delivery,
                outcome=_outcome(events, effects),
                repository=_repository_of(events),
                deployments=tuple(effects.deployments),
                reasons=tuple(effects.reasons),
            )
            await self._deliveries.record(integration.name, keys, done)
        return Receipt(_STATUSES[done.outcome], integration.name, done.deployments, done.reasons)

    async def _act(self, integration: Integration, events: Sequence[Event], key: str) -> _Effects:
        effects = _Effects()
        for place, event in enumerate(events):
            if isinstance(event, (Ping, Unused)):
                if isinstance(event, Unused):
                    effects.reasons.append(f"nothing follows from: {event.what}")
                continue
            apps, reason = self._fed(integration, event.repository)
            if reason:
                effects.reasons.append(reason)
            for app in apps:
                unique = f"{integration.name}/{key}/{place}/{app.name}"
                origin = Origin(integration.name, event.repository.name, unique)
                await self._act_on(integration, event, app, origin, effects)
        return effects

    async def _act_on(
        self,
        integration: Integration,
        event: Event,
        app: FedApp,
        origin: Origin,
        effects: _Effects,
    ) -> None:
        try:
            decision = decide(event, integration.options, app)
            if isinstance(event, PullRequest) and not isinstance(decision, Skip):
                newest = await self._deliveries.is_newest(app.name, event.number, event.at)
                if not newest:
                    decision = Skip("something later was told of the pull request before")
            done = await self._carry_out(decision, integration, app, origin, effects)
            effects.deployments += done
        except LockedError as error:
            effects.failure = error
        except (NotFoundError, ConflictError, RefusedError, InvalidRequestError) as error:
            effects.reasons.append(f"{app.name}: {error.message}")
        except CoveyError as error:
            effects.failure = error

    async def _carry_out(
        self,
        decision: Decision,
        integration: Integration,
        app: FedApp,
        origin: Origin,
        effects: _Effects,
    ) -> list[str]:
        caller = f"webhook {integration.name}"
        match decision:
            case Deploy(kind, ref, commit, message):
                request = DeployRequest(app.name, kind, ref, commit, message, origin, caller)
                return [await self._deployer.deploy(request)]
            case OpenPreview(pull, ref):
                return await self._preview(pull, ref, integration, app, origin, effects)
            case ClosePreview(number):
                name = preview_name(app.name, number)
                if not await self._deployer.close_preview(app.name, number, caller):
                    effects.reasons.append(f"{app.name}: there is no preview {name}")
                    return []
                return [name]
            case Skip(reason):
                effects.reasons.append(f"{app.name}: {reason}")
                return []

    async def _preview(
        self,
        pull: PullRequest,
        ref: str,
        integration: Integration,
        app: FedApp,
        origin: Origin,
        effects: _Effects,
    ) -> list[str]:
        limit = integration.options.max_previews
        request = PreviewRequest(
            parent=app.name,
            name=preview_name(app.name, pull.number),
            number=pull.number,
            title=pull.title,
            ref=ref,
            commit=pull.head_commit,
            from_fork=pull.from_fork,
            origin=origin,
            caller=f"webhook {integration.name}",
        )
        async with self._previewing:
            if not has_room(self._deployer.previews(), app.name, pull.number, limit):
                effects.reasons.append(f"{app.name}: it has {limit} previews already")
                return []
            return [await self._deployer.open_preview(request)]

    def _fed(self, integration: Integration, repository: Repository) -> tuple[list[FedApp], str]:
        """Return the apps that a repository's events are for, or why there are none."""
        name = repository.name
        wanted = [item.lower() for item in integration.repositories]
        if wanted and not any_matches((name.lower(),), wanted):
            return [], f"{name} is not one of the webhook's repositories"
        apps = [
            item
            for item in self._deployer.apps()
            if not integration.apps or item.name in integration.apps
        ]
        # Who names both an app and its repositories may have it fetched from a mirror.
        if not (integration.apps and integration.repositories):
            apps = [item for item in apps if comes_from(item, repository)]
        return apps, "" if apps else f"no app here that the webhook feeds is made of {name}"

    @asynccontextmanager
    async def _one_at_a_time(self, key: str) -> AsyncIterator[None]:
        turn = self._under_way.setdefault(key, _Turn())
        turn.waiting += 1
        try:
            async with turn.lock:
                yield
        finally:
            turn.waiting -= 1
            if not turn.waiting:
                del self._under_way[key]


_STATUSES = {
    Outcome.QUEUED: ReceiptStatus.QUEUED,
    Outcome.IGNORED: ReceiptStatus.IGNORED,
    Outcome.PONG: ReceiptStatus.PONG,
}


async def _prove(
    forge: Forge,
    candidates: Sequence[Integration],
    headers: Headers,
    body: bytes,
    now: datetime,
) -> Integration:
    """Return the integration whose secret was used; takes as long whichever it is, or none."""
    pairs: list[tuple[Integration | None, str]] = [
        (item, secret) for item in candidates for secret in item.secrets_at(now)
    ]
    pairs = pairs or [(None, _nobodys_secret)]

    def look() -> list[Integration | None]:
        moment = now.timestamp()
        return [item for item, secret in pairs if forge.verify(secret, headers, body, moment)]

    work = len(body) * len(pairs)
    found = await asyncio.to_thread(look) if work > _LARGE else look()
    integration = next(iter(found), None)
    if integration is None:
        raise unproven()
    return integration


async def _parsed(forge: Forge, headers: Headers, body: bytes) -> tuple[Event, ...]:
    if len(body) <= _LARGE:
        return forge.parse(headers, body)
    return await asyncio.to_thread(forge.parse, headers, body)


_nobodys_secret = secrets.token_hex(32)


def _forge_name(text: str) -> ForgeName:
    try:
        return _ALIASES.get(text) or ForgeName(text)
    except ValueError:
        known = ", ".join(item.value for item in ForgeName)
        raise NotFoundError(f"No forge is called {text[:40]!r} here: {known}.") from None


def _outcome(events: Sequence[Event], effects: _Effects) -> Outcome:
    if effects.deployments:
        return Outcome.QUEUED
    return Outcome.PONG if any(isinstance(item, Ping) for item in events) else Outcome.IGNORED


def _repository_of(events: Sequence[Event]) -> str:
    for event in events:
        if not isinstance(event, (Ping, Unused)):
            return event.repository.name
    return ""
