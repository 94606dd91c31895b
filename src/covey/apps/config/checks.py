"""What must fit together across the keys of an app's configuration."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from covey.apps.config.model import WEB, AppConfig, Domain, HealthCheck, Strategy
from covey.apps.config.tables import Path, Problem, dotted

_TELLING = ("PASSWORD", "PASSWD", "SECRET", "TOKEN", "PRIVATE_KEY", "API_KEY", "CREDENTIAL")


def find_problems(config: AppConfig) -> list[Problem]:
    """Return what keeps the app from being deployed as configured."""
    return [
        *_static(config),
        *_health(config),
        *_processes(config),
        *_volumes(config),
        *_domains(config),
        *_environment(config),
    ]


def find_warnings(config: AppConfig) -> list[Problem]:
    """Return what looks like a mistake but need not be one."""
    return [*_rolling_volumes(config), *_telling_names(config), *_timing(config)]


def _static(config: AppConfig) -> Iterator[Problem]:
    if config.build.static is None:
        return
    because = "build.static makes it a site that the proxy serves, without any container"
    containers: list[tuple[Path, object]] = [
        (("port",), config.port),
        (("release",), config.release),
        (("processes",), config.processes),
        (("cron",), config.cron),
        (("volumes",), config.volumes),
        (("deploy", "healthcheck"), config.deploy.healthcheck),
        (("build", "dockerfile"), config.build.dockerfile),
        (("build", "target"), config.build.target),
    ]
    for path, value in containers:
        if value:
            hint = f"Remove {dotted(path)}, or build.static."
            yield Problem(path, f"{dotted(path)} does not fit a static site: {because}.", hint)


def _health(config: AppConfig) -> Iterator[Problem]:
    path = ("deploy", "healthcheck")
    check = config.deploy.healthcheck
    if check is None:
        return
    given = [name for name in ("path", "command", "tcp") if getattr(check, name)]
    if len(given) != 1:
        found = " and ".join(given) if given else "none of path, command and tcp"
        yield Problem(
            path,
            f"deploy.healthcheck has {found}.",
            'Give one: healthcheck = "/healthz", or {command = "…"}, or {tcp = true}.',
        )
    elif check.command and (check.port or check.status != HealthCheck().status):
        yield Problem(
            path,
            "deploy.healthcheck has a command, whose exit status counts; port and status do not.",
            "Remove port and status.",
        )
    if check.interval > config.deploy.healthcheck_timeout:
        yield Problem(
            (*path, "interval"),
            "deploy.healthcheck.interval is longer than deploy.healthcheck_timeout.",
            "There would be one attempt only; make the interval shorter.",
        )


def _processes(config: AppConfig) -> Iterator[Problem]:
    for name, process in config.processes.items():
        if process.command is None and name != WEB:
            yield Problem(
                ("processes", name),
                f"processes.{name} has no command.",
                f'Write {name} = "…" with the command under [processes].',
            )
    web = config.processes.get(WEB)
    if (
        web is not None
        and web.replicas is not None
        and config.deploy.replicas
        not in {
            1,
            web.replicas,
        }
    ):
        yield Problem(
            ("processes", WEB, "replicas"),
            "processes.web.replicas and deploy.replicas do not say the same.",
            "Keep deploy.replicas.",
        )
    if config.deploy.strategy is Strategy.RECREATE and config.replicas(WEB) > 1:
        yield Problem(
            ("deploy", "strategy"),
            f'deploy.strategy is "recreate" for {config.replicas(WEB)} replicas.',
            'One replica can be replaced that way; several want "rolling" or "blue-green".',
        )


def _volumes(config: AppConfig) -> Iterator[Problem]:
    places: dict[str, int] = {}
    for position, volume in enumerate(config.volumes):
        first = places.setdefault(volume.path, position)
        if first != position:
            yield Problem(
                ("volumes", position, "path"),
                f"{volume.path} is the place of volume {config.volumes[first].name} already.",
                "Give each volume a path of its own.",
            )


def _domains(config: AppConfig) -> Iterator[Problem]:
    places: set[tuple[str, str]] = set()
    canonical: Domain | None = None
    for position, domain in enumerate(config.domains):
        here: Path = ("domains", position)
        if (domain.host, domain.path) in places:
            yield Problem(
                (*here, "host"),
                f"{domain.host}{'' if domain.path == '/' else domain.path} is listed twice.",
                "Remove one of the two.",
            )
        places.add((domain.host, domain.path))
        if domain.strip and domain.path == "/":
            yield Problem(
                (*here, "strip"),
                f"{domain.host} has no path that strip could take off.",
                "Give it a path, or remove strip.",
            )
        if not domain.canonical:
            continue
        if domain.redirect_to is not None or domain.host.startswith("*."):
            kind = "redirects" if domain.redirect_to else "stands for many names"
            yield Problem(
                (*here, "canonical"),
                f"{domain.host} {kind}, so it cannot be the canonical name.",
                "Mark the name that people are to see.",
            )
        elif canonical is not None:
            yield Problem(
                (*here, "canonical"),
                f"{canonical.host} and {domain.host} are both canonical.",
                "One name can be canonical; the others redirect to it.",
            )
        canonical = canonical or domain


def _environment(config: AppConfig) -> Iterator[Problem]:
    tables: tuple[tuple[Path, Mapping[str, str]], ...] = (
        (("env",), config.env),
        (("preview", "env"), config.preview.env),
    )
    for path, names in tables:
        if "PORT" in names:
            yield Problem(
                (*path, "PORT"),
                f"{dotted(path)}.PORT is set by Covey to the app's port.",
                f"Write port = {names['PORT'][:10]} at the top of the file instead.",
            )


def _rolling_volumes(config: AppConfig) -> Iterator[Problem]:
    writable = [volume.name for volume in config.volumes if not volume.read_only]
    if writable and config.deploy.strategy is not Strategy.RECREATE:
        yield Problem(
            ("volumes", 0),
            f"the old and the new version both write to {', '.join(writable)} while "
            f"deploy.strategy {config.deploy.strategy} exchanges them.",
            'Right for uploads; a database in a file wants strategy = "recreate".',
        )


def _telling_names(config: AppConfig) -> Iterator[Problem]:
    tables: tuple[tuple[Path, Mapping[str, str]], ...] = (
        (("env",), config.env),
        (("preview", "env"), config.preview.env),
        (("build", "args"), config.build.args),
    )
    for path, names in tables:
        for name, value in names.items():
            if value and any(part in name.upper() for part in _TELLING):
                yield Problem(
                    (*path, name),
                    f"{dotted(path)}.{name} looks like a secret, and everyone with the source "
                    "reads it.",
                    "Keep it in Covey: covey env set, or build.secrets for a build.",
                )


def _timing(config: AppConfig) -> Iterator[Problem]:
    check = config.deploy.healthcheck
    if check is not None and check.timeout > config.deploy.healthcheck_timeout:
        yield Problem(
            ("deploy", "healthcheck", "timeout"),
            "one attempt of deploy.healthcheck may take longer than deploy.healthcheck_timeout.",
            "Make its timeout shorter.",
        )
