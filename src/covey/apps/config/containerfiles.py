"""Write the Containerfiles of apps that bring none: two stages, no root, dependencies cached."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterable, Sequence

from covey.apps.config.detect_go import GoApp
from covey.apps.config.detect_node import NodeApp, PackageManager
from covey.apps.config.detect_python import Installer, PythonApp
from covey.apps.config.model import WEB, AppConfig

PORT = 8080
"""Where a generated image listens unless the app's file names a port."""
HEADER = """\
# Written by Covey: {summary}
# To change it, keep it in the source: covey apps eject
"""
IGNORED = (
    ".git",
    ".env",
    ".env.*",
    ".venv",
    "**/__pycache__",
    "**/node_modules",
    "**/.DS_Store",
    "covey.app.toml",
    "deploy.toml",
)
"""What a generated Containerfile must not copy; lines as in .dockerignore."""

# The programs that add users differ between distributions; the files do not.
_ADD_USER = (
    "RUN echo app:x:10001:10001::/app:/bin/sh >> /etc/passwd && echo app:x:10001: >> /etc/group"
)


def python_containerfile(app: PythonApp, config: AppConfig, summary: str) -> str:
    """Return the Containerfile of a Python app; its start command must be known."""
    base = f"docker.io/library/python:{app.version}-slim"
    run = _Run(config)
    builder = f"docker.io/library/python:{app.version}" if app.native else base
    lines = [
        *_head(summary),
        f"FROM {builder} AS build",
        *_env(
            PIP_DISABLE_PIP_VERSION_CHECK="1",
            PIP_NO_CACHE_DIR="1",
            **_INSTALLER_ENV.get(app.installer, {}),
        ),
        *_args(config),
        *_tool(app),
        "RUN python -m venv --without-pip /venv",
        *_env(VIRTUAL_ENV="/venv", PIP_PYTHON="/venv/bin/python", PATH="/venv/bin:$PATH"),
        "WORKDIR /app",
        *_python_dependencies(app, run),
        *([run(_pip(app, f"install {' '.join(app.extra)}"))] if app.extra else []),
        *([] if app.local else ["COPY . ."]),
        *([run("uv sync --locked --no-dev --inexact")] if app.installer is Installer.UV else []),
        *([run("pip install --no-deps .")] if app.package else []),
        *([run(config.build.command)] if config.build.command else []),
        "",
        f"FROM {base}",
    ]
    if app.native:
        lines.append(
            f"RUN apt-get update && apt-get install --yes --no-install-recommends "
            f"{' '.join(app.native)} && rm -rf /var/lib/apt/lists/*"
        )
    lines += [
        _ADD_USER,
        *_env(
            PYTHONUNBUFFERED="1",
            PYTHONDONTWRITEBYTECODE="1",
            VIRTUAL_ENV="/venv",
            PATH="/venv/bin:$PATH",
            PORT=str(config.port or PORT),
        ),
        "WORKDIR /app",
        "COPY --from=build /venv /venv",
        "COPY --from=build --chown=app:app /app /app",
        *_volumes(config, "app"),
        "USER app",
        *_foot(config, app.start),
    ]
    return _text(lines)


def node_containerfile(app: NodeApp, config: AppConfig, summary: str) -> str:
    """Return the Containerfile of a Node app; of one that is a site, up to what it builds."""
    base = f"docker.io/library/node:{app.major}-slim"
    run = _Run(config)
    build = config.build.command or app.build
    lines = [
        *_head(summary),
        f"FROM {base} AS build",
        *_env(
            npm_config_update_notifier="false", npm_config_fund="false", **_NODE_ENV[app.manager]
        ),
        *_args(config),
        "WORKDIR /app",
        *_node_dependencies(app, run),
        *([] if app.whole else ["COPY . ."]),
        *([run(_with_binaries(build))] if build else []),
    ]
    if app.site is not None or config.build.static is not None:
        return _text(lines)
    lines += [
        run(_NODE_PRUNE[app.manager]),
        "",
        f"FROM {base}",
        *_env(
            NODE_ENV="production",
            HOST="0.0.0.0",  # noqa: S104 - inside a container, whose port Covey publishes
            PATH="/app/node_modules/.bin:$PATH",
            PORT=str(config.port or PORT),
        ),
        "WORKDIR /app",
        "COPY --from=build --chown=node:node /app /app",
        *_volumes(config, "node"),
        "USER node",
        *_foot(config, app.start),
    ]
    return _text(lines)


def go_containerfile(app: GoApp, config: AppConfig, summary: str) -> str:
    """Return the Containerfile of a Go app."""
    run = _Run(config)
    packages = " ".join(path for _, path in app.packages)
    lines = [
        *_head(summary),
        "FROM docker.io/library/golang:1 AS build",
        *_env(CGO_ENABLED="0"),
        *_args(config),
        "WORKDIR /app",
        f"COPY {' '.join(app.first)} ./",
        run("go mod download"),
        "COPY . .",
        *([run(config.build.command)] if config.build.command else []),
        run("mkdir /out && " + _go_build(app, packages)),
        "",
        "FROM docker.io/library/alpine:3",
        _ADD_USER,
        *_env(ZONEINFO="/usr/local/lib/zoneinfo.zip", PORT=str(config.port or PORT)),
        "WORKDIR /app",
        "COPY --from=build /usr/local/go/lib/time/zoneinfo.zip /usr/local/lib/zoneinfo.zip",
        "COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/",
        "COPY --from=build --chown=app:app /app /app",
        "COPY --from=build /out/ /usr/local/bin/",
        *_volumes(config, "app"),
        "USER app",
        *_foot(config, app.start),
    ]
    return _text(lines)


def command_containerfile(config: AppConfig, summary: str) -> str:
    """Return the Containerfile in which `build.command` makes a site without any packages."""
    run = _Run(config)
    return _text(
        [
            *_head(summary),
            "FROM docker.io/library/node:22-slim AS build",
            *_args(config),
            "WORKDIR /app",
            "COPY . .",
            run(config.build.command or "true"),
        ]
    )


def own_containerfile(text: str) -> str:
    """Return a generated Containerfile as its user's own."""
    what = text.partition("\n")[0].removeprefix("# Written by Covey: ")
    rest = text.removeprefix(HEADER.format(summary=what))
    return f"# Begun by Covey: {what}\n# It is built as it stands; change it as you like.\n{rest}"


class _Run:
    """Writes a RUN line that can read the build secrets, as files and as variables."""

    def __init__(self, config: AppConfig) -> None:
        names = config.build.secrets
        self._mounts = "".join(f"--mount=type=secret,id={name} " for name in names)
        self._exports = "".join(f'export {name}="$(cat /run/secrets/{name})" && ' for name in names)

    def __call__(self, command: str) -> str:
        return f"RUN {self._mounts}{_shell(self._exports + command)}"


_INSTALLER_ENV = {
    Installer.UV: {
        "UV_PROJECT_ENVIRONMENT": "/venv",
        "UV_LINK_MODE": "copy",
        "UV_NO_CACHE": "1",
        "UV_COMPILE_BYTECODE": "1",
        "UV_PYTHON_DOWNLOADS": "never",
    },
    Installer.POETRY: {"POETRY_NO_INTERACTION": "1", "POETRY_CACHE_DIR": "/tmp/poetry"},  # noqa: S108 - in a build stage
    Installer.PIPENV: {"PIPENV_VERBOSITY": "-1", "PIPENV_NOSPIN": "1"},
}
_TOOLS = {Installer.UV: "uv", Installer.POETRY: "poetry", Installer.PIPENV: "pipenv"}
_LISTED = (
    'python -c "import tomllib; '
    "print(*tomllib.load(open('pyproject.toml', 'rb'))['project'].get('dependencies', ()), "
    "sep='\\n')\" > /tmp/requirements.txt && pip install -r /tmp/requirements.txt"
)
_NODE_ENV: dict[PackageManager, dict[str, str]] = {
    PackageManager.NPM: {},
    PackageManager.PNPM: {"CI": "true"},  # else it asks before it removes packages
    PackageManager.YARN: {},
    PackageManager.YARN_BERRY: {},
}
_NODE_PRUNE = {
    PackageManager.NPM: "npm prune --omit=dev",
    PackageManager.PNPM: "pnpm prune --prod",
    PackageManager.YARN: "yarn install --production --ignore-scripts --prefer-offline",
    PackageManager.YARN_BERRY: "yarn workspaces focus --all --production",
}


def _tool(app: PythonApp) -> list[str]:
    """Install what installs, outside of /venv, which is all that the image gets."""
    tool = _TOOLS.get(app.installer)
    return [f"RUN pip install {tool}"] if tool else []


def _python_dependencies(app: PythonApp, run: _Run) -> list[str]:
    files = [name for name in app.first if not name.endswith("/")]
    copies = [f"COPY {' '.join(files)} ./"] if files else []
    copies += [f"COPY {name} ./{name}" for name in app.first if name.endswith("/")]
    match app.installer:
        case Installer.UV:
            return [
                *(["COPY . ."] if app.local else copies),
                run("uv sync --locked --no-dev --no-install-project --no-install-workspace"),
            ]
        case Installer.POETRY:
            return [*copies, run("poetry install --only main --no-root")]
        case Installer.PIPENV:
            locked = "install --deploy" if "Pipfile.lock" in app.first else "install --skip-lock"
            return [*copies, run(f"pipenv {locked}")]
        case Installer.REQUIREMENTS:
            before = ["COPY . ."] if app.local else copies
            return [*before, run("pip install -r requirements.txt")]
        case Installer.PYPROJECT:
            return [*copies, run(_LISTED)]
        case Installer.NONE:
            return []


def _pip(app: PythonApp, arguments: str) -> str:
    return f"uv pip {arguments}" if app.installer is Installer.UV else f"pip {arguments}"


def _node_dependencies(app: NodeApp, run: _Run) -> list[str]:
    copies = ["COPY . ." if app.whole else f"COPY {' '.join(app.first)} ./"]
    match app.manager:
        case PackageManager.NPM:
            # Without a lock file the newest versions that fit are taken.
            return [*copies, run("npm ci" if app.lock else "npm install")]
        case PackageManager.PNPM:
            tool = f"RUN npm install --global pnpm@{app.manager_version}"
            frozen = " --frozen-lockfile" if app.lock else ""
            return [tool, *copies, run(f"pnpm install{frozen}")]
        case PackageManager.YARN:
            tool = f"RUN npm install --global --force yarn@{app.manager_version or '1'}"
            frozen = " --frozen-lockfile" if app.lock else ""
            return [tool, *copies, run(f"yarn install{frozen}")]
        case PackageManager.YARN_BERRY:
            tool = "RUN npm install --global --force corepack && corepack enable"
            return [tool, *copies, run("yarn install --immutable")]


def _with_binaries(command: str) -> str:
    return (
        command
        if re.match(r"(?:npm|pnpm|yarn) ", command)
        else f"PATH=/app/node_modules/.bin:$PATH; {command}"
    )


def _go_build(app: GoApp, packages: str) -> str:
    flags = '-trimpath -ldflags="-s -w"'
    if app.packages and app.packages[0][1] == "." and len(app.packages) == 1:
        return f"go build {flags} -o /out/{app.packages[0][0]} ."
    if any(path == "." for _, path in app.packages):
        commands = (f"go build {flags} -o /out/{name} {path}" for name, path in app.packages)
        return " && ".join(commands)
    return f"go build {flags} -o /out/ {packages}"


def _head(summary: str) -> Sequence[str]:
    return HEADER.format(summary=_one_line(summary)).splitlines()


def _env(**variables: str) -> Iterable[str]:
    joined = " \\\n    ".join(f"{name}={value}" for name, value in variables.items())
    return (f"ENV {joined}",)


def _args(config: AppConfig) -> Iterable[str]:
    return tuple(f"ARG {name}" for name in config.build.args)


def _volumes(config: AppConfig, user: str) -> Iterable[str]:
    """Make the volumes' places the user's own: a new volume takes that over from the image."""
    if not config.volumes:
        return ()
    listed = " ".join(shlex.quote(volume.path) for volume in config.volumes)
    return (f"RUN {_shell(f'mkdir -p {listed} && chown {user} {listed}')}",)


def _foot(config: AppConfig, start: str | None) -> Iterable[str]:
    web = config.processes.get(WEB)
    command = web.command if web is not None and web.command is not None else start
    return (f"EXPOSE {config.port or PORT}", f"CMD {_shell(command or 'false')}")


def _shell(command: str) -> str:
    """Return what stands for a shell command: itself, unless an instruction would misread it."""
    plain = command.strip()
    if re.match(r"\[|--|<<", plain) or re.search(r"[\n\r]|<<|\\$", plain):
        return json.dumps(["/bin/sh", "-ec", plain], ensure_ascii=False)
    return plain


def _one_line(text: str) -> str:
    return "".join(letter if letter.isprintable() else " " for letter in text)


def _text(lines: Sequence[str]) -> str:
    return "\n".join(lines) + "\n"
