"""The checks of `covey doctor` on a node that hosts apps or serves routes."""

from __future__ import annotations

from covey.errors import CoveyError
from covey.fleet.node import Check, CheckState
from covey.wiring.hosting import NodeHosting


async def hosting_checks(hosting: NodeHosting) -> list[Check]:
    """Check the container engine, the apps and the proxy; nothing where nothing is hosted."""
    found: list[Check] = []
    apps = hosting.apps.apps
    hosted = apps.records.on(apps.node)
    if hosted:
        found += [await _containers(hosting), _apps(hosting, len(hosted))]
    if hosting.routes.all() or hosting.routes.problems:
        found += _proxy(hosting)
    return found


async def _containers(hosting: NodeHosting) -> Check:
    try:
        facts = await hosting.engine.describe()
    except CoveyError as error:
        return Check("containers", CheckState.FAILED, error.message, error.hint)
    whose = "a service of Covey's own" if facts.service == "own" else facts.socket
    needs = f"; this host needs {', '.join(facts.needs)}" if facts.needs else ""
    if facts.init is False:
        return Check(
            "containers",
            CheckState.WARNING,
            f"{facts.engine} {facts.version} ({whose}) has no init program for containers: "
            "processes that end are not reaped there.",
            "Install it: apt-get install catatonit",
        )
    return Check("containers", CheckState.OK, f"{facts.engine} {facts.version}, {whose}{needs}.")


def _apps(hosting: NodeHosting, count: int) -> Check:
    failing = hosting.apps.reconciler.failing()
    if not failing:
        noun = "app" if count == 1 else "apps"
        return Check("apps", CheckState.OK, f"{count} {noun}; all that should run does.")
    names = ", ".join(sorted(failing))
    return Check(
        "apps",
        CheckState.WARNING,
        f"Started again because they ended: {names}.",
        "See why: covey apps logs NAME",
    )


def _proxy(hosting: NodeHosting) -> list[Check]:
    problems = sorted(hosting.routes.problems.items())
    if not problems:
        hosts = {
            host for routes in hosting.routes.all().values() for r in routes for host in r.hosts
        }
        noun = "host name" if len(hosts) == 1 else "host names"
        return [Check("proxy", CheckState.OK, f"{len(hosts)} {noun} served.")]
    return [
        Check("proxy", CheckState.FAILED, message, "See its log: covey agent logs")
        for _, message in problems
    ]
