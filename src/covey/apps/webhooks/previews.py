"""Previews of pull requests: their names, how many there may be, and which are of no use now."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

import msgspec

from covey.apps.names import MAX_APP_NAME
from covey.apps.webhooks.deliveries import Deliveries
from covey.apps.webhooks.integrations import Integrations
from covey.apps.webhooks.ports import Deployer, ForgeInterface, PreviewApp, PullState
from covey.errors import CoveyError
from covey.jobs.api import JobKind, JobRun, Jobs, NewJob, Schedule
from covey.jobs.model import Priority

_LONGEST = timedelta(days=30)
_HASH = 6
_KIND = "webhooks.previews"
_CALLER = "preview reconciliation"
_log = logging.getLogger("covey.webhooks")


def preview_name(parent: str, number: int) -> str:
    """Return the name of a preview: `shop-pr-7`.

    A name is one label below the domain of the apps, so a certificate for `*.DOMAIN` covers it.
    """
    plain = f"{parent}-pr-{number}"
    if len(plain) <= MAX_APP_NAME:
        return plain
    digest = hashlib.blake2b(parent.encode()).hexdigest()[:_HASH]
    ending = f"-{digest}-pr-{number}"
    return parent[: MAX_APP_NAME - len(ending)].rstrip("-") + ending


def has_room(previews: Sequence[PreviewApp], parent: str, number: int, limit: int) -> bool:
    """Whether an app may have a preview of this pull request beside those that it has."""
    numbers = {item.number for item in previews if item.parent == parent}
    return number in numbers or len(numbers) < limit


def is_over(preview: PreviewApp, state: PullState | None, now: datetime) -> bool:
    """Whether a preview is to be removed; without an answer of the forge, by its age."""
    match state:
        case PullState.OPEN:
            return False
        case PullState.CLOSED:
            return True
        case None:
            return now - preview.updated > _LONGEST


class PreviewCheck(msgspec.Struct, frozen=True):
    """The daily job's payload: it needs none."""


class PreviewUpkeep:
    """Removes, once a day, the previews whose closing was never heard of."""

    def __init__(
        self,
        deployer: Deployer,
        integrations: Integrations,
        deliveries: Deliveries,
        forges: ForgeInterface,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._deployer = deployer
        self._integrations = integrations
        self._deliveries = deliveries
        self._forges = forges
        self._clock = clock

    def job_kind(self) -> JobKind:
        """Return the kind of its daily job."""
        return JobKind(_KIND, self._run, timeout_s=1800.0, at_once=1)

    async def schedule(self, jobs: Jobs) -> None:
        """Have it run daily while there is a webhook that may make previews, or a preview."""
        if not self._integrations.all() and not self._deployer.previews():
            await jobs.remove_schedule(_KIND)
            return
        job = NewJob(
            _KIND,
            PreviewCheck(),
            "Remove previews of closed pull requests",
            priority=Priority.LOW,
            key=_KIND,
            supersede=True,
        )
        await jobs.put_schedule(Schedule(_KIND, "43 4 * * *", job, jitter_s=1800.0))

    async def reconcile(self) -> list[PreviewApp]:
        """Remove what is over, and return it."""
        removed = []
        parents = {app.name for app in self._deployer.apps()}
        for preview in self._deployer.previews():
            orphan = preview.parent not in parents
            state = PullState.CLOSED if orphan else await self._state_of(preview)
            if is_over(preview, state, self._clock()) and await self._deployer.close_preview(
                preview.parent, preview.number, _CALLER
            ):
                removed.append(preview)
        await self._deliveries.prune_pulls()
        return removed

    async def _run(self, run: JobRun) -> None:
        for preview in await self.reconcile():
            run.log(f"{preview.name} is removed: its pull request is no longer open")

    async def _state_of(self, preview: PreviewApp) -> PullState | None:
        integration = self._integrations.find(preview.integration)
        access = None if integration is None else integration.access()
        if access is None:
            return None
        try:
            return await self._forges.pull_state(access, preview.repository, preview.number)
        except CoveyError as error:
            _log.warning("%s of %s: %s", preview.number, preview.repository, error.message)
            return None
