"""What `covey.app.toml` says about an app. Durations are seconds, sizes bytes."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import msgspec

from covey.apps.config import forms, syntax
from covey.apps.config.forms import key
from covey.apps.routing.model import Balance, TlsMode

APP_NAME_PATTERN = r"[a-z](?:[a-z0-9-]{0,46}[a-z0-9])?"
WEB = "web"
"""The process that gets requests."""

_NAME = forms.pattern(r"[a-z](?:[a-z0-9-]{0,38}[a-z0-9])?", "a name such as nightly-report")
_STAGE = forms.pattern(r"[A-Za-z0-9][A-Za-z0-9_.-]*", "the name of a stage", max_length=128)
_VARIABLE = forms.pattern(r"[A-Za-z_][A-Za-z0-9_]*", "the name of a variable", max_length=200)
_COMMAND = forms.line("a command line, run by the image's /bin/sh", max_length=16_384)
_ONE_LINE = forms.line("text that is not empty")

AppName = Annotated[
    str,
    msgspec.Meta(
        pattern=rf"^{APP_NAME_PATTERN}$(?!\n)",
        max_length=48,
        description="Name of the app: small letters, digits and hyphens.",
    ),
]
Name = Annotated[str, key("Small letters, digits and hyphens.", _NAME)]
Variable = Annotated[str, key("Letters, digits and underscores.", _VARIABLE)]
Value = Annotated[str, key("What it is set to.", syntax.variable_value())]


class Strategy(StrEnum):
    """How a new version takes over."""

    ROLLING = "rolling"
    BLUE_GREEN = "blue-green"
    RECREATE = "recreate"


class _Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    pass


class StaticSite(_Table, frozen=True):
    """A directory of files that the proxy serves by itself; no container runs."""

    directory: Annotated[
        str, key("The directory, after `build.command` if there is one.", syntax.source_path())
    ]
    fallback: Annotated[
        str | None,
        key("This file answers where nothing is found (single-page apps).", syntax.source_path()),
    ] = None
    not_found: Annotated[
        str | None, key("This file is the page of status 404.", syntax.source_path())
    ] = None


class Build(_Table, frozen=True):
    """How the image is made. Without a Dockerfile, Covey writes one for what it finds."""

    dockerfile: Annotated[
        str | None,
        key("The Dockerfile; by default Dockerfile or Containerfile.", syntax.source_path()),
    ] = None
    context: Annotated[str, key("The directory that is built.", syntax.source_path())] = "."
    args: Annotated[dict[Variable, Value], key("Build arguments (ARG). Never secrets.")] = {}
    target: Annotated[str | None, key("The stage that is built; by default the last.", _STAGE)] = (
        None
    )
    static: Annotated[StaticSite | None, key("Serve this directory, and run no container.")] = None
    command: Annotated[
        str | None,
        key(
            "The command that builds, in a generated Containerfile or for a static site.", _COMMAND
        ),
    ] = None
    secrets: Annotated[
        tuple[Variable, ...],
        key("Variables that the build may read as /run/secrets/NAME, in no layer and no log."),
    ] = ()
    ignore: Annotated[
        tuple[Annotated[str, key("A pattern as in .gitignore.", _ONE_LINE)], ...],
        key("Files that are left out, besides those of .gitignore and .dockerignore."),
    ] = ()


class HealthCheck(_Table, frozen=True):
    """How a version shows that it works: exactly one of path, command and tcp."""

    path: Annotated[
        str | None, key("GET this path; a good status means healthy.", syntax.url_path())
    ] = None
    command: Annotated[
        str | None, key("Run this in the container; exit status 0 means healthy.", _COMMAND)
    ] = None
    tcp: Annotated[bool, key("Healthy when the port takes connections.", forms.flag())] = False
    port: Annotated[int | None, key("Another port than the app's.", forms.whole(1, 65_535))] = None
    status: Annotated[str, key("The good status, or their range.", syntax.status_range())] = (
        "200-399"
    )
    timeout: Annotated[float, key("One attempt's limit.", forms.duration("100ms", "5m"))] = 5.0
    interval: Annotated[
        float, key("The time between two attempts.", forms.duration("50ms", "1h"))
    ] = 1.0


class GitTrigger(_Table, frozen=True):
    """Which pushes deploy."""

    branch: Annotated[str | None, key("Only pushes to this branch.", _ONE_LINE)] = None
    paths: Annotated[
        tuple[Annotated[str, key("A pattern as in .gitignore.", _ONE_LINE)], ...],
        key("Only pushes that change one of these files."),
    ] = ()


class Deploy(_Table, frozen=True):
    """How a new version takes over from the old one."""

    strategy: Annotated[
        Strategy,
        key(
            "rolling exchanges one replica after another; blue-green starts all new ones, then "
            "switches; recreate stops the old ones first, so requests wait.",
            forms.choice(Strategy),
        ),
    ] = Strategy.ROLLING
    replicas: Annotated[int, key("Containers of the web process.", forms.whole(0, 100))] = 1
    healthcheck: Annotated[
        HealthCheck | None,
        key("A path, or a table; by default the port must take connections."),
    ] = None
    healthcheck_timeout: Annotated[
        float, key("A replica that is not healthy by then failed.", forms.duration("1s", "1h"))
    ] = 60.0
    drain: Annotated[
        float,
        key("Old replicas may go on answering for this long.", forms.duration("0s", "1d")),
    ] = 30.0
    grace: Annotated[float, key("From SIGTERM to SIGKILL.", forms.duration("0s", "1h"))] = 10.0
    watch: Annotated[
        float,
        key(
            "A version whose health check fails within this time after the switch is rolled back.",
            forms.duration("0s", "1d"),
        ),
    ] = 5.0
    git: Annotated[GitTrigger, key("Which pushes deploy.")] = GitTrigger()


class Limits(_Table, frozen=True):
    """What each container may use; no limit unless given."""

    cpu: Annotated[float | None, key("CPUs.", forms.cpu())] = None
    memory: Annotated[int | None, key("Memory.", forms.size("6mb", "16tb"))] = None
    pids: Annotated[int | None, key("Processes and threads.", forms.whole(1, 4_194_304))] = None


class Process(_Table, frozen=True):
    """A program of the image that runs beside the web process, or the web process itself."""

    command: Annotated[
        str | None, key("Its command line; only web may leave it to the image.", _COMMAND)
    ] = None
    replicas: Annotated[int | None, key("Its containers; 1 unless given.", forms.whole(0, 100))] = (
        None
    )
    resources: Annotated[Limits, key("Limits of its own, over those of [resources].")] = Limits()


class Volume(_Table, frozen=True):
    """A directory that outlasts versions of the app."""

    name: Annotated[str, key("Its name within the app.", _NAME)]
    path: Annotated[str, key("Where containers see it.", syntax.container_path())]
    read_only: Annotated[bool, key("Containers only read it.", forms.flag())] = False


class Domain(_Table, frozen=True):
    """A host name, perhaps with a path, at which the app answers."""

    host: Annotated[str, key("The name, or *.example.org.", syntax.host())]
    path: Annotated[str, key("Requests below this path only.", syntax.route_path())] = "/"
    strip: Annotated[bool, key("Take the path off before passing requests on.", forms.flag())] = (
        False
    )
    canonical: Annotated[bool, key("The app's other names redirect here.", forms.flag())] = False
    redirect_to: Annotated[
        str | None, key("Redirect requests there, with their path.", syntax.redirect_target())
    ] = None
    tls: Annotated[
        TlsMode,
        key(
            "auto takes ACME for public names and the node's own authority for private ones; off "
            "is plain HTTP.",
            forms.choice(TlsMode),
        ),
    ] = TlsMode.AUTO


class ScheduledCommand(_Table, frozen=True):
    """A command that runs in a container of its own, again and again."""

    schedule: Annotated[str, key("When.", syntax.cron())]
    command: Annotated[str, key("What.", _COMMAND)]
    zone: Annotated[str, key("The time zone of the schedule.", syntax.zone())] = "UTC"
    timeout: Annotated[
        float, key("It has failed if it runs longer.", forms.duration("1s", "7d"))
    ] = 3600.0


class PathRedirect(_Table, frozen=True, rename={"source": "from", "target": "to"}):
    """Requests for one path are sent elsewhere."""

    source: Annotated[str, key("The path.", syntax.route_path())]
    target: Annotated[str, key("A path, or a URL.", syntax.place())]
    permanent: Annotated[bool, key("308 instead of 307.", forms.flag())] = True


class ProxyRules(_Table, frozen=True):
    """What the proxy does with the app's requests."""

    basic_auth: Annotated[
        dict[
            Annotated[str, key("A user.", forms.pattern(r"[^\s:]+", "a user's name"))],
            Annotated[str, key("The password's bcrypt hash.", syntax.password_hash())],
        ],
        key("Users who may come in. Others get 401."),
    ] = {}
    allow_from: Annotated[
        tuple[Annotated[str, key("Addresses.", syntax.network())], ...],
        key("Networks that may ask; by default all. Others get 403."),
    ] = ()
    max_body: Annotated[int | None, key("The largest request body.", forms.size("1b", "1tb"))] = (
        None
    )
    headers: Annotated[
        dict[
            Annotated[str, key("A header.", syntax.header_name())],
            Annotated[str, key("Its value.", syntax.header_value())],
        ],
        key("Added to each answer."),
    ] = {}
    redirects: Annotated[tuple[PathRedirect, ...], key("Paths that moved.")] = ()
    response_timeout: Annotated[
        float | None,
        key("A request is given up if no answer begins by then.", forms.duration("1s", "1d")),
    ] = None
    compress: Annotated[bool, key("Compress answers.", forms.flag())] = True
    balance: Annotated[
        Balance, key("How requests are spread over replicas.", forms.choice(Balance))
    ] = Balance.ROUND_ROBIN


class Preview(_Table, frozen=True):
    """Deployments of pull requests, each at a name of its own."""

    enabled: Annotated[bool, key("Deploy pull requests.", forms.flag())] = False
    env: Annotated[dict[Variable, Value], key("Over [env], in previews.")] = {}


class AppConfig(_Table, frozen=True):
    """All that the file says, with the defaults of what it leaves out."""

    app: Annotated[
        str | None,
        key(
            "The app's name.",
            forms.pattern(APP_NAME_PATTERN, "a name such as my-shop", max_length=48),
        ),
    ] = None
    port: Annotated[
        int | None,
        key("Where it listens; by default what the image exposes.", forms.whole(1, 65_535)),
    ] = None
    release: Annotated[
        str | None,
        key("Runs once before the switch, such as a migration of the database.", _COMMAND),
    ] = None
    build: Annotated[Build, key("How the image is made.")] = Build()
    deploy: Annotated[Deploy, key("How a new version takes over.")] = Deploy()
    processes: Annotated[dict[Name, Process], key("Programs, each a command or a table.")] = {}
    resources: Annotated[Limits, key("What each container may use.")] = Limits()
    env: Annotated[dict[Variable, Value], key("Variables that are no secrets.")] = {}
    volumes: Annotated[tuple[Volume, ...], key("Directories that last.")] = ()
    domains: Annotated[tuple[Domain, ...], key("Names, each a host or a table.")] = ()
    cron: Annotated[dict[Name, ScheduledCommand], key("Commands that run by the clock.")] = {}
    proxy: Annotated[ProxyRules, key("What the proxy does with requests.")] = ProxyRules()
    preview: Annotated[Preview, key("Deployments of pull requests.")] = Preview()

    @property
    def healthcheck(self) -> HealthCheck:
        """The health check, or the default: that the port takes connections."""
        return self.deploy.healthcheck or HealthCheck(tcp=True)

    def replicas(self, process: str) -> int:
        """How many containers a process has."""
        found = self.processes.get(process)
        if found is not None and found.replicas is not None:
            return found.replicas
        return self.deploy.replicas if process == WEB else 1

    def limits(self, process: str) -> Limits:
        """What a container of a process may use."""
        own = self.processes[process].resources if process in self.processes else Limits()
        return Limits(
            cpu=self.resources.cpu if own.cpu is None else own.cpu,
            memory=self.resources.memory if own.memory is None else own.memory,
            pids=self.resources.pids if own.pids is None else own.pids,
        )


SHORTHANDS: dict[type[msgspec.Struct], str] = {
    Domain: "host",
    HealthCheck: "path",
    Process: "command",
    StaticSite: "directory",
}
"""Tables that may be written as the text of one of their keys."""
