"""What hosts the apps of a node, and the locks that keep its parts out of each other's way."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from weakref import WeakValueDictionary

from covey.apps.building import Builder
from covey.apps.containers import ContainerEngine
from covey.apps.deployments import Deployments
from covey.apps.environment import AppEnvironment
from covey.apps.model import App, Deployment, Release
from covey.apps.plan import Here
from covey.apps.records import AppRecords
from covey.apps.rollout import Rollout
from covey.apps.routing.api import Routes
from covey.apps.sweep import Sweep
from covey.jobs.api import Jobs

Locks = WeakValueDictionary[str, asyncio.Lock]


@dataclass(frozen=True, slots=True)
class Hosting:
    """What hosts the apps of this node. Whoever wants both locks of an app takes `lock` first."""

    here: Here
    records: AppRecords
    deployments: Deployments
    environment: AppEnvironment
    engine: ContainerEngine
    routes: Routes
    rollout: Rollout
    sweep: Sweep
    builder: Builder
    jobs: Jobs
    in_service: Callable[[App, Release], Awaitable[None]] = field(repr=False)
    """Called when a release begins to serve."""
    changed: Callable[[Deployment], None] = field(repr=False)
    """Called when a deployment begins and when it ends."""
    _locks: Locks = field(default_factory=WeakValueDictionary)
    _queues: Locks = field(default_factory=WeakValueDictionary)

    def lock(self, app: str) -> asyncio.Lock:
        """Return the lock that is held while an app's containers and routes are changed."""
        return self._locks.setdefault(app, asyncio.Lock())

    def queue(self, app: str) -> asyncio.Lock:
        """Return the lock that is held for moments: to change an app's record, queue or begin."""
        return self._queues.setdefault(app, asyncio.Lock())
