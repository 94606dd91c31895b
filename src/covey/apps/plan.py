"""What a release is made of on this node: containers, volumes, routes and timings. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec

from covey.apps.config.model import WEB, AppConfig, Domain, HealthCheck, Strategy
from covey.apps.containers import ContainerSpec, Mount, Resources
from covey.apps.health import AliveCheck, Check, CommandCheck, HealthPolicy, HttpCheck, TcpCheck
from covey.apps.layout import Naming, Places, pool_of
from covey.apps.model import App, Deployment, Release
from covey.apps.routing.model import (
    Answer,
    BasicAuth,
    Files,
    Pool,
    Proxied,
    Redirect,
    Route,
    RouteRules,
    TlsMode,
)
from covey.apps.routing.model import Target as RouteTarget

_ALIVE_S = 2.0


@dataclass(frozen=True, slots=True)
class ContainerPlan:
    """One container of a release, and when it is healthy."""

    process: str
    slot: int
    spec: ContainerSpec
    policy: HealthPolicy


@dataclass(frozen=True, slots=True)
class ReleasePlan:
    """All of a release; timings in seconds. `volumes` maps names to their labels."""

    containers: tuple[ContainerPlan, ...]
    volumes: Mapping[str, Mapping[str, str]]
    network: str
    port: int
    routes: tuple[Route, ...]
    strategy: Strategy
    drain_s: float
    grace_s: float
    watch_s: float


@dataclass(frozen=True, slots=True)
class Here:
    """What a plan needs to know of this node."""

    naming: Naming
    places: Places
    domain: str
    log_bytes: int


@dataclass(frozen=True, slots=True)
class Given:
    """What is planned: a deployment's release with the variables of the moment."""

    app: App
    deployment: Deployment
    release: Release
    variables: Mapping[str, str] = field(repr=False)


def plan_release(here: Here, given: Given) -> ReleasePlan:
    """Plan everything that runs and is served for a release."""
    config = given.release.config
    return ReleasePlan(
        containers=() if given.release.built.static else _containers(here, given),
        volumes={
            here.naming.volume(given.app.name, volume.name): here.naming.of_app(given.app.name)
            for volume in config.volumes
        },
        network=here.naming.network(given.app),
        port=given.release.port,
        routes=plan_routes(here, given.app, given.release),
        strategy=config.deploy.strategy,
        drain_s=config.deploy.drain,
        grace_s=config.deploy.grace,
        watch_s=config.deploy.watch,
    )


def plan_command(
    here: Here, given: Given, name: str, command: str | tuple[str, ...] | None
) -> ContainerSpec:
    """Plan a container that runs one command of a release: its release command, a cron job."""
    spec = _spec(here, given, WEB, 0)
    return ContainerSpec(
        name=here.naming.container(given.app.name, given.deployment.number, name, 0),
        image=spec.image,
        labels=here.naming.container_labels(given.app.name, given.deployment.number, name, 0),
        env=spec.env,
        command=command if isinstance(command, tuple) else None,
        shell_command=command if isinstance(command, str) else None,
        mounts=spec.mounts,
        network=spec.network,
        resources=spec.resources,
        log_bytes=spec.log_bytes,
    )


def domains_of(here: Here, app: App, config: AppConfig) -> tuple[Domain, ...]:
    """Return the app's domains; without any of its own, or for a preview, the node's default."""
    if config.domains and app.preview is None:
        return config.domains
    return (Domain(host=f"{app.name}.{here.domain}"),)


def plan_routes(here: Here, app: App, release: Release) -> tuple[Route, ...]:
    """Plan the routes of an app: to its pool or files, to its page while it rests, elsewhere."""
    config = release.config
    if config.replicas(WEB) == 0 and not release.built.static:
        return ()
    rules = config.proxy
    common = RouteRules(
        basic_auth=tuple(BasicAuth(user, hashed) for user, hashed in rules.basic_auth.items()),
        allow_from=rules.allow_from,
        max_body_bytes=rules.max_body,
        compress=rules.compress,
        response_timeout_s=rules.response_timeout,
        headers=dict(rules.headers),
    )
    domains = domains_of(here, app, config)
    canonical = next((domain for domain in domains if domain.canonical), None)
    found: list[Route] = []
    moving: set[str] = set()
    for domain in domains:
        route_rules = msgspec.structs.replace(common, tls=domain.tls)
        # A name may be listed with several paths; what moved on it has moved once.
        for moved in () if domain.host in moving else rules.redirects:
            target = Redirect(moved.target, permanent=moved.permanent)
            found.append(Route((domain.host,), target, moved.source, rules=route_rules))
        moving.add(domain.host)
        found.append(
            Route(
                (domain.host,),
                _target(here, app, release, domain, canonical),
                domain.path,
                domain.strip,
                route_rules,
            )
        )
    return tuple(found)


def _target(
    here: Here, app: App, release: Release, domain: Domain, canonical: Domain | None
) -> RouteTarget:
    if domain.redirect_to is not None:
        return Redirect(domain.redirect_to)
    if canonical is not None and domain.host != canonical.host:
        scheme = "http" if canonical.tls is TlsMode.OFF else "https"
        return Redirect(f"{scheme}://{canonical.host}")
    if app.maintenance:
        return Answer(503, page("Down for maintenance", "Please come back in a little while."))
    if app.stopped:
        return Answer(503, page("This app is stopped", "Its owners can start it again."))
    site = release.config.build.static
    if release.built.static:
        return Files(
            str(here.places.current_site(app.name)),
            fallback=None if site is None else site.fallback,
            not_found=None if site is None else site.not_found,
        )
    return Proxied((Pool(pool_of(app.name)),), release.config.proxy.balance)


def page(title: str, text: str) -> str:
    """Return a page that stands for an app."""
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>{title}</title>"
        "<style>body{font:1.1rem/1.5 system-ui,sans-serif;max-width:36rem;margin:20vh auto;"
        "padding:0 1rem;color:#222}@media(prefers-color-scheme:dark){body{background:#111;"
        f"color:#ddd}}}}</style><h1>{title}</h1><p>{text}</p></html>\n"
    )


def _containers(here: Here, given: Given) -> tuple[ContainerPlan, ...]:
    config = given.release.config
    names = [WEB, *(name for name in config.processes if name != WEB)]
    return tuple(
        ContainerPlan(name, slot, _spec(here, given, name, slot), _policy(here, given, name))
        for name in names
        for slot in range(config.replicas(name))
    )


def _spec(here: Here, given: Given, process: str, slot: int) -> ContainerSpec:
    app, release, number = given.app, given.release, given.deployment.number
    config = release.config
    found = config.processes.get(process)
    limits = config.limits(process)
    is_web = process == WEB
    check = config.healthcheck
    ports = (release.port, *((check.port,) if check.port else ())) if is_web else ()
    return ContainerSpec(
        name=here.naming.container(app.name, number, process, slot),
        image=release.built.image,
        labels=here.naming.container_labels(app.name, number, process, slot),
        env=_env(here, given, process),
        shell_command=(found.command or None) if found is not None else None,
        ports=tuple(dict.fromkeys(ports)),
        mounts=tuple(
            Mount(here.naming.volume(app.name, volume.name), volume.path, volume.read_only)
            for volume in config.volumes
        ),
        network=here.naming.network(app),
        aliases=(app.name,) if is_web else (f"{process}.{app.name}",),
        resources=Resources(limits.cpu, limits.memory, limits.pids),
        log_bytes=here.log_bytes,
    )


def _env(here: Here, given: Given, process: str) -> dict[str, str]:
    app, deployment = given.app, given.deployment
    host = domains_of(here, app, given.release.config)[0].host
    return {
        "PORT": str(given.release.port),
        "COVEY_APP": app.name,
        "COVEY_PROCESS": process,
        "COVEY_ENVIRONMENT": app.environment,
        "COVEY_DEPLOYMENT": str(deployment.number),
        "COVEY_HOST": host,
        **({"COVEY_COMMIT": deployment.commit} if deployment.commit else {}),
        **given.variables,
    }


def _policy(here: Here, given: Given, process: str) -> HealthPolicy:
    config = given.release.config
    check = config.healthcheck
    names = [domain.host for domain in domains_of(here, given.app, config)]
    host = next((name for name in names if not name.startswith("*.")), "localhost")
    return HealthPolicy(
        _check(check, given.release.port, host) if process == WEB else AliveCheck(_ALIVE_S),
        interval_s=check.interval,
        timeout_s=check.timeout,
        limit_s=config.deploy.healthcheck_timeout,
    )


def _check(check: HealthCheck, port: int, host: str) -> Check:
    at = check.port or port
    if check.command is not None:
        return CommandCheck(check.command)
    if check.path is not None:
        low, _, high = check.status.partition("-")
        return HttpCheck(at, check.path, int(low), int(high or low), host)
    return TcpCheck(at)
