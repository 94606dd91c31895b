"""What a deployment that ran before is made of on this node."""

from __future__ import annotations

from covey.apps.hosting import Hosting
from covey.apps.model import App, Deployment, Release
from covey.apps.plan import Given, plan_release
from covey.apps.rollout import Side
from covey.errors import CoveyError


def known_side(hosting: Hosting, app: App, deployment: Deployment, release: Release) -> Side:
    """Plan a version of which nothing need be made: nobody is asked for its variables."""
    given = Given(app, deployment, release, {})
    return Side(app.name, deployment.number, plan_release(hosting.here, given), complete=False)


async def plan_side(hosting: Hosting, app: App, deployment: Deployment, release: Release) -> Side:
    """Plan a version whose containers are there; without its variables it is not complete."""
    try:
        variables = await hosting.environment.resolve(app, release.config)
    except CoveyError:
        return known_side(hosting, app, deployment, release)
    given = Given(app, deployment, release, variables.values)
    return Side(app.name, deployment.number, plan_release(hosting.here, given))
