"""A deployer that keeps what it is asked, and the parts around it in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from covey.apps.webhooks.deliveries import Deliveries
from covey.apps.webhooks.integrations import Integration, Integrations
from covey.apps.webhooks.model import ForgeName
from covey.apps.webhooks.ports import (
    CommitStatus,
    DeployRequest,
    FedApp,
    ForgeAccess,
    PreviewApp,
    PreviewRequest,
    PullState,
)
from covey.apps.webhooks.reception import Reception
from covey.apps.webhooks.rules import Options
from covey.errors import CoveyError, NotFoundError
from covey.testing.memory_log import MemoryLog
from tests.apps.webhooks.sending import SECRET

START = datetime(2026, 3, 20, 12, 0, tzinfo=UTC)
URLS = {
    "github": "git@github.com:acme/shop.git",
    "gitlab": "https://gitlab.example.org/acme/shop.git",
    "gitea": "ssh://git@gitea.example.org:2222/acme/shop.git",
    "bitbucket": "https://bitbucket.org/acme/shop",
}


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        return self.now

    def move(self, **by: float) -> None:
        self.now += timedelta(**by)


class RecordingDeployer:
    """Implements `Deployer`."""

    def __init__(self, *apps: FedApp, clock: Callable[[], datetime] | None = None) -> None:
        self._clock = clock or Clock()
        self.fed = {app.name: app for app in apps}
        self.deployed: list[DeployRequest] = []
        self.opened: list[PreviewRequest] = []
        self.closed: list[tuple[str, int, str]] = []
        self.held: dict[tuple[str, int], PreviewApp] = {}
        self.failure: CoveyError | None = None
        self.slow: asyncio.Event | None = None
        self._by_unique: dict[str, str] = {}
        self._numbers: dict[str, int] = {}

    def apps(self) -> list[FedApp]:
        return list(self.fed.values())

    async def deploy(self, request: DeployRequest) -> str:
        await self._begin(request.app)
        known = self._by_unique.get(request.origin.unique)
        if known is not None:
            return known
        self.deployed.append(request)
        return self._number(request.app, request.origin.unique)

    async def open_preview(self, request: PreviewRequest) -> str:
        await self._begin(request.parent)
        known = self._by_unique.get(request.origin.unique)
        if known is not None:
            return known
        self.opened.append(request)
        self.held[request.parent, request.number] = PreviewApp(
            request.parent,
            request.name,
            request.number,
            request.origin.integration,
            request.origin.repository,
            self._clock(),
        )
        if request.origin.unique:
            self._by_unique[request.origin.unique] = request.name
        return request.name

    async def close_preview(self, parent: str, number: int, caller: str) -> bool:
        if self.failure is not None:
            raise self.failure
        if self.held.pop((parent, number), None) is None:
            return False
        self.closed.append((parent, number, caller))
        return True

    def previews(self) -> list[PreviewApp]:
        return list(self.held.values())

    async def _begin(self, app: str) -> None:
        if self.slow is not None:
            await self.slow.wait()
        if self.failure is not None:
            raise self.failure
        if app not in self.fed:
            raise NotFoundError(f"No app is called {app}.")

    def _number(self, app: str, unique: str) -> str:
        self._numbers[app] = self._numbers.get(app, 0) + 1
        made = f"{app}/{self._numbers[app]}"
        if unique:
            self._by_unique[unique] = made
        return made


class RecordingForges:
    """Implements `ForgeInterface`."""

    def __init__(self) -> None:
        self.statuses: list[tuple[ForgeAccess, str, CommitStatus]] = []
        self.asked: list[tuple[ForgeAccess, str, int]] = []
        self.states: dict[int, PullState] = {}
        self.failures: list[CoveyError] = []

    async def set_status(self, access: ForgeAccess, repository: str, status: CommitStatus) -> None:
        if self.failures:
            raise self.failures.pop(0)
        self.statuses.append((access, repository, status))

    async def pull_state(self, access: ForgeAccess, repository: str, number: int) -> PullState:
        self.asked.append((access, repository, number))
        if self.failures:
            raise self.failures.pop(0)
        return self.states[number]


@dataclass
class Scene:
    """One node's webhooks in memory."""

    clock: Clock = field(default_factory=Clock)
    log: MemoryLog = field(default_factory=MemoryLog)
    deployer: RecordingDeployer = field(init=False)
    integrations: Integrations = field(init=False)
    deliveries: Deliveries = field(init=False)
    reception: Reception = field(init=False)

    def __post_init__(self) -> None:
        self.deployer = RecordingDeployer(clock=self.clock)
        self.restart()

    def restart(self) -> None:
        """Make all anew on what is kept."""
        self.integrations = Integrations(self.log, self.clock)
        self.deliveries = Deliveries(self.log, self.clock)
        self.reception = Reception(self.integrations, self.deliveries, self.deployer, self.clock)

    def app(self, name: str = "shop", url: str = URLS["github"], ref: str = "") -> None:
        self.deployer.fed[name] = FedApp(name, url, ref)

    async def integration(
        self,
        forge: str = "github",
        name: str = "hook",
        *,
        secret: str = SECRET,
        apps: tuple[str, ...] = (),
        repositories: tuple[str, ...] = (),
        api_token: str = "",
        **options: object,
    ) -> Integration:
        return await self.integrations.create(
            Integration(
                name=name,
                forge=ForgeName(forge),
                secret=secret,
                options=Options(**options),  # type: ignore[arg-type]
                created=self.clock(),
                created_by="a test",
                apps=apps,
                repositories=repositories,
                api_token=api_token,
            )
        )
