"""What forges show beside a commit of its deployment: told by jobs, so that none waits for it."""

from __future__ import annotations

import logging

import msgspec

from covey.apps.webhooks.integrations import Integrations
from covey.apps.webhooks.ports import CommitState, CommitStatus, ForgeInterface, Origin
from covey.errors import (
    CoveyError,
    InvalidRequestError,
    NotFoundError,
    RateLimitedError,
    RefusedError,
)
from covey.jobs.api import JobKind, JobRun, Jobs, NewJob, Retry
from covey.jobs.model import Priority

_KIND = "webhooks.status"
_RETRY = Retry(attempts=6, first_wait_s=5.0, factor=3.0, longest_wait_s=600.0)
_TIMEOUT_S = 60.0
_MAX_DESCRIPTION = 140
_log = logging.getLogger("covey.webhooks")


class StatusJob(msgspec.Struct, frozen=True):
    """What a job tells a forge; the token is looked up when it runs."""

    integration: str
    repository: str
    status: CommitStatus


class CommitStatuses:
    """Tells forges how deployments go, if their integration has a token."""

    def __init__(self, jobs: Jobs, integrations: Integrations, forges: ForgeInterface) -> None:
        self._jobs = jobs
        self._integrations = integrations
        self._forges = forges

    def job_kind(self) -> JobKind:
        """Return the kind of its jobs."""
        return JobKind(
            _KIND, self._run, _RETRY, timeout_s=_TIMEOUT_S, at_once=4, is_permanent=_is_in_vain
        )

    async def report(
        self,
        origin: Origin,
        *,
        app: str,
        commit: str,
        state: CommitState,
        description: str,
        url: str = "",
    ) -> None:
        """Have a commit's status set; never raises, and a later report replaces one that waits.

        `commit` is the one that is deployed, not the one that a delivery named.
        """
        try:
            integration = self._integrations.find(origin.integration)
            if integration is None or integration.access() is None or not commit:
                return
            status = CommitStatus(commit, state, f"covey/{app}", _short(description), url)
            await self._jobs.enqueue(
                NewJob(
                    _KIND,
                    StatusJob(origin.integration, origin.repository, status),
                    f"Tell {origin.repository} that {app} is {state.value} at {commit[:10]}",
                    subject=f"app/{app}",
                    priority=Priority.HIGH,
                    key=f"{_KIND}/{origin.integration}/{origin.repository}/{app}/{commit}",
                    supersede=True,
                )
            )
        except CoveyError as error:
            _log.warning("the status of %s is not told: %s", app, error.message)

    async def _run(self, run: JobRun) -> None:
        work = run.payload(StatusJob)
        integration = self._integrations.find(work.integration)
        access = None if integration is None else integration.access()
        if access is None:
            run.log("the webhook has no token any more")
            return
        await self._forges.set_status(access, work.repository, work.status)


def _is_in_vain(error: BaseException) -> bool:
    if isinstance(error, RateLimitedError):
        return False
    return isinstance(error, (RefusedError, NotFoundError, InvalidRequestError))


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _MAX_DESCRIPTION else line[: _MAX_DESCRIPTION - 1] + "…"
